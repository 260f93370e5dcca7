"""From ``curate.protect`` to a private scorer and rule, a ledger, and what may be claimed."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Final, get_args

from curation_audit.checks import SettingError, did_you_mean, one_of
from curation_audit.dp.calibration import check_delta
from curation_audit.dp.claims import Claim
from curation_audit.dp.conditions import assumptions, check_fitted_on
from curation_audit.dp.event_codec import encoded
from curation_audit.dp.events import Event
from curation_audit.dp.ledger import Ledger
from curation_audit.dp.protection import Protection
from curation_audit.dp.tiers import SEEDED, ReleaseTier
from curation_audit.pipelines.base import Scorer, SelectionRule
from curation_audit.pipelines.protection import MECHANISMS, SELECTION
from curation_audit.pipelines.protection.base import (
    PATH,
    Budget,
    ScorerMechanism,
    ScorerPart,
    Site,
)
from curation_audit.pipelines.protection.noisy_top_k import Bounded, NoisySelection, SelectionPart
from curation_audit.pipelines.protection.strict import check_strict, strict_part
from curation_audit.pipelines.protection.tuning import PaidTuning, PublicTuning
from curation_audit.pipelines.rules.sampled import Pareto
from curation_audit.pipelines.rules.top import TopFraction, TopK
from curation_audit.pipelines.scorers.classifier import Classifier
from curation_audit.pipelines.scorers.decontaminate import Decontaminate
from curation_audit.pipelines.scorers.dsir import Dsir
from curation_audit.pipelines.scorers.perplexity import Perplexity
from curation_audit.pipelines.scorers.zero_out import ZeroOut
from curation_audit.results import Adjacency
from curation_audit.training.device import one_thread

NATURAL: Final = {
    "mean": "gaussian_mean",
    "classifier": "dp_gd",
    "nearest": "centroid_votes",
    "centroid_votes": "centroid_votes",
    "dsir": "dsir_histogram",
    "trak": "trak_sum",
    "less": "less_sums",
}
"""The private form of each scorer."""
READERS_OF_TOKENS: Final = (Dsir, Perplexity, Decontaminate)
FIT_FOR_TOKENS: Final = ("dsir_histogram", "domain_votes", "shard_votes")
"""Mechanisms that do not take token codes for numbers."""
TWICE: Final = (
    "The scorer is private already, so what is picked by it is covered without noise of its own: "
    "the second noise buys nothing formally, and costs accuracy."
)
UNPAID: Final = "selection not accounted: whether settings were tuned on private rows is not known"


@dataclass(frozen=True, slots=True, kw_only=True)
class ProtectSettings:
    """How to protect a curation.

    ``mechanism``: a private scorer of ``MECHANISMS``, ``noisy_top_k``, or both as
    ``NAME + noisy_top_k``. ``scorer`` and ``selection`` hold their own settings. ``unit``: what is
    protected, by default a candidate. ``fitted_on``: what steps outside of this tool were fitted
    on; see ``dp/conditions.py``. ``noise_tier``: how good the noise of a release is; see
    ``dp/tiers.py``. ``tuning``: how settings of the private scorer are chosen, by the private set
    itself or on public rows; ``None`` where they are as they are.
    """

    mechanism: str
    adjacency: Adjacency
    budget: Budget
    unit: str | None = None
    scorer: ScorerMechanism | None = None
    selection: NoisySelection | None = None
    fitted_on: Mapping[str, str] = field(default_factory=dict)
    noise_tier: ReleaseTier = "hardened"
    tuning: PaidTuning | PublicTuning | None = None

    def __post_init__(self) -> None:
        """Check the words."""
        one_of(f"{PATH}.adjacency", self.adjacency, get_args(Adjacency))
        one_of(f"{PATH}.noise_tier", self.noise_tier, get_args(ReleaseTier))
        check_fitted_on(self.fitted_on)
        if isinstance(self.tuning, PaidTuning) and parts_of(self.mechanism)[1]:
            raise SettingError(
                f"{PATH}.tuning",
                "stands beside noise on the selection",
                "tune the private scorer alone: it covers its picks",
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class Protected:
    """A private curation: its parts, what it may claim (``None`` without noise), and the words.

    ``events``: what it spends on the private set; their composition is the claim. ``bounded``: how
    far one unit moves the scores, where noise lies on the selection alone.
    """

    scorer: Scorer
    rule: SelectionRule
    claim: Claim | None
    protection: Protection
    events: tuple[Event, ...]
    bounded: Bounded | None = None


def parts_of(mechanism: str) -> tuple[str | None, bool]:
    """The private scorer that a mechanism names, if any, and whether the selection is noisy."""
    names = [name.strip() for name in mechanism.split("+")]
    scorers = [name for name in names if name != SELECTION]
    for name in scorers:
        if name not in MECHANISMS:
            raise SettingError(
                f"{PATH}.mechanism", f"found {name!r}", did_you_mean(name, [*MECHANISMS, SELECTION])
            )
    if len(scorers) > 1 or len(names) > len(set(names)):
        raise SettingError(
            f"{PATH}.mechanism", f"found {mechanism!r}", f"expected NAME or NAME + {SELECTION}"
        )
    return (scorers[0] if scorers else None), SELECTION in names


def mechanism_settings(mechanism: str, settings: Mapping[str, Any]) -> tuple[dict[str, Any], ...]:
    """Settings by whose they are: the private scorer's, and the noisy selection's."""
    name, noisy = parts_of(mechanism)
    kinds = (MECHANISMS[name] if name else None, NoisySelection if noisy else None)
    return tuple(
        {} if kind is None else {n: v for n, v in settings.items() if n in kind.__slots__}
        for kind in kinds
    )


@one_thread()  # models of the pool have the same bits whatever the machine does beside
def protect(settings: ProtectSettings, site: Site, rule: SelectionRule, unit: str) -> Protected:
    """Put the mechanism in place; nothing private is looked at but the number of units.

    Raises:
        SettingError: for a budget that cannot be kept, or what would void the guarantee.
    """
    own_unit = settings.unit or unit
    if own_unit != unit:
        raise SettingError(
            f"{PATH}.unit",
            f"found {own_unit!r}, but the candidates are of unit {unit!r}",
            "the unit that is protected is the one that private.unit groups rows by",
        )
    budget, events = settings.budget, tuple[Event, ...]()
    _check_delta(budget.delta, site)
    name, noisy = parts_of(settings.mechanism)
    if name is not None:
        _check_scale(name, site.scorer, rule)
        _check_reads(name, site.scorer)
    selection = None
    if noisy and not budget.unlimited:
        selection = _selection(settings, site, rule, name)
        events = (selection.event,)
    scorer = _scorer(settings, site, name, events, noisy=noisy)
    events = (*scorer.events, *events)
    ledger = Ledger(settings.adjacency, unit, events)
    claim = ledger.guarantee() if events else None
    epsilon = None if claim is None else claim.epsilon_at(budget.delta)
    return Protected(
        scorer=scorer.scorer,
        rule=rule if selection is None else selection.rule,
        claim=claim,
        protection=_described(settings, ledger, scorer, selection, epsilon),
        events=events,
        bounded=selection.bounded if selection is not None and name is None else None,
    )


def _check_delta(delta: float, site: Site) -> None:
    """Below one over the units; where their number is secret, no message tells it."""
    check_delta(delta, site.public_units)
    if delta >= 1 / site.private.n_units:
        raise SettingError(
            f"{PATH}.delta",
            f"found {delta:g}, at which a unit could be released as it is",
            "expected less than one over the number of units",
        )


def _check_scale(mechanism: str, scorer: Scorer, rule: SelectionRule) -> None:
    """A private scorer's noise knows no ends, so its scores are no probabilities."""
    if isinstance(scorer, Classifier) and scorer.score != "logit":
        raise SettingError(
            "curate.scorer.score",
            f"found {scorer.score}, but the scores of {mechanism} are not probabilities",
            "leave it out; levels of rules are then levels of its scores",
        )
    if isinstance(rule, Pareto) and not rule.squash:
        raise SettingError(
            "curate.select.squash",
            f"found false, but the scores of {mechanism} are not from 0 to 1",
            "expected true",
        )


