"""The real training of a plan's scorer, with everyone in, as diagnostics look at it."""

from dataclasses import replace

import numpy as np

from curation_audit.auditing.plan import AuditPlan
from curation_audit.pipelines.scorers.mlp_classifier import MlpClassifier, MlpScorers
from curation_audit.pipelines.scorers.private_classifier import NetworkScorers, PrivateClassifier
from curation_audit.streams import ShadowStreams, Streams
from curation_audit.training.mlp import Layer
from curation_audit.types import Floats


def real_streams(plan: AuditPlan) -> ShadowStreams:
    """Those of the real curation."""
    return Streams(plan.seed).for_shadows("real", (0,))


def network_of(plan: AuditPlan, scorer: MlpClassifier) -> list[Layer]:
    """The layers of the real curation's network, with all candidates in."""
    private = plan.data.private
    everyone = np.ones((1, private.n_candidates), dtype=bool)
    quick = replace(scorer, device="cpu")
    fitted = quick.fit(private, everyone, plan.data.pool, streams=real_streams(plan))
    if not isinstance(fitted, MlpScorers):
        raise TypeError("a network is fitted.")
    return _first(fitted.layers)


def network_without_noise(plan: AuditPlan, scorer: PrivateClassifier) -> list[Layer]:
    """The layers of a network by DP-SGD that held everyone, clipped and not noised."""
    private, pool = plan.data.private, plan.data.pool
    everyone = np.ones((1, private.n_units), dtype=bool)
    fitted = _quiet(scorer).fit_units(private, everyone, pool, streams=real_streams(plan))
    if not isinstance(fitted, NetworkScorers):
        raise TypeError("a network is fitted.")
    return _first(fitted.layers)


def descent_without_noise(plan: AuditPlan, scorer: PrivateClassifier) -> Floats:
    """The weights (p,) to which a regression descends that clips and adds no noise.

    Raises:
        TypeError: for a network.
    """
    moves = _quiet(scorer).carried(plan.data.private, plan.data.pool, held=1.0)
    if moves is None:
        raise TypeError("a network is not linear.")
    return moves.released


def _quiet(scorer: PrivateClassifier) -> PrivateClassifier:
    silent = replace(scorer.settings, noise_multiplier=0.0)
    return replace(scorer, settings=silent, device="cpu")


def _first(layers: list[Layer]) -> list[Layer]:
    return [Layer(one.weight[0], one.bias[0]) for one in layers]
