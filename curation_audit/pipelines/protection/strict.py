"""The strict tier: a mechanism of one noisy sum, made again in whole numbers and with a rho."""

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from curation_audit.checks import SettingError
from curation_audit.dp.discrete_sum import DiscreteSum
from curation_audit.dp.events import Event
from curation_audit.dp.gaussian_sum import GaussianSum
from curation_audit.pipelines.protection.base import PATH, Budget, ScorerPart
from curation_audit.pipelines.protection.sums import noisy_sum
from curation_audit.pipelines.scorers.noisy_sum import NoisySum

NOTE: Final = (
    "A release is of the strict tier: exact noise on whole numbers, accounted as zCDP. Shadows "
    "draw float64 noise of the same size on the same rounded sums."
)


def check_strict(budget: Budget, *, tuned: bool) -> None:
    """Refuse what has no exact noise, or no exact curve.

    Raises:
        SettingError: for a limit other than epsilon at a delta, or a tuning by the private set.
    """
    if tuned:
        raise SettingError(
            f"{PATH}.noise_tier",
            "found strict beside a tuning by the private set, whose comparison has no exact noise",
            "tune on public rows, or leave it at hardened",
        )
    if budget.epsilon is None:
        raise SettingError(
            f"{PATH}.noise_tier",
            "found strict beside a limit on mu, advantage or tpr, which discrete noise has no "
            "exact curve for",
            "state epsilon and delta, or leave it at hardened",
        )


def strict_part(part: ScorerPart, budget: Budget, beside: Sequence[Event]) -> ScorerPart:
    """The same mechanism by exact noise, within the budget beside what else is spent.

    Without noise there is nothing to be strict about, and the part stays as it is.

    Raises:
        SettingError: for a mechanism that releases something else than one noisy sum.
    """
    scorer = part.scorer
    if not (isinstance(scorer, NoisySum) and isinstance(scorer.mechanism, GaussianSum)):
        raise SettingError(
            f"{PATH}.noise_tier",
            f"found strict, and there is no exact noise for {scorer.name}",
            "use gaussian_mean, centroid_votes, rff_density or ulsif, or leave it at hardened",
        )
    if budget.unlimited:
        return part
    mu = math.sqrt(2 * budget.rho_left(beside)) * (1 - 1e-9)
    if not mu > 0:
        raise SettingError(PATH, "is spent already by what stands beside", "ask for more")
    mechanism = DiscreteSum(bounds=replace(scorer.mechanism, mu=mu))
    return replace(noisy_sum(scorer.map, mechanism), notes=(*part.notes, NOTE))
