"""Parts that a user brings: found by entry points, told apart by what defines them.

Pipeline files name entry points and never a dotted path, which would import anything.
"""

import functools
import hashlib
import inspect
import multiprocessing
from collections.abc import Callable, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any, TypeVar

from sklearn.utils.parallel import Parallel, delayed

from curation_audit.checks import SettingError, did_you_mean
from curation_audit.training.device import one_thread

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

    That is the content of its file, and what it carries along: the arguments of a partial, what a
    closure or a lambda encloses, the state of an object that is called or whose method is. Where
    such a value has no telling ``repr``, stored results are not found again.
    """
    if isinstance(part, functools.partial):
        carried = [repr(part.args), repr(sorted(part.keywords.items()))]
        return {**origin_of(part.func), "carries": _digest(carried)}
    origin = _defined(part)
    carried = _carried(part)
    return {**origin, "carries": _digest(carried)} if carried else origin


def _carried(part: Any) -> list[str]:
    """What tells two functions or objects of one definition apart, as text."""
    if inspect.isclass(part):
        return []
    owner = getattr(part, "__self__", None) if inspect.ismethod(part) else part
    if not inspect.isroutine(owner) and not inspect.isclass(owner):
        return [repr(sorted(getattr(owner, "__dict__", {}).items()))]
    if "<" not in part.__qualname__:  # at the top of its file, which tells all of it
        return []
    code, cells = getattr(part, "__code__", None), getattr(part, "__closure__", None)
    carried = [repr(cell.cell_contents) for cell in cells or ()]
    carried += [repr(value) for value in getattr(part, "__defaults__", None) or ()]
    if code is not None and "<lambda>" in part.__qualname__:  # several may stand in one file
        carried.append(repr((code.co_firstlineno, code.co_code, code.co_names, code.co_consts)))
    return carried


def _digest(texts: list[str]) -> str:
    return hashlib.sha256("\n".join(texts).encode()).hexdigest()


def _defined(part: Any) -> dict[str, Any]:
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
    with one_thread():
        return function(*arguments)
