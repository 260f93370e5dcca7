"""A curation job as it is: a program that reads ids of private rows and writes scores or picks."""

import hashlib
import math
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, Final, get_args

import numpy as np

from curation_audit import checks
from curation_audit.checks import InputError, SettingError
from curation_audit.pipelines.base import (
    Family,
    FittedScorers,
    PrivateRows,
    Rows,
    SelectionRule,
)
from curation_audit.pipelines.rules.threshold import Threshold
from curation_audit.pipelines.scorers.command_files import Output, ids_digest
from curation_audit.pipelines.scorers.command_jobs import (
    Jobs,
    Request,
    placeholders,
    run_jobs,
)
from curation_audit.results import Adjacency
from curation_audit.storage import array_digest, content_key
from curation_audit.streams import ShadowStreams
from curation_audit.types import Features, Floats, Inclusion, Labels, Scores

AT: Final = "curate.scorer"
PASSED: Final = ("out", "pool", "private", "python", "seed", "shadow")
NEEDED: Final = ("private", "out")
LARGEST_SCRIPT: Final = 2**20  # bytes; larger files are data, which ``version`` stands for
SEEDS: Final = 2**31
ENOUGH_SETS: Final = 4  # of which a job with an eye for them tells two apart


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """One process a shadow: ids of its private rows in, a score or a pick of the pool's rows out.

    ``argv``: the program and its arguments, never read by a shell, with ``{private}``, ``{out}``,
    and if wanted ``{pool}``, ``{seed}``, ``{shadow}``, ``{python}``. ``version`` stands for what
    the job computes: stored results are reused only for the same. ``output``: ``scores`` of all
    pool rows, or the ids of ``picks``, whose scores are then 1 and 0. ``time_limit``: seconds.
    ``workers``: jobs at a time. ``retries`` of a job that fails. ``folder``: where results of
    finished jobs are kept; ``cwd``: where jobs run. Both count from the folder of the pipeline
    file. ``may_ignore_private``: take the same scores from shadows that hold different rows, which
    else is refused. docs/your-own-job.md has the whole contract.
    """

    name: ClassVar[str] = "command"
    family: ClassVar[Family] = "other"
    adjacency: ClassVar[Adjacency] = "add_remove"
    argv: tuple[str, ...] = ()
    version: str | int | None = None
    output: Output = "scores"
    time_limit: float = 3600.0
    workers: int = 1
    retries: int = 1
    folder: str | None = None
    cwd: str = "."
    may_ignore_private: bool = False

    def __post_init__(self) -> None:
        """Check all settings; take lists and paths as well."""
        if isinstance(self.argv, str) or not isinstance(self.argv, Sequence):
            raise SettingError(
                f"{AT}.argv", f"found {self.argv!r}", "expected a list; no shell reads it"
            )
        object.__setattr__(self, "argv", tuple(map(os.fspath, self.argv)))
        _check_argv(self.argv)
        if self.version is None:
            raise SettingError(
                f"{AT}.version",
                "is missing, but results of your job are stored",
                "name a version, and change it whenever the job or its data change",
            )
        checks.one_of(f"{AT}.output", self.output, get_args(Output))
        if not 0 < self.time_limit < math.inf:
            raise SettingError(
                f"{AT}.time_limit", f"found {self.time_limit}", "expected seconds above 0"
            )
        for name, least in (("workers", 1), ("retries", 0)):
            if getattr(self, name) < least:
                raise SettingError(
                    f"{AT}.{name}", f"found {getattr(self, name)}", f"expected {least} or more"
                )

    def opened(self, base: Path) -> "Command":
        """The same with paths that count from ``base``, the folder of the pipeline file."""
        folder = None if self.folder is None else str(base / self.folder)
        return replace(self, cwd=str(base / self.cwd), folder=folder)

    def check_use(self, rule: SelectionRule, n_canaries: int) -> None:
        """Raise ``SettingError`` for a rule that is not the job's, or for rows it has not got."""
        if n_canaries:
            raise SettingError(
                "attack.canaries",
                "are made-up records, of which the job of curate.scorer command has no rows",
                "leave them out, or audit the method by a built-in scorer",
            )
        fits = isinstance(rule, Threshold) and 0 < rule.minimum <= 1
        if self.output == "picks" and not fits:
            raise SettingError(
                "curate.select",
                f"found {rule.name}, which picks other rows than the job did (output: picks)",
                "expected {rule: threshold, minimum: 0.5}",
            )

    def describe(self) -> dict[str, Any]:
        """What stored results are told apart by; of absolute paths the last part is shown.

        Scripts that ``argv`` names are told apart by their content.
        """
        shown = [_without_folder(element) for element in self.argv]
        described: dict[str, Any] = {
            "argv": shown,
            "output": self.output,
            "version": str(self.version),
        }
        if shown != list(self.argv):
            described["argv_sha256"] = ids_digest(self.argv)
        scripts = {_without_folder(one): _script_digest(Path(self.cwd), one) for one in self.argv}
        found = {name: digest for name, digest in scripts.items() if digest is not None}
        return {**described, "scripts": found} if found else described

    def embed(self, features: Features, labels: Labels | None = None) -> Features:
        """The features and a column of ones: what a linear surrogate of the job sees."""
        return np.concatenate([features, np.ones_like(features[:, :1])], axis=1)

    def fit(
        self, private: PrivateRows, inclusion: Inclusion, pool: Rows, *, streams: ShadowStreams
    ) -> FittedScorers:
        """Run one job for each shadow.

        Raises:
            InputError: where jobs fail, after the others have finished.
        """
        jobs = Jobs(
            argv=self.argv,
            output=self.output,
            time_limit=self.time_limit,
            workers=self.workers,
            retries=self.retries,
            cwd=Path(self.cwd).absolute(),
        )
        requests = self._requests(private, inclusion, pool, streams)
        named = None if self.folder is None else Path(self.folder).absolute()
        scores = run_jobs(jobs, requests, pool.ids, named)
        if not self.may_ignore_private:
            _refuse_blind(scores, requests)
        with np.errstate(over="ignore"):  # what is no number then is told of by the audit
            return CommandScorers(pool.features, scores.astype(pool.features.dtype))

    def _requests(
        self, private: PrivateRows, inclusion: Inclusion, pool: Rows, streams: ShadowStreams
    ) -> list[Request]:
        """What each shadow asks, under a fingerprint of all that shapes its result."""
        ids = np.array(private.ids, dtype=object)
        rows = {"private": private.features, "pool": pool.features}
        common = {
            "scorer": self.describe(),
            "pool": ids_digest(pool.ids),
            "rows": array_digest(rows),
        }
        seeds = [int(rng.integers(SEEDS)) for rng in streams.generators("job seed")]
        requests = []
        for held, shadow, seed in zip(
            private.row_inclusion(inclusion), streams.shadows, seeds, strict=True
        ):
            mine = tuple(ids[held])
            key = content_key({**common, "private": ids_digest(mine), "seed": seed})
            name = f"{re.sub('[^a-z]+', '-', streams.scope)}-{shadow:04d}"
            requests.append(Request(name, key, mine, shadow, seed))
        return requests

    def linearise(self, private: PrivateRows, pool: Rows) -> None:
        """Nothing is known about the job."""
        return


