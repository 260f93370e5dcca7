"""What an adversary sees and knows; the border between the pipeline and the attacks.

Numpy only. Observations carry the shadow axis first. ``Knowledge`` holds what the threat model
grants beside the observation; what it does not grant is ``None``.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Final, Literal, TypeAlias, TypeVar

import numpy as np

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
RELATIVE_RANK: Final = 1e-10
"""Directions in which a covariance is smaller, relative to its largest, count as none."""
ObservedStage: TypeAlias = Literal["scores", "selection", "model"]
OBSERVED_STAGES: tuple[ObservedStage, ...] = ("scores", "selection", "model")
# "joint" is all that is observed, attacked together
Stage: TypeAlias = Literal["scores", "selection", "model", "joint"]
STAGES: tuple[Stage, ...] = (*OBSERVED_STAGES, "joint")


@dataclass(frozen=True, slots=True)
class Selection:
    """The picked rows of S shadows; ragged, as a threshold picks different numbers of rows.

    ``indices[offsets[s]:offsets[s + 1]]`` are the pool rows that shadow s picked, ascending.
    """

    indices: Indices
    offsets: Indices
    n_pool: int

    def __post_init__(self) -> None:
        """Check that the offsets cover the indices."""
        if self.offsets[0] != 0 or self.offsets[-1] != self.indices.shape[0]:
            raise ValueError("offsets must run from 0 to the number of indices.")

    @classmethod
    def from_mask(cls, mask: Mask) -> "Selection":
        """The selection that a bool (S, m) mask describes."""
        offsets = np.concatenate([[0], np.cumsum(mask.sum(axis=1))]).astype(np.int64)
        return cls(np.nonzero(mask)[1].astype(np.int64), offsets, mask.shape[1])

    @property
    def n_shadows(self) -> int:
        """S."""
        return int(self.offsets.shape[0] - 1)

    @property
    def sizes(self) -> Indices:
        """The number of picked rows of every shadow, int64 (S,)."""
        return np.diff(self.offsets)

    def mask(self) -> Mask:
        """The selection as bool (S, m)."""
        mask = np.zeros((self.n_shadows, self.n_pool), dtype=bool)
        mask[np.repeat(np.arange(self.n_shadows), self.sizes), self.indices] = True
        return mask

    def padded(self) -> tuple[Indices, Mask]:
        """Indices int64 (S, k_max), padded with row 0, and the bool (S, k_max) of real entries."""
        real = np.arange(max(1, int(self.sizes.max(initial=0))))[None, :] < self.sizes[:, None]
        indices = np.zeros(real.shape, dtype=np.int64)
        indices[real] = self.indices
        return indices, real

    @classmethod
    def concatenate(cls, parts: "list[Selection]") -> "Selection":
        """The selections of several chunks of shadows as one."""
        sizes = np.concatenate([part.sizes for part in parts])
        offsets = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
        return cls(np.concatenate([part.indices for part in parts]), offsets, parts[0].n_pool)


@dataclass(frozen=True, slots=True)
class Memo:
    """What was computed before, by name; replaced where what it was computed from is another."""

    _found: dict[str, tuple[tuple[Any, ...], Any]] = field(default_factory=dict)

    def of(self, name: str, inputs: tuple[Any, ...], compute: Callable[[], T]) -> T:
        """What ``compute()`` gives, computed once for these ``inputs``, compared by identity."""
        there = self._found.get(name)
        if there is None or any(a is not b for a, b in zip(there[0], inputs, strict=True)):
            there = self._found[name] = (inputs, compute())
        value: T = there[1]
        return value


@dataclass(frozen=True, slots=True)
class Observation:
    """What S shadows show at the three stages.

    ``probabilities`` are the downstream model's outputs at the rows of the candidates, in the
    order of ``Candidates.features``, and ``at_pool`` those at the pool rows ``Knowledge.queried``,
    float32 (S, Q, C). ``thresholds`` float64 (S,) is the lowest score that was picked.
    ``planted`` float32 (S, f, C) are the outputs at the rows of ``Knowledge.planted`` of models
    from curations of the same shadows in which those rows stood in the pool. What the adversary
    does not see is ``None``.
    """

    scores: Scores
    selection: Selection
    probabilities: Probabilities
    at_pool: Probabilities | None = None
    thresholds: Floats | None = None
    planted: Probabilities | None = None
    _derived: Memo = field(default_factory=Memo, init=False, repr=False, compare=False)

    def derived(self, name: str, inputs: tuple[Any, ...], compute: Callable[[], T]) -> T:
        """What ``compute()`` gives, computed once for this observation and these ``inputs``.

        For what attacks read out of an observation whatever the coins are (a surrogate of every
        shadow, say): several attacks, controls and folds share it. ``inputs`` are all that
        ``compute`` depends on beside this observation; they are compared by identity.
        """
        return self._derived.of(name, inputs, compute)


@dataclass(frozen=True, slots=True)
class Candidates:
    """The candidates' rows as an adversary who knows them has them.

    ``unit`` maps each row to its candidate (column of the inclusion). Rows that are in every
    shadow, whose membership is not at stake, are not part of it.
    """

    features: Features
    unit: Indices
    n_candidates: int
    labels: Labels | None = None

    def __post_init__(self) -> None:
        """Check that every candidate has a row."""
        if not np.array_equal(np.unique(self.unit), np.arange(self.n_candidates)):
            raise ValueError(f"unit must name each of {self.n_candidates} candidates.")

    def mean_per_unit(self, values: Floats) -> Floats:
        """Average ``values`` (..., rows) over the rows of every candidate: (..., N)."""
        order = np.argsort(self.unit, kind="stable")
        starts = np.searchsorted(self.unit[order], np.arange(self.n_candidates))
        sums: Floats = np.add.reduceat(values[..., order], starts, axis=-1)
        return sums / np.bincount(self.unit, minlength=self.n_candidates)


@dataclass(frozen=True)
class Linearisation:
    """A scorer with linear scores as an M-estimator, linearised where every coin is one half.

    The released vector is ``argmin_w sum_n b_n l_n(w) + public terms``. To first order it moves
    by ``influence[n]`` when candidate n goes from out to in (Koh & Liang 2017, the infinitesimal
    jackknife); ``covariance`` is the covariance of the vector over fair coins. No coin is used.
    ``slopes`` marks the coordinates that a ranking of the pool shows (all but an intercept).
    ``noise`` is the covariance of what a private mechanism adds to the vector, if it adds any.
    ``exact``: to first order is exact, but for a factor that a curation's coins share (a mean is
    over as many rows as are in). ``blocks`` (J, p / J): scores are the largest of products with J
    vectors, of which the released one consists; these are theirs at the reference, 0 for one that
    is not there.
    """

    reference: Floats  # (p,)
    influence: Floats  # (N, p)
    covariance: Floats  # (p, p)
    slopes: Mask  # (p,)
    noise: Floats | None = None  # (p, p)
    exact: bool = False
    blocks: Floats | None = None

    def read(self, embedded: Features) -> Features:
        """Embedded rows as they read the vector, (rows, q) -> (rows, p).

        Where a score is a maximum: in the block that is largest at the reference. Coins hardly ever
        change which that is; the noise of a private mechanism does, the more of it the more often.
        """
        if self.blocks is None:
            return embedded
        products = embedded @ self.blocks.T.astype(embedded.dtype)
        products[:, ~self.blocks.any(axis=1)] = -np.inf
        largest = products.argmax(axis=1)
        read = np.zeros((len(embedded), *self.blocks.shape), dtype=embedded.dtype)
        read[np.arange(len(embedded)), largest] = embedded
        return read.reshape(len(embedded), -1)

    @cached_property
    def whitening(self) -> Floats:
        """``Sigma^-1 a_n`` of every candidate's influence a_n and the covariance Sigma, (p, N)."""
        return _whitening(self.covariance, self.influence)

    @cached_property
    def whitening_of_slopes(self) -> Floats:
        """The same where only the slopes are seen, (slopes, N)."""
        seen = self.slopes
        return _whitening(self.covariance[np.ix_(seen, seen)], self.influence[:, seen])


