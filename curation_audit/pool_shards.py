"""What a worker does with a shard of a pool: scores it, and answers questions about the scores.

A job is a pure function of a shard, so it does not matter who does it, where, in which order or how
often. Scores lie in a folder that all workers see.
"""

import contextlib
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Generic, TypeVar

import numpy as np
from threadpoolctl import threadpool_limits

from curation_audit.checks import InputError
from curation_audit.pipelines.base import SelectionRule
from curation_audit.pipelines.picking import HeldPoolIds, PoolIds
from curation_audit.pipelines.pools import Pool
from curation_audit.pipelines.rules.cut import Cut
from curation_audit.pipelines.rules.group_cuts import GroupCuts
from curation_audit.pipelines.rules.per_group import PerGroup
from curation_audit.pipelines.rules.shards import Shard
from curation_audit.pipelines.rules.token_budget import TokenBudget
from curation_audit.releases.release import Release
from curation_audit.software import check_software
from curation_audit.storage import ChunkStore, content_key
from curation_audit.types import Floats

T = TypeVar("T")
FOLDER: Final = "scores"
OURS: Final = re.compile(r"[0-9a-f]{64}\.(chunk|release)(\.[0-9a-f]{16}\.(part|tmp))?")


@dataclass(frozen=True, slots=True, eq=False)
class PoolShard:
    """Shard ``number`` of a pool, and the ``key`` of its scores."""

    number: int
    rows: Pool
    key: str


@dataclass(frozen=True, slots=True)
class ScoreFolder:
    """Where scores of shards lie, float64 (rows,), readable by their owner only."""

    path: Path

    def find(self, shard: PoolShard) -> Floats | None:
        """The scores of a shard, if they are there and whole."""
        arrays = ChunkStore.beside_others(self.path).load(shard.key)
        return None if arrays is None else arrays["scores"]

    def keep(self, shard: PoolShard, scores: Floats) -> None:
        """Store them.

        Raises:
            OSError: if they cannot be written.
        """
        ChunkStore.beside_others(self.path).save(shard.key, {"scores": scores})

    def read(self, shard: PoolShard) -> Floats:
        """The scores of a shard that was scored.

        Raises:
            InputError: where this worker does not see them.
        """
        found = self.find(shard)
        if found is None:
            hint = "all workers must see the folder named by --out; then run again to continue"
            raise InputError(str(self.path), "misses scores that were stored there", hint)
        return found


def begun(out: Path) -> bool:
    """Whether scores lie in a folder: of workers, or of a run that was stopped."""
    return any(OURS.fullmatch(one.name) for one in (out / FOLDER).glob("*"))


def lend_release(release: Release, out: Path) -> Path:
    """A copy of the release beside the scores, for jobs of a scheduler.

    Not ``out / "release.npz"``: that one belongs to the picks and the card that stand there.
    """
    path = out / FOLDER / f"{release.fingerprint}.release"
    ChunkStore.beside_others(path.parent)  # its owner's only
    return release.save(path)


def forget_scores(out: Path) -> None:
    """Remove the scores of a folder whose picks are written; what is not ours stays.

    Raises:
        OSError: where scores stay behind.
    """
    folder = out / FOLDER
    for one in folder.glob("*"):
        if OURS.fullmatch(one.name):
            one.unlink(missing_ok=True)
    with contextlib.suppress(OSError):  # it is not there, or somebody keeps more in it
        folder.rmdir()


def key_of(release: Release, rows: Pool, software: Mapping[str, str]) -> str:
    """What scores are stored under: those of another release, row or software are never found."""
    parts = {"release": release.fingerprint, "rows": rows.fingerprint()}
    return content_key({**parts, **software})


@dataclass(frozen=True, slots=True)
class ScoreShard:
    """The job that scores a shard; its result is how many rows have no score."""

    release: Release
    folder: ScoreFolder
    software: Mapping[str, str]

    def check_here(self) -> None:
        """Raise ``InputError`` where other software would compute."""
        check_software(self.software)

    def run(self, shard: PoolShard) -> int:
        """Score a shard on one thread, and store its scores.

        Raises:
            InputError: for rows that are not those that the key names.
        """
        rows, changed = shard.rows, key_of(self.release, shard.rows, self.software) != shard.key
        if not changed:
            scores = self._scored(rows)
            changed = key_of(self.release, rows, self.software) != shard.key
        if changed:
            raise pool_changed()
        self.folder.keep(shard, scores)
        return n_unscored(scores)

    def _scored(self, rows: Pool) -> Floats:
        with threadpool_limits(1):
            blocks = rows.blocks(self.release.columns, self.release.width)
            return np.concatenate([self.release.score(block) for block in blocks])


@dataclass(frozen=True, slots=True)
class AskShard(Generic[T]):
    """The job that puts a question to a scored shard; ``rule`` says what it must know of rows."""

    question: Callable[[Shard], T]
    folder: ScoreFolder
    rule: SelectionRule
    software: Mapping[str, str]

    def check_here(self) -> None:
        """Raise ``InputError`` where other software would compute."""
        check_software(self.software)

    def run(self, shard: PoolShard) -> T:
        """The answer of a shard."""
        rows, scores = shard.rows, self.folder.read(shard)
        if isinstance(self.rule, PerGroup):
            groups = rows.groups(self.rule.by)
            return self.question(Shard(scores, HeldPoolIds(rows), groups=groups))
        sizes = rows.sizes() if isinstance(self.rule, TokenBudget) else None
        return self.question(Shard(scores, PoolIds(rows), sizes))


@dataclass(frozen=True, slots=True)
class TakePicked:
    """The last question: the picked rows of a shard, as ids and scores."""

    cut: Cut | GroupCuts

    def __call__(self, shard: Shard) -> tuple[list[str], Floats]:
        """In the order of the pool."""
        if isinstance(self.cut, GroupCuts):
            mask = self.cut.mask(shard.scores, shard.groups, shard.ids)
        else:
            mask = self.cut.mask(shard.scores, shard.ids)
        rows = np.flatnonzero(mask)
        return shard.ids.take(rows), shard.scores[rows]


def pool_changed() -> InputError:
    """What to say where rows are not those that were scored."""
    hint = "leave the pool as it is until the picks are made; then run again"
    return InputError("public", "was changed while it was picked from", hint)


def n_unscored(scores: Floats) -> int:
    """How many rows miss a feature."""
    return int(np.isnan(scores).sum())
