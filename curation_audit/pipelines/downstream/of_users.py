"""Parts that a user brings: found by entry points, told apart by what defines them.

Pipeline files name entry points and never a dotted path, which would import anything.
"""

import hashlib
import inspect
import multiprocessing
from collections.abc import Callable, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any, TypeVar

import torch
from sklearn.utils.parallel import Parallel, delayed
from threadpoolctl import threadpool_limits

from curation_audit.checks import SettingError, did_you_mean

T = TypeVar("T")


def offered(group: str) -> dict[str, metadata.EntryPoint]:
    """The entry points of a group by name."""
    return {entry.name: entry for entry in metadata.entry_points(group=group)}


def load_offered(group: str, name: str, path: str, also_known: Sequence[str] = ()) -> Any:
    """What the entry point of that name gives.

    Raises:
        SettingError: at ``path``, if no installed package offers it.
    """
    found = offered(group)
    if name in found:
        return found[name].load()
    known = [*found, *also_known]
    hint = did_you_mean(name, known) if known else "no installed package offers one"
    raise SettingError(path, f"{name!r} is no entry point of {group!r}", hint)


def origin_of(part: Any) -> dict[str, Any]:
    """Where a class or function is defined, and what tells its versions apart.

    Of installed packages that is the package's version, else the content of the file. Something
    defined in no file has neither; stored results of it are told apart by its name alone.
    """
    named = part if hasattr(part, "__qualname__") else type(part)
    where = f"{named.__module__}.{named.__qualname__}"
    try:
        source = Path(inspect.getfile(inspect.unwrap(named))).read_bytes()
    except (OSError, TypeError):
        return {"defined": where}
    return {"defined": where, "source": hashlib.sha256(source).hexdigest()}


def each(function: Callable[..., T], calls: Sequence[tuple[Any, ...]], workers: int) -> list[T]:
    """The results of all calls in order, in so many processes; each on one thread.

    What a call returns may depend on its arguments only, and then the number of processes changes
    nothing. A process that is itself a worker, as with ``run.workers``, starts no others: such
    processes wait for each other at their end.
    """
    if workers == 1 or len(calls) < 2 or multiprocessing.parent_process() is not None:
        return [_on_one_thread(function, *arguments) for arguments in calls]
    parallel = Parallel(n_jobs=min(workers, len(calls)))
    results: list[T] = parallel(delayed(_on_one_thread)(function, *one) for one in calls)
    return results


def _on_one_thread(function: Callable[..., T], *arguments: Any) -> T:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with threadpool_limits(1):
            return function(*arguments)
    finally:
        torch.set_num_threads(before)
