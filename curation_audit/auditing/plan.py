"""Everything that one audit needs to know, checked; frozen values without behaviour."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeAlias, get_args

import numpy as np

from curation_audit.attacks import ATTACKS
from curation_audit.attacks.base import Attack
from curation_audit.auditing.context import ReleaseContext
from curation_audit.auditing.own_attacks import check_own
from curation_audit.auditing.run_settings import RunSettings
from curation_audit.backends.base import Origin
from curation_audit.checks import SettingError, did_you_mean, one_of, some_of
from curation_audit.dp.claims import Claim, check_comparable
from curation_audit.dp.events import Event
from curation_audit.dp.protection import Protection
from curation_audit.observations import OBSERVED_STAGES, STAGES, ObservedStage, Stage
from curation_audit.pipelines.base import (
    CurationData,
    Downstream,
    Particular,
    Scorer,
    SelectionRule,
)
from curation_audit.pipelines.canaries import CanarySettings
from curation_audit.pipelines.downstream.logistic import Logistic
from curation_audit.pipelines.protection.fine_tuning import FineTuned
from curation_audit.pipelines.protection.noisy_top_k import Bounded
from curation_audit.report.renderings import check_formats
from curation_audit.results import Adjacency, Estimand

Knows: TypeAlias = Literal[
    "algorithm", "candidates", "labels", "memberships", "other candidates", "pool", "thresholds"
]
ScoreView: TypeAlias = Literal["exact", "rounded", "ranks", "top only"]
ModelView: TypeAlias = Literal["confidences", "labels"]
EmbeddingView: TypeAlias = Literal["exact", "surrogate"]
Limit: TypeAlias = Literal["value", "low", "high"]
UtilityMetric: TypeAlias = Literal["accuracy", "auc"]
MIN_SHADOWS = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Threat:
    """What the adversary sees, and what is granted beside it.

    ``observes``: which stages. ``scores_as``: ``exact``, ``rounded`` to ``decimals``, ``ranks``, or
    ``top only`` (of the picked rows). ``model_as``: ``confidences`` or ``labels``.

    ``knows``: ``algorithm`` (can run the curation, so shadows are possible), ``pool`` (the public
    rows' features), ``candidates`` (the features of the records asked about), ``labels``
    (theirs), ``other candidates`` (he asks about all together), ``thresholds`` (the lowest picked
    score) and ``memberships`` (of everyone but the record asked about: the adversary of the
    definition of differential privacy).

    ``embedding``: ``exact``, or a ``surrogate`` in place of the scorer's: he sees features through
    a random projection onto half the coordinates. ``may_insert``: how many rows he may plant in
    the pool. ``queries``: how many rows an attack may ask the model about; ``None`` for no limit.
    """

    observes: tuple[ObservedStage, ...] = OBSERVED_STAGES
    scores_as: ScoreView = "exact"
    decimals: int = 2
    model_as: ModelView = "confidences"
    knows: tuple[Knows, ...] = ("algorithm", "candidates", "labels", "other candidates", "pool")
    embedding: EmbeddingView = "exact"
    may_insert: int = 0
    queries: int | None = None

    def __post_init__(self) -> None:
        """Check the words, that something is seen, and the numbers."""
        # a word that nobody knows would grant less than was meant, and nothing would tell
        one_of("threat.scores_as", self.scores_as, get_args(ScoreView))
        one_of("threat.model_as", self.model_as, get_args(ModelView))
        one_of("threat.embedding", self.embedding, get_args(EmbeddingView))
        some_of("threat.observes", self.observes, OBSERVED_STAGES)
        some_of("threat.knows", self.knows, get_args(Knows))
        if not self.observes:
            raise SettingError(
                "threat.observes",
                "found nothing",
                f"expected some of {', '.join(OBSERVED_STAGES)}",
            )
        for name, value in (("may_insert", self.may_insert), ("queries", self.queries)):
            if value is not None and value < 0:
                raise SettingError(f"threat.{name}", f"found {value}", "expected 0 or more")
        if not 0 <= self.decimals <= 15:
            raise SettingError("threat.decimals", f"found {self.decimals}", "expected 0 to 15")


@dataclass(frozen=True, slots=True, kw_only=True)
class AttackSettings:
    """How hard to attack.

    ``methods`` names attacks by stage; stages that it leaves out get all there are.
    ``own``: attacks beside those of this package, objects of ``attacks.base.Attack``.
    ``delta``: at which bounds on epsilon are stated.
    ``targets``: how many candidates are at stake; the other private rows are in every shadow.
    ``canaries``: made-up records are at stake instead, and all private rows are in every shadow.
    ``analytic_models``: whether attacks may train models on picks of scorers that they draw,
    512 of them; without a word where a model costs little (``logistic``).
    ``estimand``: what intervals of the AUC are about: these candidates in new shadows, or new
    candidates of the same kind too.
    """

    shadows: int = 128
    methods: Mapping[Stage, tuple[str, ...]] = field(default_factory=dict)
    own: tuple[Any, ...] = ()
    fpr: tuple[float, ...] = (0.001, 0.01, 0.1)
    confidence: float = 0.95
    delta: float = 1e-5
    targets: Literal["all"] | int = "all"
    canaries: CanarySettings | None = None
    analytic_models: bool | None = None
    estimand: Estimand = "these candidates"

    def __post_init__(self) -> None:
        """Check the numbers and the names."""
        if self.shadows % 2 or self.shadows < MIN_SHADOWS:
            raise SettingError(
                "attack.shadows",
                f"found {self.shadows}",
                f"expected an even number of at least {MIN_SHADOWS}: shadows come in pairs",
            )
        for fpr in self.fpr:
            if not 0 < fpr < 1:
                raise SettingError("attack.fpr", f"found {fpr}", "expected rates between 0 and 1")
        if not 0.5 <= self.confidence < 1:
            raise SettingError(
                "attack.confidence", f"found {self.confidence}", "expected 0.5 or more, below 1"
            )
        if not 0 < self.delta < 1:
            raise SettingError(
                "attack.delta", f"found {self.delta}", "expected a number above 0 and below 1"
            )
        if self.canaries is not None and self.targets != "all":
            raise SettingError(
                "attack.targets",
                f"found {self.targets} beside attack.canaries",
                "with canaries no private row is at stake; leave it out",
            )
        one_of("attack.estimand", self.estimand, get_args(Estimand))
        check_own(self.own)
        for stage, names in self.methods.items():
            one_of("attack.methods", stage, STAGES)
            _check_methods(stage, names, self.there_are(stage))

    @property
    def offered(self) -> Mapping[str, Attack]:
        """All attacks by name, one's own behind those of this package."""
        return {**ATTACKS, **{attack.name: attack for attack in self.own}}

    def there_are(self, stage: Stage) -> tuple[str, ...]:
        """The names of all attacks on a stage."""
        return tuple(name for name, attack in self.offered.items() if attack.stage == stage)


def _check_methods(stage: Stage, names: tuple[str, ...], known: tuple[str, ...]) -> None:
    if isinstance(names, str):
        raise SettingError(
            f"attack.methods.{stage}", f"found {names!r}", "expected a list of names"
        )
    if len(set(names)) < len(names):
        raise SettingError(f"attack.methods.{stage}", "names an attack twice", "once will do")
    for name in names:
        if name not in known:
            raise SettingError(
                f"attack.methods.{stage}",
                f"found {name!r}, which is no attack on {stage}",
                did_you_mean(name, known),
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicyRule:
    """Trip the gate where ``bound`` of ``metric`` at ``stage`` lies above ``above``.

    ``metric``: ``auc``, ``advantage``, ``balanced_accuracy`` or ``tpr@RATE`` with a rate of
    ``attack.fpr``. ``low`` asks "does it surely leak more?", ``high`` "may it leak more?".
    """

    stage: Stage
    metric: str
    above: float
    bound: Limit = "low"

    def __post_init__(self) -> None:
        """Check the words and the limit."""
        one_of("report.policy", self.stage, STAGES)
        one_of("report.policy", self.bound, get_args(Limit))
        if not -1 <= self.above <= 1:
            raise SettingError("report.policy", f"found above: {self.above}", "expected -1 to 1")
        if self.metric in ("auc", "advantage", "balanced_accuracy"):
            return
        if self.rate is None:
            raise SettingError(
                "report.policy",
                f"found metric {self.metric!r}",
                "expected auc, advantage, balanced_accuracy or tpr@RATE, e.g. tpr@0.01",
            )

    @property
    def rate(self) -> float | None:
        """The false-positive rate of a ``tpr@RATE`` metric."""
        head, _, rate = self.metric.partition("@")
        try:
            return float(rate) if head == "tpr" else None
        except ValueError:
            return None


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditPlan:
    """One audit: the pipeline, who attacks it, how hard, and where the results go.

    ``protection`` says how the scorer and the rule were made private; ``claim`` is then its
    guarantee, and where the model is fine-tuned (``fine_tuned``) that of both together; ``bounded``
    is of scores under a noisy selection. ``n_claims`` claims of several audits hold together at
    ``attack.confidence``.
    ``context`` is what the owner declares about the release. ``configuration`` is the tree that
    the report prints; it never holds data. ``origin``: the file it was read from, for workers that
    read it again; ``None`` for a plan that no file gives.
    """

    name: str
    seed: int
    data: CurationData
    scorer: Scorer
    rule: SelectionRule
    downstream: Downstream | None
    fine_tuned: FineTuned | None = None
    threat: Threat = field(default_factory=Threat)
    attack: AttackSettings = field(default_factory=AttackSettings)
    run: RunSettings = field(default_factory=RunSettings)
    policy: tuple[PolicyRule, ...] = ()
    claim: Claim | None = None
    protection: Protection | None = None
    context: ReleaseContext | None = None
    n_claims: int = 1
    utility: UtilityMetric = "accuracy"
    unit: str = "row"
    formats: tuple[str, ...] = ("html", "json")
    events: tuple[Event, ...] = ()
    bounded: Bounded | None = None
    ledger: Path | None = None
    configuration: Mapping[str, Any] = field(default_factory=dict)
    origin: Origin | None = None

    def __post_init__(self) -> None:
        """Check what the parts need of each other."""
        check_formats("report.formats", self.formats)
        if self.downstream is not None and self.data.pool.labels is None:
            raise SettingError(
                "train",
                "a model is to be trained, but the public rows have no labels",
                "name their label column, or train nothing",
            )
        if (self.attack.canaries is not None) != (self.data.n_canaries > 0):
            raise ValueError("canaries are asked for and not there, or there and not asked for.")
        if isinstance(self.scorer, Particular):
            self.scorer.check_use(self.rule, self.data.n_canaries)
        _check_surrogates(self.fine_tuned, self.attack)
        if "thresholds" in self.threat.knows and not self.rule.one_cut:
            raise SettingError(
                "threat.knows",
                f"found thresholds, but {self.rule.name} does not pick all rows above one score",
                "leave them out",
            )
        for rule in self.policy:
            if rule.rate is not None and not any(np.isclose(rule.rate, self.attack.fpr)):
                raise SettingError(
                    "report.policy",
                    f"found {rule.metric!r}, but attack.fpr is {list(self.attack.fpr)}",
                    "add the rate to attack.fpr",
                )
            if rule.stage not in self.stages:
                raise SettingError(
                    "report.policy",
                    f"found stage {rule.stage!r}, which this audit does not attack",
                    f"expected one of {', '.join(self.stages)}",
                )

    @property
    def observed(self) -> tuple[ObservedStage, ...]:
        """The stages that the adversary observes and the pipeline has, in order."""
        there = OBSERVED_STAGES if self.downstream is not None else OBSERVED_STAGES[:2]
        return tuple(stage for stage in there if stage in self.threat.observes)

    @property
    def stages(self) -> tuple[Stage, ...]:
        """The stages that are attacked: the observed ones, and several of them together."""
        joint = len(self.observed) > 1 and bool(self.methods("joint"))
        return (*self.observed, "joint") if joint else self.observed

    @property
    def analytic_models(self) -> bool:
        """Whether attacks may train on picks of scorers that they draw."""
        allowed = self.attack.analytic_models
        cheap = isinstance(self.downstream, Logistic)
        alone = self.downstream is not None and self.fine_tuned is None
        return alone and (cheap if allowed is None else allowed)

    @property
    def model_name(self) -> str | None:
        """What is trained, in words; ``None`` for nothing."""
        if self.downstream is None:
            return None
        return f"{self.downstream.name}{'' if self.fine_tuned is None else ', then fine-tuning'}"

    @property
    def adjacency(self) -> Adjacency:
        """What game a coin plays: public constants of fine-tuning make it zero-out, too."""
        tuned = self.fine_tuned
        return self.scorer.adjacency if tuned is None else _both(self.scorer, tuned)

    def claim_at(self, stage: Stage) -> Claim | None:
        """What is claimed of a stage: before the model, what the curation guarantees by itself."""
        if self.fine_tuned is None or stage == "model":
            return self.claim
        sees_model = stage == "joint" and "model" in self.observed
        return self.claim if sees_model else self.fine_tuned.curation_claim

    def methods(self, stage: Stage) -> tuple[str, ...]:
        """The names of the attacks to run at a stage."""
        return tuple(self.attack.methods.get(stage, self.attack.there_are(stage)))


def check_game(plan: AuditPlan) -> None:
    """Raise ``SettingError`` where an audit would say nothing about what is claimed.

    The shadows must play the game of the claim, and the adversary see what the mechanism covers.
    A curation for real plays no game and has no adversary, so that a plan may exist without.
    """
    if plan.claim is not None:
        stated = "report.claim" if plan.protection is None else "curate.protect"
        check_comparable(plan.claim, plan.adjacency, f"{stated}.adjacency")
    if plan.protection is not None:
        _check_covered(plan.protection, plan.observed, plan.threat)


def _check_surrogates(tuned: FineTuned | None, attack: AttackSettings) -> None:
    if tuned is not None and attack.analytic_models:
        raise SettingError(
            "attack.analytic_models",
            "found true beside train.fine_tune, whose models are trained on private rows, too",
            "leave it out: drawn picks alone do not make such a model",
        )


def _both(scorer: Scorer, tuned: FineTuned) -> Adjacency:
    """A scorer that is a function of the rows held plays either game."""
    return tuned.model.adjacency if scorer.adjacency == "add_remove" else scorer.adjacency


def _check_covered(
    protection: Protection, observed: tuple[ObservedStage, ...], threat: Threat
) -> None:
    """Raise ``SettingError`` where the adversary sees a stage that stays behind the release."""
    bare = [stage for stage in observed if stage not in protection.covers]
    if bare:
        raise SettingError(
            "threat.observes",
            f"found {bare[0]}, which {protection.mechanism} does not make private",
            f"nobody may see them; observe some of {', '.join(protection.covers)}",
        )
    if "thresholds" in threat.knows and "scores" not in protection.covers:
        raise SettingError(
            "threat.knows",
            f"found thresholds, which are scores that {protection.mechanism} does not make private",
            "leave them out",
        )