def _whitening(covariance: Floats, influence: Floats) -> Floats:
    inverse = np.linalg.pinv(covariance, rcond=RELATIVE_RANK, hermitian=True)
    solved: Floats = inverse @ influence.T
    return solved


@dataclass(frozen=True, slots=True)
class FirstOrder:
    """How coins move the scores of any scorer, on average to first order at trained references.

    ``basis`` (r, m) has orthonormal rows, in whose coordinates candidate n moves scores by
    ``shifts[n]``, (N, r). The references' own coins are no shadow's.
    """

    basis: Floats
    shifts: Floats


@dataclass(frozen=True, slots=True)
class Planted:
    """Rows that the adversary planted in the pool before the curation.

    ``target`` int64 (f,) is the candidate that each is aimed at, ``labels`` int64 (f,) the absurd
    label that it was given.
    """

    target: Indices
    labels: Labels


KNOWABLE: Final[frozenset[str]] = frozenset(
    {
        "algorithm",
        "analytic models",
        "candidates",
        "confidences",
        "insertions",
        "labels",
        "linear scorer",
        "memberships",
        "model",
        "nearest scorer",
        "one cut",
        "other candidates",
        "picks in scores",
        "pool",
        "queries at both",
        "queries at pool rows",
        "queries at the candidates",
        "score ranks",
        "score values",
        "score values of picked rows",
        "scores",
        "selection",
        "several stages",
        "the scorer's embedding",
        "thresholds",
        "top scores only",
        "trained references",
    }
)


