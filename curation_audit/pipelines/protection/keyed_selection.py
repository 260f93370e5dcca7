"""Noise on the selection for real: keyed Gumbel top-k on scores that never leave."""

from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
from scipy.special import expit

from curation_audit.checks import InputError
from curation_audit.dp.events import EpsilonDelta, Event, Zcdp
from curation_audit.dp.keyed_top_k import UNIT, KeyedTopK
from curation_audit.dp.ledger import Ledger
from curation_audit.dp.protection import Protection
from curation_audit.dp.tiers import Tier
from curation_audit.pipelines.base import CurationData, Scorer
from curation_audit.pipelines.protection.noisy_top_k import Bounded
from curation_audit.pipelines.rules.noisy_top import NoisyTopK
from curation_audit.pipelines.scorers.noisy_sum import NoisySum
from curation_audit.statistics.zcdp import epsilon_of_rho
from curation_audit.streams import Streams
from curation_audit.types import Floats

KEYED: Final = Tier(
    name="hardened",
    noise=(
        "Gumbel noise by AES-256 of each row's id, under a key of the operating system that serves "
        "this query alone and is deleted once the picks are stored; what floats change is paid for "
        "in delta (docs/safe-top-k.md); it rests on AES-256, and on logarithms within 2 units in "
        "the last place; time is not covered"
    ),
    for_release=True,
)
PLACE: Final = "curate.protect.mechanism"


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyedSelection:
    """One real selection: how scores are computed, the query, and what it spends.

    ``squash``: scores pass the logistic function first. ``protection`` has the words of the card.
    """

    scorer: Scorer
    squash: bool
    query: KeyedTopK
    event: EpsilonDelta
    protection: Protection

    def scores(self, data: CurationData) -> Floats:
        """Of all pool rows by the whole private set, float64 (m,); they are secret."""
        private, pool = data.private, data.pool
        fitted = self.scorer.fit(
            replace(private, features=private.features.astype(np.float64)),
            np.ones((1, private.n_candidates), dtype=bool),
            replace(pool, features=pool.features.astype(np.float64)),
            streams=Streams(0).for_shadows("release", (0,)),
        )
        scores = fitted.score(pool.features.astype(np.float64), pool.labels)[0].astype(np.float64)
        return np.asarray(expit(scores) if self.squash else scores)

    def constants(self) -> dict[str, Any]:
        """All but the data and the scorer that the picks follow from, as JSON values."""
        query = self.query
        return {
            "squash": self.squash,
            "k": query.k,
            "delta_inf": query.delta_inf,
            "monotone": query.monotone,
            "bound": query.bound,
            "rate": query.rate,
            "epsilon": self.event.epsilon,
            "delta": self.event.delta,
        }


def keyed_selection(
    *,
    scorer: Scorer,
    rule: NoisyTopK,
    bounded: Bounded,
    events: tuple[Event, ...],
    protection: Protection,
    data: CurationData,
) -> KeyedSelection:
    """The real form of a noisy selection that was put in place for an audit.

    Raises:
        InputError: for other noise than Gumbel's, an ablation, or scores without public bounds.
    """
    _refuse(rule, protection)
    bounded = _in_float64(bounded, data)
    (event,) = events
    if not isinstance(event, Zcdp):
        raise TypeError("Gumbel noise spends a rho.")
    bound, rounding = _bounds(bounded, data)
    epsilon = epsilon_of_rho(event.rho, protection.delta)
    query = KeyedTopK.within(
        epsilon=epsilon,
        delta=protection.delta,
        k=rule.k,
        n_pool=len(data.pool),
        delta_inf=bounded.delta_inf + rounding,
        monotone=bounded.monotone,
        bound=bound,
    )
    spent = EpsilonDelta(epsilon, protection.delta, "selection (keyed gumbel)")
    ledger = Ledger(protection.adjacency, protection.unit, (spent,))
    slack = query.slack(epsilon, len(data.pool))
    why = (
        f"{protection.sensitivities[-1]}; as computed, rounded and cut off at {bound:.6g}: "
        f"{query.score_range:.6g}; scale {query.scale:.6g}; of delta, {slack:.3g} is for what "
        "floats change"
    )
    words = replace(
        protection,
        epsilon=epsilon,
        events=ledger.lines(protection.delta),
        sensitivities=(why,),
    )
    return KeyedSelection(
        scorer=scorer, squash=bounded.squash, query=query, event=spent, protection=words
    )


def _refuse(rule: NoisyTopK, protection: Protection) -> None:
    if protection.ablation:
        hint = "use a mechanism that puts a private scorer in its place"
        raise InputError(PLACE, "is an ablation, which shows what does not work", hint)
    if rule.noise != "gumbel":
        problem = f"found {rule.noise}, which is for audits"
        raise InputError("curate.protect.noise", problem, "real picks are made by gumbel")


def _in_float64(bounded: Bounded, data: CurationData) -> Bounded:
    """The bound for scores as they are computed: audits may hold queries in float32, which rounds.

    What the length of a query rounds is within the 1e-9 of ``_bounds``.
    """
    of = bounded.scorer
    if not isinstance(of, NoisySum):
        return bounded
    queries = of.embed(data.pool.features.astype(np.float64), data.pool.labels)
    longest = float(np.linalg.norm(queries.astype(np.float64), axis=1).max())
    moved = of.mechanism.sum_sensitivity / of.mechanism.denominator
    return replace(bounded, delta_inf=moved * longest)


def _bounds(bounded: Bounded, data: CurationData) -> tuple[float, float]:
    """A public bound on scores, and how much further they move as floats than as numbers.

    Scores that pass the logistic function lie in (0, 1) as floats, too. A mean is a sum of U
    vectors of length at most C in public, and a product of p numbers: in any order of summation it
    is off by at most ``(U + p + 2) u`` times the sum of the moduli.
    """
    scorer = bounded.scorer
    if bounded.squash:
        return 1.0, 0.0
    if not isinstance(scorer, NoisySum) or scorer.mechanism.adjacency == "add_remove":
        raise InputError(
            PLACE,
            f"the scores of {scorer.name} have no public bound, so that nothing can be said of "
            "how floats round them",
            "use zero_out or replace_one, or a private scorer",
        )
    of, n_units = scorer.mechanism, data.private.n_units
    longest = bounded.delta_inf * of.denominator / of.sum_sensitivity
    bound = n_units * of.clip / of.denominator * longest * (1 + 1e-9)
    width = data.pool.features.shape[1]
    return bound, 2 * UNIT * (n_units + width + 16) * bound + 1e-9 * bounded.delta_inf
