"""The seams of a curation pipeline: rows in, scores, selection, models out.

Implementations are frozen dataclasses whose fields are public settings. Private rows and random
streams are arguments of calls, never fields.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, Literal, Protocol, TypeAlias, TypeVar, runtime_checkable

import numpy as np

from curation_audit.observations import Linearisation, Selection
from curation_audit.results import Adjacency
from curation_audit.streams import ShadowStreams
from curation_audit.types import (
    Features,
    Floats,
    Inclusion,
    Indices,
    Labels,
    Mask,
    Probabilities,
    Scores,
)

T = TypeVar("T")
ALWAYS_IN = -1
Family: TypeAlias = Literal["linear", "nearest", "other"]


@dataclass(frozen=True, slots=True)
class Rows:
    """Public rows: the pool or the test set.

    ``labels`` are codes into the pool's ``classes``, or ``None`` where no column was named.
    ``groups`` hold a category of every row (rows,) by attribute. ``sizes`` int64 (rows,), such as
    tokens, are ``None`` where no column was named.
    """

    ids: tuple[str, ...]
    features: Features
    labels: Labels | None = None
    groups: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    sizes: Indices | None = None

    def __len__(self) -> int:
        return int(self.features.shape[0])


@dataclass(frozen=True)
class PrivateRows:
    """The private rows, grouped into the N units whose membership is at stake.

    ``unit`` maps each row to its column of the inclusion; ``ALWAYS_IN`` marks rows that every
    shadow holds. ``unit_ids`` name the N units. ``groups`` hold a category of every unit (N,) by
    attribute; nothing that is fitted or attacked sees them. ``owner`` int64 (rows,) numbers the
    units of all rows, those that are always in included; without it, each of these is its own.
    """

    ids: tuple[str, ...]
    features: Features
    unit: Indices
    unit_ids: tuple[str, ...]
    labels: Labels | None = None
    groups: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    owner: Indices | None = None

    def __len__(self) -> int:
        return int(self.features.shape[0])

    @cached_property
    def owners(self) -> Indices:
        """The unit of every row among all U units, 0 to U - 1, int64 (rows,)."""
        if self.owner is not None:
            return self.owner
        alone = self.unit == ALWAYS_IN
        owners = self.unit.copy()
        owners[alone] = self.n_candidates + np.arange(alone.sum())
        return owners

    @property
    def first_rows(self) -> Indices:
        """The first row of each unit, int64 (N,)."""
        units, rows = np.unique(self.unit, return_index=True)
        first: Indices = rows[units != ALWAYS_IN]
        return first

    @property
    def n_candidates(self) -> int:
        """N."""
        return len(self.unit_ids)

    def only(self, kept: Indices) -> "PrivateRows":
        """The candidates ``kept``, int64 (n,) ascending, and the rows that are always in."""
        place = np.full(self.n_candidates + 1, ALWAYS_IN, dtype=np.int64)
        place[kept] = np.arange(len(kept))
        rows = np.flatnonzero((self.unit == ALWAYS_IN) | np.isin(self.unit, kept))
        owner = None
        if self.owner is not None:
            owner = np.unique(self.owner[rows], return_inverse=True)[1]
        return replace(
            self,
            ids=tuple(self.ids[i] for i in rows),
            features=self.features[rows],
            unit=place[self.unit[rows]],
            unit_ids=tuple(self.unit_ids[i] for i in kept),
            labels=None if self.labels is None else self.labels[rows],
            groups={name: tuple(of[i] for i in kept) for name, of in self.groups.items()},
            owner=owner,
        )

    def row_inclusion(self, inclusion: Inclusion) -> Mask:
        """Which rows each shadow holds: bool (S, N) -> bool (S, rows)."""
        everyone = np.ones((inclusion.shape[0], 1), dtype=bool)
        return np.concatenate([inclusion, everyone], axis=1)[:, self.unit]

    @property
    def n_units(self) -> int:
        """U, of all rows."""
        return int(self.owners.max()) + 1

    @property
    def candidate_units(self) -> Indices:
        """Which of all units each candidate is, int64 (N,)."""
        return self.owners[self.first_rows]

    def unit_inclusion(self, inclusion: Inclusion) -> Mask:
        """Which of all units each shadow holds: bool (S, N) -> bool (S, U)."""
        first_row = np.unique(self.owners, return_index=True)[1]
        return self.row_inclusion(inclusion)[:, first_row]


@dataclass(frozen=True, slots=True)
class CurationData:
    """The three sets of one pipeline, checked, in one feature space and one label space.

    ``classes`` are the pool's labels in code order. ``n_private_rows_in_pool`` counts private
    rows whose features also stand in the pool. ``fingerprints`` are sha256 hex digests of the
    arrays by set name. ``warnings`` are sentences for the report. ``n_canaries`` of the private
    rows are made up; where there are any, they are the candidates. Features are
    ``(as they were read - shift) / scale``, both (d,) and the pool's. ``columns`` hold the pool's
    features in order, one column of vectors or one each; () for a matrix.
    """

    private: PrivateRows
    pool: Rows
    test: Rows | None
    classes: tuple[str, ...]
    n_private_rows_in_pool: int
    fingerprints: Mapping[str, str]
    warnings: tuple[str, ...] = ()
    n_canaries: int = 0
    shift: Floats | None = None
    scale: Floats | None = None
    columns: tuple[str, ...] = ()

    @property
    def n_real_rows(self) -> int:
        """How many private rows there are, canaries not counted."""
        return len(self.private) - self.n_canaries


class FittedScorers(Protocol):
    """S fitted scorers at once."""

    def score(self, features: Features, labels: Labels | None = None) -> Scores:
        """Score rows for every shadow: (rows, d) -> (S, rows), higher = keep.

        ``labels`` int64 (rows,) matter to scorers that see a model's gradients; where a row has
        none, they take the label that their model gives it.
        """
        ...


class Scorer(Protocol):
    """How a pool row is valued against the private set.

    ``family``: scores are ``embed(rows) @ w`` (``linear``, and ``linearise`` tells how w moves),
    the largest ``embed(rows) @ embed(t)`` over private rows t (``nearest``), or ``other``.

    ``adjacency``: what game a coin plays. A function of the set of private rows that a shadow
    holds plays ``add_remove``; a mechanism that masks rows and keeps its public constants (N in
    denominators, sampling rate, steps) plays ``zero_out``.
    """

    @property
    def name(self) -> str:
        """What it is called in pipeline files and reports."""
        ...

    @property
    def family(self) -> Family:
        """How scores hang on private rows."""
        ...

    @property
    def adjacency(self) -> Adjacency:
        """What game a coin plays."""
        ...

    def fit(
        self, private: PrivateRows, inclusion: Inclusion, pool: Rows, *, streams: ShadowStreams
    ) -> FittedScorers:
        """Fit one scorer per row of ``inclusion`` (S, N), all at once."""
        ...

    def embed(self, features: Features, labels: Labels | None = None) -> Features:
        """The features as the scorer sees them, (rows, d) -> (rows, p); labels as in ``score``."""
        ...

    def linearise(self, private: PrivateRows, pool: Rows) -> Linearisation | None:
        """The scorer linearised at half weights, or ``None`` where its scores are not linear."""
        ...


@runtime_checkable
class Bindable(Protocol):
    """Settings of a scorer whose public parts are made from the pool, once for all shadows."""

    def bind(self, pool: Rows) -> Scorer:
        """The scorer, with these parts as public fields; it is then used with this pool only."""
        ...


def bound(scorer: Scorer, pool: Rows) -> Scorer:
    """The scorer as it is used with this pool."""
    return scorer.bind(pool) if isinstance(scorer, Bindable) else scorer


@runtime_checkable
class Openable(Protocol):
    """Settings that name files or another's code."""

    def opened(self, base: Path) -> Any:
        """The part with these looked up; relative paths count from ``base``."""
        ...