@dataclass(frozen=True, slots=True)
class CommandScorers:
    """What S jobs said of the pool: scores (S, m) of its rows (m, d), and of no others."""

    pool: Features
    scores: Scores

    def score(self, features: Features, labels: Labels | None = None) -> Scores:
        """The pool's rows -> (S, m).

        Raises:
            InputError: for other rows; the job knows the pool by its ids.
        """
        if features is not self.pool and not np.array_equal(features, self.pool):
            raise InputError(
                "curate.scorer command",
                f"is asked about {len(features)} rows that are not the pool's",
                "the job scores the rows whose ids it knows; plant none (threat.may_insert: 0)",
            )
        return self.scores


def _refuse_blind(scores: Floats, requests: Sequence[Request]) -> None:
    """Raise ``InputError`` where several private sets make no difference: nothing would be found.

    Most often the job looks for other ids than it is given, such as numbers in place of text.
    """
    n_sets = len({request.held_ids for request in requests})
    if n_sets >= ENOUGH_SETS and (scores == scores[0]).all():
        raise InputError(
            "curate.scorer command",
            f"the job gave the same result for {n_sets} different private sets",
            "does it find the rows by their ids, which are text? If it shall not look at them, "
            "state may_ignore_private: true",
        )


def _check_argv(argv: tuple[str, ...]) -> None:
    """Raise ``SettingError`` for a list that no job can be run by."""
    if not argv or not argv[0]:
        raise SettingError(f"{AT}.argv", "names no program", "expected a list: program, arguments")
    used: set[str] = set()
    for element in argv:
        if "\0" in element:
            raise SettingError(f"{AT}.argv", "holds a zero byte", "no program can be given one")
        used |= placeholders(element)
    for name in sorted(used - {*PASSED}):
        hint = checks.did_you_mean(name, PASSED)
        raise SettingError(
            f"{AT}.argv", f"found {{{name}}}", f"{hint}; for the text itself, double the braces"
        )
    for name in NEEDED:
        if name not in used:
            raise SettingError(f"{AT}.argv", f"has no {{{name}}}", "the job is told by it")


def _value(element: str) -> tuple[str, str]:
    """``--name=value`` as ``--name=`` and value; anything else as nothing and itself."""
    option = re.match(r"-[\w-]+=", element)
    start = option[0] if option else ""
    return start, element[len(start) :]


def _without_folder(element: str) -> str:
    """An element without the folders of an absolute path; reports need not tell of a machine."""
    start, value = _value(element)
    return start + (Path(value).name if Path(value).is_absolute() else value)


def _script_digest(cwd: Path, element: str) -> str | None:
    """The sha256 of the file that an element names, if it is none of data."""
    file = cwd / _value(element)[1]
    try:
        if not file.is_file() or file.stat().st_size > LARGEST_SCRIPT:
            return None
        return hashlib.sha256(file.read_bytes()).hexdigest()
    except (OSError, ValueError):  # a text that no file can be called by
        return None
