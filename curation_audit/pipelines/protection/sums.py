"""What mechanisms that release one noisy sum share."""

import math

from curation_audit.dp.discrete_sum import DiscreteSum
from curation_audit.dp.gaussian_sum import GaussianSum
from curation_audit.pipelines.protection.base import ScorerPart
from curation_audit.pipelines.scorers.noisy_sum import NoisySum
from curation_audit.releases.public_maps import StatisticMap


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