def opened(part: T, base: Path) -> T:
    """A scorer or a feature step as it is used, with what it names looked up."""
    found: T = part.opened(base) if isinstance(part, Openable) else part
    return found


@runtime_checkable
class Invertible(Protocol):
    """A scorer whose embedding can be turned back into features, so that rows can be planted."""

    def unembed(self, embedded: Features, length: float) -> Features:
        """Features whose embedding is ``embedded``, (rows, p) -> (rows, d).

        Where the embedding forgets how long a row is, it becomes ``length`` long.
        """
        ...


class SelectionRule(Protocol):
    """How scores become picked rows.

    ``by_rank``: the picks follow from the order of the scores and what is public. ``one_cut``:
    for all rows of a curation the same score divides what is picked from what is left, but for
    noise that the rule draws itself.
    """

    name: ClassVar[str]
    by_rank: ClassVar[bool]
    one_cut: ClassVar[bool]

    def select(
        self,
        scores: Scores,
        tie_order: Indices,
        streams: ShadowStreams | None = None,
        pool: Rows | None = None,
    ) -> Selection:
        """Pick rows from scores (S, m).

        ``tie_order`` int64 (m,) ranks the pool rows by a keyed hash of their id; of equal scores
        the lower rank wins, so that the result does not depend on the order of the pool. A rule
        that draws noise takes it from ``streams``, and one that looks at groups or sizes of rows
        from the ``pool``; the others need none.
        """
        ...


@runtime_checkable
class Particular(Protocol):
    """A scorer that does not go with every rule, or with made-up records."""

    def check_use(self, rule: SelectionRule, n_canaries: int) -> None:
        """Raise ``SettingError`` where it does not."""
        ...


class FittedModels(Protocol):
    """S downstream models at once."""

    def predict_proba(self, features: Features) -> Probabilities:
        """Class probabilities (rows, d) -> float32 (S, rows, C)."""
        ...


class Downstream(Protocol):
    """What is trained on the picked rows."""

    @property
    def name(self) -> str:
        """What it is called in pipeline files and reports."""
        ...

    def fit(
        self, pool: Rows, selection: Selection, n_classes: int, *, streams: ShadowStreams
    ) -> FittedModels:
        """Train one model per shadow on its picked rows, all at once."""
        ...