def _check_reads(mechanism: str, scorer: Scorer) -> None:
    """Token codes are names: their means and distances say nothing."""
    if isinstance(scorer, READERS_OF_TOKENS) and mechanism not in FIT_FOR_TOKENS:
        raise SettingError(
            f"{PATH}.mechanism",
            f"{mechanism} reads numbers, but {scorer.name} reads rows of token codes",
            f"use one of {', '.join(FIT_FOR_TOKENS)}, or a scorer and features of numbers, "
            "such as hashed_ngrams",
        )


def _scorer(
    settings: ProtectSettings, site: Site, name: str | None, beside: Sequence[Event], *, noisy: bool
) -> ScorerPart:
    if name is not None:
        return _private_scorer(settings, site, name, beside)
    if settings.noise_tier == "strict":
        raise SettingError(
            f"{PATH}.noise_tier",
            "found strict, but noise on the selection alone has no exact sampler",
            "leave it at hardened, or use a mechanism that releases one noisy sum",
        )
    if not noisy:
        raise SettingError(f"{PATH}.mechanism", "names nothing", "expected a mechanism")
    scorer = (settings.selection or NoisySelection()).bounded(site, site.scorer).scorer
    if site.adjacency == "zero_out" and scorer.adjacency == "add_remove":
        scorer = ZeroOut(scorer=scorer)
    return ScorerPart(scorer=scorer, event=None, sensitivity="the scorer is not private")


