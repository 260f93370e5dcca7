"""LESS from one noisy stack of gradient sums and counts: the private form of ``less``."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

from curation_audit import checks
from curation_audit.dp.events import Event
from curation_audit.dp.gaussian_sum import GaussianSum
from curation_audit.pipelines.protection.base import Budget, ScorerPart, Site
from curation_audit.pipelines.protection.sums import noisy_mean, noisy_sum
from curation_audit.pipelines.scorers.gradient_sums import (
    GradientSum,
    NoisySubtasks,
    SubtaskSums,
)
from curation_audit.pipelines.scorers.less import BoundLess, Less, LessMap
from curation_audit.pipelines.scorers.noisy_sum import NoisySum


@dataclass(frozen=True, slots=True, kw_only=True)
class LessSums:
    """Settings of the stack of sums.

    Checkpoints are of a model of the pool, as ``curate.scorer`` says where that is ``less``, and as
    ``less`` has them by default elsewhere. A row's gradients at all checkpoints have length one
    together. With subtasks (labels) the mean of each is needed, and how many rows a subtask has is
    private: a row stands in the block of its label, and ``count_weight`` in that label's counter,
    so that its length is ``sqrt(1 + count_weight^2)``. Sensitivity: a unit is clipped to that
    length as a whole; one that replaces another moves the stack by at most twice as much. The
    maximum over subtasks is read after the noise, and free.
    """

    name: ClassVar[str] = "less_sums"
    count_weight: float = 0.5

    def __post_init__(self) -> None:
        """Check the number."""
        checks.positive(count_weight=self.count_weight)

    def prepare(self, budget: Budget, beside: Sequence[Event], site: Site) -> ScorerPart:
        """One Gaussian release."""
        settings, found = _checkpoints(site)
        scale = 1 / math.sqrt(len(found.checkpoints))
        gradients = GradientSum(name=self.name, map=found, scale=scale)
        if settings.subtasks == "one":
            return noisy_mean(gradients, 1.0, budget, beside, site)
        stack = SubtaskSums(
            name=self.name,
            gradients=gradients,
            n_subtasks=found.n_classes,
            count_weight=self.count_weight,
        )
        mechanism = GaussianSum(
            clip=math.hypot(1.0, self.count_weight),
            mu=budget.mu_left(beside),
            adjacency=site.adjacency,
        )
        part = noisy_sum(stack, mechanism)
        scorer = NoisySubtasks(
            sums=NoisySum(map=stack, mechanism=mechanism),
            map=stack,
            shown=found.shown,
        )
        return replace(part, scorer=scorer)


def _checkpoints(site: Site) -> tuple[Less, LessMap]:
    """Those of the pipeline's own scorer, or such as ``less`` has by default."""
    if isinstance(site.scorer, BoundLess):
        return site.scorer.settings, site.scorer.map
    settings = site.scorer if isinstance(site.scorer, Less) else Less(device=site.device)
    return settings, LessMap.of_pool(settings, site.pool)
