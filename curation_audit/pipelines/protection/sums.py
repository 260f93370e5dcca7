"""What mechanisms that release one noisy sum share."""

import math
from collections.abc import Sequence

import numpy as np

from curation_audit.dp.discrete_sum import DiscreteSum
from curation_audit.dp.events import Event
from curation_audit.dp.gaussian_sum import GaussianSum
from curation_audit.pipelines.protection.base import Budget, ScorerPart, Site
from curation_audit.pipelines.scorers.noisy_sum import NoisySum
from curation_audit.releases.public_maps import StatisticMap
from curation_audit.types import Floats


def noisy_mean(
    public: StatisticMap, clip: float, budget: Budget, beside: Sequence[Event], site: Site
) -> ScorerPart:
    """One Gaussian release of units' vectors, clipped to ``clip``: their mean where N is public.

    Where it is not, the sum, which ranks rows alike.
    """
    mechanism = GaussianSum(
        clip=clip,
        mu=budget.mu_left(beside),
        adjacency=site.adjacency,
        denominator=site.public_units or 1,
        nonnegative=public.nonnegative,
    )
    return noisy_sum(public, mechanism)


def median_length(vectors: Floats) -> float:
    """Of rows of the pool (rows, p), a public clip; 1 where most of them are 0."""
    median = float(np.median(np.linalg.norm(vectors, axis=1)))
    return median if median > 0 else 1.0


def noisy_sum(public: StatisticMap, mechanism: GaussianSum | DiscreteSum) -> ScorerPart:
    """The scorer of a noisy sum, and its event."""
    return ScorerPart(
        scorer=NoisySum(map=public, mechanism=mechanism),
        event=None if mechanism.mu == math.inf else mechanism.event(f"scorer ({public.name})"),
        sensitivity=(
            f"L2 sensitivity of the sum {mechanism.sum_sensitivity:.6g}, units clipped to C = "
            f"{mechanism.clip:.6g}: {mechanism.argument}"
        ),
    )