@dataclass(frozen=True, slots=True)
class Knowledge:
    """What the threat model grants beside the observation.

    ``pool`` and the candidates' ``features`` are in the scorer's embedding (normalised rows for
    a cosine scorer, a column of ones where the scorer has an intercept), so that a linear
    scorer's scores are ``pool @ w``.

    ``granted`` are names of ``KNOWABLE``, as attacks ask for them in ``needs``:

    * ``scores``, ``selection``, ``model``: the stages that he sees; ``several stages``: more
      than one.
    * ``algorithm``: can run the curation (shadows are possible); ``score`` bool (H, N) ->
      (H, m) runs it on sets of his own making, and ``select`` on scores (H, m) of his own,
      with the noise of trials of these numbers, ``range`` of length H.
    * ``analytic models``: may train on what that picks, too: ``train`` of scores (H, m), rows of
      the pool (Q,) and such a range gives the answers there, (H, Q, C).
    * ``trained references``: ``first_order`` trains scorers to see what one candidate does.
    * ``candidates``, ``labels``: features (labels) of the records asked about, and
      ``other candidates``: he asks about all of them together, so that he may explain what he
      sees by several at once.
    * ``pool``: the public rows; ``pool_labels`` where they have labels.
    * ``linear scorer``, ``nearest scorer``: what family the scorer is of. ``linearisation``
      comes with the first; with the second, scores are ``max over members of pool @ features.T``
      (or what ``score`` of nobody gives, where that is more).
    * ``score values``: scores on their own scale, not ranks or the top only; ``score values of
      picked rows``: not ranks. ``score ranks`` and ``top scores only``: that is what he sees.
    * ``one cut``: the same score divides picked rows from rows that were left, everywhere.
    * ``picks in scores``: what he sees of the scores gives the picks away.
    * ``the scorer's embedding``: features as the scorer sees them, not a surrogate's.
    * ``thresholds``: the lowest picked score.
    * ``confidences``: the model's probabilities, not only labels.
    * ``queries at the candidates``: the model's answers there, and ``queries at pool rows`` at
      ``queried``, int64 (Q,), rows of the pool. Either may take the whole budget; ``queries at
      both``: some pool rows, ``beside`` bool (Q,), can be asked about as well as the candidates
      (``None`` for all).
    * ``insertions``: could plant rows in the pool before the curation; ``planted`` are those.
    * ``memberships``: the coins of all *other* candidates of the shadow under attack (the
      adversary of the definition of differential privacy).

    ``memo`` keeps what attacks work out from their knowledge alone, for any observation.
    ``known_pairs`` bool (P,): the pairs of shadows whose coins he may learn from, beside never
    those of the pair under attack; ``None`` for all.
    """

    granted: frozenset[str] = frozenset()
    pool: Features | None = None
    pool_labels: Labels | None = None
    candidates: Candidates | None = None
    linearisation: Linearisation | None = None
    score: Callable[[Inclusion], Scores] | None = None
    select: Callable[[Scores, range], Selection] | None = None
    train: Callable[[Scores, Indices, range], Probabilities] | None = None
    first_order: Callable[[], FirstOrder] | None = None
    queried: Indices | None = None
    beside: Mask | None = None
    planted: Planted | None = None
    known_pairs: Mask | None = None
    memo: Memo = field(default_factory=Memo, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Check the names."""
        unknown = sorted(self.granted - KNOWABLE)
        if unknown:
            raise ValueError(f"nobody can know {unknown}, expected some of {sorted(KNOWABLE)}.")

    def missing(self, needs: frozenset[str]) -> tuple[str, ...]:
        """What of ``needs`` is not granted, sorted."""
        return tuple(sorted(needs - self.granted))