def _private_scorer(
    settings: ProtectSettings, site: Site, name: str, beside: Sequence[Event]
) -> ScorerPart:
    strict, budget = settings.noise_tier == "strict", settings.budget
    if strict:
        check_strict(budget, tuned=isinstance(settings.tuning, PaidTuning))
    mechanism = _mechanism(settings, name)
    if isinstance(settings.tuning, PaidTuning):  # and nothing is spent beside
        part = settings.tuning.prepare(mechanism, budget, site)
    else:
        part = mechanism.prepare(budget, beside, site)
    return strict_part(part, budget, beside) if strict else part


def _mechanism(settings: ProtectSettings, name: str) -> ScorerMechanism:
    """The private scorer that is named, with its own settings: the words are of what runs."""
    found: ScorerMechanism = settings.scorer or MECHANISMS[name]()
    if type(found) is not MECHANISMS[name]:
        hint = f"expected {MECHANISMS[name].__name__}, or another mechanism"
        raise SettingError(f"{PATH}.scorer", f"found {type(found).__name__} for {name}", hint)
    return found


def _selection(
    settings: ProtectSettings, site: Site, rule: SelectionRule, name: str | None
) -> SelectionPart:
    noise = settings.selection or NoisySelection()
    scorer, share = site.scorer, 1.0
    if name is not None:
        # the bound holds for any noise of the scorer, which is calibrated beside the selection's
        unlimited = Budget(epsilon=float("inf"), delta=settings.budget.delta)
        mechanism = _mechanism(settings, name)
        scorer, share = mechanism.prepare(unlimited, (), site).scorer, noise.split
    return noise.prepare(
        settings.budget, share, k_of(rule, len(site.pool)), noise.bounded(site, scorer)
    )


def describe_protection(settings: ProtectSettings) -> dict[str, Any]:
    """The settings as JSON values, for a report."""
    budget = {name: value for name, value in asdict(settings.budget).items() if value is not None}
    if settings.budget.unlimited:
        budget["epsilon"] = "inf"
    own = {} if settings.scorer is None else {"scorer": repr(settings.scorer)}
    noisy = {} if settings.selection is None else {"selection": repr(settings.selection)}
    words = {"mechanism": settings.mechanism, "adjacency": settings.adjacency}
    if settings.noise_tier != "hardened":  # runs from before there were tiers keep their names
        words["noise_tier"] = settings.noise_tier
    if settings.tuning is not None:
        own["tuning"] = repr(settings.tuning)
    return {**words, **budget, **own, **noisy, "fitted_on": dict(settings.fitted_on)}


def k_of(rule: SelectionRule, n_pool: int) -> int:
    """How many rows a rule picks, where that is public and fixed."""
    if not isinstance(rule, TopK | TopFraction):
        raise SettingError(
            "curate.select.rule",
            f"found {rule.name}; noise on the selection takes the best k of the whole pool",
            "noise on the selection needs top_k or top_fraction",
        )
    return rule.size(n_pool)


def _described(
    settings: ProtectSettings,
    ledger: Ledger,
    scorer: ScorerPart,
    selection: SelectionPart | None,
    epsilon: float | None,
) -> Protection:
    budget = settings.budget
    notes = [*scorer.notes, *(selection.notes if selection else ())]
    if scorer.event is not None and selection is not None:
        notes.append(TWICE)
    if not ledger.events:
        notes.append("No noise: the mechanism and its clipping alone, and no guarantee at all.")
    private_scorer = parts_of(settings.mechanism)[0] is not None
    return Protection(
        mechanism=settings.mechanism,
        adjacency=settings.adjacency,
        unit=ledger.unit,
        epsilon=epsilon,
        delta=budget.delta,
        covers=("scores", "selection", "model") if private_scorer else ("selection", "model"),
        events=ledger.lines(budget.delta),
        coded_events=tuple(encoded(event) for event in ledger.events) or None,
        sensitivities=tuple(part.sensitivity for part in (scorer, selection) if part is not None),
        notes=tuple(notes),
        assumptions=_assumptions(settings),
        ablation=selection is not None and (settings.selection or NoisySelection()).force,
        noise_source=SEEDED.noise,
        tuning=_told_of_tuning(settings),
    )


def _assumptions(settings: ProtectSettings) -> dict[str, str]:
    told, tuning = assumptions(settings.fitted_on), settings.tuning
    if isinstance(tuning, PaidTuning):
        told["tuning"] = f"by this tool: {tuning.line()}"
    elif tuning is not None and tuning.evidence is not None:
        told["tuning"] = f"stated: public ({tuning.evidence})"
    return told


def _told_of_tuning(settings: ProtectSettings) -> str:
    tuning, stated = settings.tuning, settings.fitted_on.get("tuning")
    if isinstance(tuning, PaidTuning):
        return f"paid for: {tuning.line()}"
    if tuning is not None and tuning.evidence is not None:
        return f"stated: tuned on public ({tuning.evidence})"
    return UNPAID if stated is None else f"stated: tuned on {stated}"
