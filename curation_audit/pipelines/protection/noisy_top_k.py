"""Noise on the selection: where the scorer is not private, or as an ablation."""

import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from curation_audit.checks import SettingError, in_open_unit
from curation_audit.dp.claims import LARGEST_EPSILON
from curation_audit.dp.events import Event, Gaussian, Pure, Zcdp
from curation_audit.dp.top_k_budget import (
    gaussian_alternative,
    gumbel_scale,
    pure_scale,
    range_distance,
)
from curation_audit.pipelines.base import Scorer
from curation_audit.pipelines.protection.base import PATH, Budget, Site
from curation_audit.pipelines.protection.gaussian_mean import GaussianMean
from curation_audit.pipelines.rules.noisy_top import Noise, NoisyTopK
from curation_audit.pipelines.scorers.classifier import Classifier
from curation_audit.pipelines.scorers.mean import Mean
from curation_audit.pipelines.scorers.nearest import Nearest
from curation_audit.pipelines.scorers.noisy_sum import NoisySum
from curation_audit.pipelines.scorers.private_classifier import PrivateClassifier
from curation_audit.statistics.zcdp import rho_of_epsilon

COSINE_RANGE = 2.0  # from -1 to 1, and the score of nobody is -1
NEAREST_REFUSED = (
    "the score of the nearest private row hangs on one record, however many there are, so noise "
    "that hides one record hides the score; use centroid_votes, gaussian_mean or dp_gd in its "
    "place, or force: true to run it as an ablation"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounded:
    """Scores of which one unit moves none by more than ``delta_inf``.

    ``monotone``: a unit that enters moves all scores the same way. ``delta_2``: how far it moves
    the whole vector in L2, where that is bounded. ``squash``: after the logistic function.
    """

    scorer: Scorer
    delta_inf: float
    monotone: bool
    delta_2: float | None
    squash: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class SelectionPart:
    """A noisy rule, what it spends, the scores it is for, and what a reader should know."""

    rule: NoisyTopK
    event: Event
    bounded: Bounded
    sensitivity: str
    notes: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class NoisySelection:
    """Settings of noise on the selection.

    ``noise``: ``gumbel`` (one draw for all k, zCDP), ``exponential`` or ``permute_and_flip`` (pure,
    for few picks), or ``gaussian`` (where the scores' L2 sensitivity is bounded). ``split``: the
    share of the budget for the selection where the scorer is private, too. ``force``: run the
    noise on a scorer that no noise can save.
    """

    name: ClassVar[str] = "noisy_top_k"
    noise: Noise = "gumbel"
    split: float = 0.5
    force: bool = False

    def __post_init__(self) -> None:
        """Check the split."""
        in_open_unit(split=self.split)

    def bounded(self, site: Site, scorer: Scorer) -> Bounded:
        """How far one unit can move the scores.

        Raises:
            SettingError: for a scorer of which that is not known, or not bounded usefully.
        """
        if isinstance(scorer, Nearest) and not self.force:
            raise SettingError(f"{PATH}.mechanism", "cannot protect nearest", NEAREST_REFUSED)
        if isinstance(scorer, Nearest) and (scorer.metric, scorer.j) == ("cosine", 1):
            monotone = site.adjacency != "replace_one"
            return Bounded(scorer=scorer, delta_inf=COSINE_RANGE, monotone=monotone, delta_2=None)
        if isinstance(scorer, Classifier | PrivateClassifier):
            return Bounded(scorer=scorer, delta_inf=1.0, monotone=False, delta_2=None, squash=True)
        if isinstance(scorer, Mean):
            clipped = GaussianMean().prepare(_UNLIMITED, (), site).scorer
            return self.bounded(site, clipped)
        if isinstance(scorer, NoisySum):
            queries = scorer.embed(site.pool.features, site.pool.labels).astype(np.float64)
            moved = scorer.mechanism.sum_sensitivity / scorer.mechanism.denominator
            longest = float(np.linalg.norm(queries, axis=1).max())
            one_way = scorer.mechanism.nonnegative and bool((queries >= 0).all())
            return Bounded(
                scorer=scorer,
                delta_inf=moved * longest,
                monotone=one_way and site.adjacency != "replace_one",
                delta_2=moved * float(np.linalg.norm(queries, ord=2)),
            )
        private = hasattr(scorer, "mechanism")
        raise SettingError(
            f"{PATH}.mechanism",
            f"cannot bound how far one unit moves the scores of {scorer.name}",
            f"leave {self.name} out: picks by a private scorer are covered already"
            if private
            else "use a mechanism that puts a private scorer in its place",
        )

    def prepare(self, budget: Budget, share: float, k: int, bounded: Bounded) -> SelectionPart:
        """Calibrate the noise to a share of the budget."""
        if budget.epsilon is None:
            raise SettingError(PATH, "limits no epsilon", "state epsilon and delta")
        if budget.epsilon > LARGEST_EPSILON:
            problem = f"found {budget.epsilon:g}, which guarantees nothing"
            raise SettingError(f"{PATH}.epsilon", problem, f"at most {LARGEST_EPSILON:g}")
        score_range = range_distance(bounded.delta_inf, monotone=bounded.monotone)
        scale, event = self._noise(budget.epsilon, budget.delta, share, k, bounded, score_range)
        return SelectionPart(
            rule=NoisyTopK(k=k, noise=self.noise, scale=scale, squash=bounded.squash),
            event=event,
            bounded=bounded,
            sensitivity=_argument(bounded, score_range),
            notes=_notes(budget.epsilon, budget.delta, k, bounded, forced=self.force),
        )

    def _noise(
        self,
        epsilon: float,
        delta: float,
        share: float,
        k: int,
        bounded: Bounded,
        score_range: float,
    ) -> tuple[float, Event]:
        what = f"selection ({self.noise})"
        if self.noise == "gumbel":
            rho = share * rho_of_epsilon(epsilon, delta)
            return gumbel_scale(k, score_range, rho), Zcdp(rho, what)
        if self.noise == "gaussian":
            if bounded.delta_2 is None:
                raise SettingError(
                    f"{PATH}.noise",
                    f"gaussian needs a bound on how far one unit moves all scores of "
                    f"{bounded.scorer.name} together, and there is none",
                    "use noise: gumbel, or protect the scorer itself",
                )
            mu = math.sqrt(share) * budget_mu(epsilon, delta)
            return bounded.delta_2 / mu, Gaussian(mu, what)
        pure = share * epsilon
        return pure_scale(k, score_range, pure), Pure(pure / k, what, rounds=k)


def budget_mu(epsilon: float, delta: float) -> float:
    """The mu of one Gaussian within epsilon and delta."""
    return Budget(epsilon=epsilon, delta=delta).mu_left(())


_UNLIMITED = Budget(epsilon=math.inf, delta=0.5)


def _argument(bounded: Bounded, score_range: float) -> str:
    why = (
        "a unit moves all scores the same way"
        if bounded.monotone
        else "a unit may move one score up and another down"
    )
    squashed = "; scores pass the logistic function first" if bounded.squash else ""
    return (
        f"one unit moves no score by more than {bounded.delta_inf:.6g}{squashed}; {why}, so "
        f"differences of scores move by at most {score_range:.6g}"
    )


def _notes(
    epsilon: float, delta: float, k: int, bounded: Bounded, *, forced: bool
) -> tuple[str, ...]:
    alternative = gaussian_alternative(
        k=k,
        delta_inf=bounded.delta_inf,
        monotone=bounded.monotone,
        l2_sensitivity=None if bounded.delta_2 is None else max(bounded.delta_2, bounded.delta_inf),
        epsilon=epsilon,
        delta=delta,
    )
    text = alternative.text[:1].upper() + alternative.text[1:]
    return (text, "Ablation: " + NEAREST_REFUSED + ".") if forced else (text,)
