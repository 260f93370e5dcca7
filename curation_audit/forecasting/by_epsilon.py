"""Noisy gradient descent by epsilon: leak and picks, foretold without a shadow.

For ``dp_gd`` and ``dp_sgd`` without hidden layers. All of it is to first order along noisy paths
(``statistics/noisy_descent.py``): predictions, which prove nothing of privacy.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from curation_audit.auditing.plan import AuditPlan
from curation_audit.checks import SettingError
from curation_audit.dp.calibration import EpsilonTarget, noise_multiplier_for
from curation_audit.dp.events import PoissonGaussian
from curation_audit.dp.ledger import guarantee_of
from curation_audit.forecasting.prediction import Prediction, predict
from curation_audit.pipelines.rules.cut import tie_order
from curation_audit.pipelines.scorers.private_classifier import PrivateClassifier
from curation_audit.statistics.noisy_descent import Carried
from curation_audit.streams import Streams
from curation_audit.types import Mask, Scores

N_DRAWS = 64
"""Curations that are drawn to see what noise leaves of the picks."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Foretold:
    """What the scores of one epsilon are predicted to tell and to be worth.

    ``prediction`` has every adversary, and the check on exact shadows of this epsilon if there are
    any. ``allowed_auc`` is a bound: the most that the claim of this scorer by itself lets anyone
    reach. ``kept``: which share of the picks without noise is still picked; a prediction, ``None``
    where the rule draws noise of its own.
    """

    epsilon: float
    noise_multiplier: float
    prediction: Prediction
    allowed_auc: float
    kept: float | None


def descends(plan: AuditPlan) -> bool:
    """Whether a plan's scorer is one that this file foretells."""
    return (
        isinstance(plan.scorer, PrivateClassifier)
        and not plan.scorer.settings.hidden
        and plan.protection is not None
    )


def check_epsilons(epsilons: Sequence[float]) -> None:
    """Raise ``SettingError`` for what is no finite epsilon above 0."""
    for epsilon in epsilons:
        if not 0 < epsilon < math.inf:
            raise SettingError("epsilon", f"found {epsilon:g}", "expected a finite number above 0")


def curve(plan: AuditPlan, epsilons: Sequence[float], n_shadows: int) -> tuple[Foretold, ...]:
    """``foretold`` at some epsilons, ascending."""
    return tuple(foretold(plan, epsilon, n_shadows) for epsilon in sorted(set(epsilons)))


def foretold(plan: AuditPlan, epsilon: float, n_shadows: int) -> Foretold:
    """What the plan's scorer at another epsilon is predicted to be, checked on exact shadows.

    Epsilon is the scorer's own, at the plan's delta and adjacency; all other public constants
    stay. The leak is that of an audit, which holds half of the candidates; the picks are those of
    a curation that holds all of them.

    Raises:
        TypeError: for a plan that ``descends`` denies.
        SettingError: for an epsilon that no noise meets.
    """
    if not isinstance(plan.scorer, PrivateClassifier) or plan.protection is None:
        raise TypeError("only noisy gradient descent is foretold.")
    check_epsilons((epsilon,))
    adjacency, now = plan.scorer.adjacency_of_claim, plan.scorer.settings
    target = EpsilonTarget(epsilon, plan.protection.delta)
    try:
        noise = noise_multiplier_for(target, now.sampling_rate, now.steps, adjacency)
    except ValueError as error:
        raise SettingError("epsilon", str(error).rstrip(".")) from None
    scorer = replace(plan.scorer, settings=replace(now, noise_multiplier=noise))
    event = PoissonGaussian(noise, now.sampling_rate, now.steps, "scorer")
    return Foretold(
        epsilon=epsilon,
        noise_multiplier=noise,
        prediction=predict(replace(plan, scorer=scorer), n_shadows),
        allowed_auc=guarantee_of((event,), adjacency).auc(),
        kept=kept(scorer, plan),
    )


def kept(scorer: PrivateClassifier, plan: AuditPlan) -> float | None:
    """Which share of the picks without noise a noisy curation of all candidates still picks.

    ``None`` where the rule draws noise itself: there are no picks without noise then.
    """
    quiet = replace(scorer, settings=replace(scorer.settings, noise_multiplier=0.0))
    still, noisy = (_all_held(one, plan) for one in (quiet, scorer))
    rng = Streams(plan.seed).generator("foretold")
    covariance = noisy.noise(scorer.settings.noise_of_step)
    drawn = rng.multivariate_normal(noisy.released, covariance, N_DRAWS, method="eigh")
    pool = scorer.embed(plan.data.pool.features)
    reference, again = _picked(plan, np.stack([pool @ still.released] * 2))
    if (reference != again).any():
        return None
    of_draws = _picked(plan, drawn @ pool.T)
    return float((of_draws & reference).sum(axis=1).mean() / max(1, reference.sum()))


def _all_held(scorer: PrivateClassifier, plan: AuditPlan) -> Carried:
    found = scorer.carried(plan.data.private, plan.data.pool, held=1.0)
    if found is None:
        raise TypeError("a network is not linear.")
    return found


def _picked(plan: AuditPlan, scores: Scores) -> Mask:
    """What the plan's rule picks by scores (S, m), bool (S, m)."""
    pool = plan.data.pool
    streams = Streams(plan.seed).for_shadows("foretold", range(len(scores)))
    exact = scores.astype(pool.features.dtype, copy=False)
    return plan.rule.select(exact, tie_order(pool.ids, plan.seed), streams, pool).mask()
