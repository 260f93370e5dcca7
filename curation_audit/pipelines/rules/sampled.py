"""Rows drawn at random, the better the likelier: Gumbel top-k and Pareto sampling.

None of the two is private: the noise has not to do with how far one unit moves the scores. The
private form is the mechanism ``noisy_top_k``. A row's noise goes by its rank in ``tie_order``, a
keyed hash of its id, so that the draw does not hang on the order of the pool.
"""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from curation_audit.checks import SettingError, positive
from curation_audit.observations import Selection
from curation_audit.pipelines.base import Rows
from curation_audit.pipelines.rules.top import best_rows
from curation_audit.streams import ShadowStreams
from curation_audit.types import Floats, Indices, Scores

PURPOSE = "selection noise"


@dataclass(frozen=True, slots=True, kw_only=True)
class GumbelTopK:
    """``k`` rows drawn without replacement, with odds of ``exp(score / temperature)``.

    The k largest ``score / temperature + Gumbel noise`` (DSIR, Xie et al. 2023, with temperature 1;
    QuRating, Wettig et al. 2024, which divides z-scores: ``z_scores``, over the pool). NOT
    private, though it looks like the exponential mechanism: nothing bounds what one unit does to
    a score. Rows without a score (NaN) come last.
    """

    name: ClassVar[str] = "gumbel_top_k"
    by_rank: ClassVar[bool] = False
    one_cut: ClassVar[bool] = True
    k: int
    temperature: float = 1.0
    z_scores: bool = False

    def __post_init__(self) -> None:
        """Check the numbers."""
        positive(k=self.k, temperature=self.temperature)

    def select(
        self,
        scores: Scores,
        tie_order: Indices,
        streams: ShadowStreams | None = None,
        pool: Rows | None = None,
    ) -> Selection:
        """Draw k rows of every shadow with that shadow's own noise."""
        noise = np.stack([one.gumbel(size=scores.shape[1]) for one in _generators(streams)])
        scaled = scores.astype(np.float64)
        if self.z_scores:
            scaled = _z_scores(scaled)
        return best_rows(scaled / self.temperature + noise[:, tie_order], tie_order, self.k)


@dataclass(frozen=True, slots=True, kw_only=True)
class Pareto:
    """Each row on its own with probability ``(2 - score)^-alpha``, for scores from 0 to 1.

    The event ``pareto(alpha) > 1 - score`` of the GPT-3 quality filter (Brown et al. 2020, appendix
    A, alpha = 9; NeMo Curator, alpha = 3): a row with score 1 is always kept. Scores outside of 0
    to 1 are refused, unless ``squash`` takes all of them there by the logistic function, which
    makes a classifier's logits probabilities. A row without a score (NaN) is never kept. NOT
    private.
    """

    name: ClassVar[str] = "pareto"
    by_rank: ClassVar[bool] = False
    one_cut: ClassVar[bool] = True
    alpha: float
    squash: bool = False

    def __post_init__(self) -> None:
        """Check alpha."""
        positive(alpha=self.alpha)

    def select(
        self,
        scores: Scores,
        tie_order: Indices,
        streams: ShadowStreams | None = None,
        pool: Rows | None = None,
    ) -> Selection:
        """Draw every row of every shadow with that shadow's own noise.

        Raises:
            SettingError: for scores outside of 0 to 1, without ``squash``.
        """
        kept = keep_probabilities(scores, self.alpha, self.squash)
        drawn = np.stack([one.random(scores.shape[1]) for one in _generators(streams)])
        return Selection.from_mask(drawn[:, tie_order] < kept)


def keep_probabilities(scores: Scores, alpha: float, squash: bool) -> Floats:
    """``(2 - score)^-alpha``, NaN without a score, (S, m) -> float64 (S, m).

    Raises:
        SettingError: for scores outside of 0 to 1, where they are not squashed.
    """
    within = scores.astype(np.float64)
    if squash:
        within = (1 + np.tanh(within / 2)) / 2  # numpy alone: workers of jobs import this room
    elif ((within < 0) | (within > 1)).any():
        raise SettingError(
            "curate.select",
            "pareto found scores outside of 0 to 1",
            "squash: true takes them there by the logistic function",
        )
    probabilities: Floats = (2 - within) ** -alpha
    return probabilities


def _generators(streams: ShadowStreams | None) -> list[np.random.Generator]:
    if streams is None:
        raise ValueError("a rule that draws needs streams to draw from.")
    return streams.generators(PURPOSE)


def _z_scores(scores: Floats) -> Floats:
    """Less their mean over the pool, over their standard deviation; equal scores are 0.

    Both are of the finite scores, so that the others stay what they are.
    """
    finite = np.isfinite(scores)
    n_finite = np.maximum(finite.sum(axis=1, keepdims=True), 1)
    mean = np.where(finite, scores, 0).sum(axis=1, keepdims=True) / n_finite
    centred = scores - mean
    variance = (np.where(finite, centred, 0) ** 2).sum(axis=1, keepdims=True) / n_finite
    standard: Floats = centred / np.where(variance > 0, np.sqrt(variance), 1)
    return standard
