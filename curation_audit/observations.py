"""What an adversary sees and knows; the border between the pipeline and the attacks.

Numpy only. Observations carry the shadow axis first. ``Knowledge`` holds what the threat model
grants beside the observation; what it does not grant is ``None``.
"""

from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np

from curation_audit.types import Features, Floats, Indices, Labels, Mask, Probabilities, Scores

Stage: TypeAlias = Literal["scores", "selection", "model"]
STAGES: tuple[Stage, ...] = ("scores", "selection", "model")


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
class Observation:
    """What S shadows show at the three stages.

    ``probabilities`` are the downstream model's outputs at the rows of the candidates, in the
    order of ``Candidates.features``.
    """

    scores: Scores
    selection: Selection
    probabilities: Probabilities


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


@dataclass(frozen=True, slots=True)
class Linearisation:
    """A scorer with linear scores as an M-estimator, linearised where every coin is one half.

    The released vector is ``argmin_w sum_n b_n l_n(w) + public terms``. To first order it moves
    by ``influence[n]`` when candidate n goes from out to in (Koh & Liang 2017, the infinitesimal
    jackknife); ``covariance`` is the covariance of the vector over fair coins. No coin is used.
    ``slopes`` marks the coordinates that a ranking of the pool shows (all but an intercept).
    """

    reference: Floats  # (p,)
    influence: Floats  # (N, p)
    covariance: Floats  # (p, p)
    slopes: Mask  # (p,)


@dataclass(frozen=True, slots=True)
class Knowledge:
    """What the threat model grants beside the observation.

    ``pool`` and the candidates' ``features`` are in the scorer's embedding (normalised rows for
    a cosine scorer, a column of ones where the scorer has an intercept), so that a linear
    scorer's scores are ``pool @ w``.
    """

    pool: Features | None = None
    candidates: Candidates | None = None
    linearisation: Linearisation | None = None
    algorithm: bool = True

    def granted(self) -> frozenset[str]:
        """The names of what is there, as attacks ask for it in ``needs``."""
        there = {
            "algorithm": self.algorithm,
            "pool": self.pool is not None,
            "candidates": self.candidates is not None,
            "labels": self.candidates is not None and self.candidates.labels is not None,
            "linear scorer": self.linearisation is not None,
        }
        return frozenset(name for name, granted in there.items() if granted)
