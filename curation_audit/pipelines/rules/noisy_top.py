"""The best k rows under noise: picks that are private where the scores are not."""

from dataclasses import dataclass
from typing import ClassVar, Final, Literal, TypeAlias

import numpy as np
from scipy.special import expit

from curation_audit.checks import positive
from curation_audit.dp.top_k import (
    exponential_top_k,
    gaussian_scores,
    gumbel_scores,
    permute_and_flip_top_k,
)
from curation_audit.observations import Selection
from curation_audit.pipelines.base import Rows
from curation_audit.pipelines.rules.top import best_rows
from curation_audit.streams import ShadowStreams
from curation_audit.types import Indices, Scores

Noise: TypeAlias = Literal["gumbel", "permute_and_flip", "exponential", "gaussian"]
AT_ONCE: Final = {"gumbel": gumbel_scores, "gaussian": gaussian_scores}
IN_ROUNDS: Final = {
    "permute_and_flip": permute_and_flip_top_k,
    "exponential": exponential_top_k,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class NoisyTopK:
    """The ``k`` rows with the largest noisy scores; k is public.

    ``scale`` is that of the noise, in the unit of the scores. ``squash`` takes the scores into
    (0, 1) by the logistic function first, which bounds how far one unit can move them. What leaves
    is which rows, never a noisy score.
    """

    name: ClassVar[str] = "noisy_top_k"
    by_rank: ClassVar[bool] = False
    one_cut: ClassVar[bool] = True
    k: int
    noise: Noise
    scale: float
    squash: bool = False

    def __post_init__(self) -> None:
        """Check the numbers."""
        positive(k=self.k, scale=self.scale)

    def select(
        self,
        scores: Scores,
        tie_order: Indices,
        streams: ShadowStreams | None = None,
        pool: Rows | None = None,
    ) -> Selection:
        """Pick k rows of every shadow with that shadow's own noise."""
        if streams is None:
            raise ValueError("a noisy rule needs streams to draw from.")
        generators = streams.generators("selection noise")
        squashed = expit(scores.astype(np.float64)) if self.squash else scores
        if self.noise in AT_ONCE:
            noisy = AT_ONCE[self.noise](squashed, self.scale, generators)
            return best_rows(noisy, tie_order, self.k)
        pick = IN_ROUNDS[self.noise]
        picked = np.zeros(scores.shape, dtype=bool)
        for s, generator in enumerate(generators):
            picked[s, pick(squashed[s], self.k, self.scale, generator)] = True
        return Selection.from_mask(picked)
