"""The Python interface: the command line's audit, on files or on arrays and data frames."""

from collections.abc import Mapping, Sequence
from dataclasses import MISSING, dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from curation_audit.auditing.chunks import describe
from curation_audit.auditing.engine import AuditResult, run_audit
from curation_audit.auditing.plan import (
    AttackSettings,
    AuditPlan,
    PolicyRule,
    Threat,
    UtilityMetric,
    check_game,
)
from curation_audit.auditing.progress import Progress
from curation_audit.auditing.run_settings import RunSettings
from curation_audit.checks import InputError, did_you_mean
from curation_audit.config import load_plan
from curation_audit.dp.claims import Claim
from curation_audit.pipelines.base import Downstream, Scorer, SelectionRule, bound
from curation_audit.pipelines.canaries import with_canaries
from curation_audit.pipelines.data import data_from_arrays
from curation_audit.pipelines.downstream import DOWNSTREAM
from curation_audit.pipelines.downstream.fitting import check_fits
from curation_audit.pipelines.downstream.logistic import Logistic
from curation_audit.pipelines.protection.fine_tuning import (
    FineTuneSettings,
    describe_fine_tuning,
    fine_tune,
)
from curation_audit.pipelines.protection.protect import (
    Protected,
    ProtectSettings,
    describe_protection,
    protect,
)
from curation_audit.pipelines.rules.top import TopFraction
from curation_audit.pipelines.scorers import SCORERS
from curation_audit.pipelines.scorers.callable import CallableScorer, ScoringFunction
from curation_audit.release_store import ReleaseStore
from curation_audit.releases.release import Release
from curation_audit.streams import Streams
from curation_audit.sweeping.plan import SweepSettings, plan_sweep, site_of
from curation_audit.sweeping.results import SweepResult
from curation_audit.sweeping.run import run_sweep
from curation_audit.training.device import one_thread


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Pipeline:
    """A curation pipeline on arrays or data frames.

    Args:
        private: the private rows: array (n, d), or a data frame.
        public: the pool, likewise.
        test: labelled rows for the utility, or ``None``.
        scorer: ``"classifier"``, ``"mean"``, ``"nearest"``, a scorer object, or a function
            ``(private rows, pool rows) -> scores`` that is called once per shadow.
        select: a selection rule.
        train: ``"logistic"``, ``"mlp"``, a downstream model, or ``None`` for a pipeline that ends
            with the selection.
        labels, ids: a column name of all data frames, or arrays by set name
            (``{"private": ..., "public": ..., "test": ...}``).
        unit: a column name of the private frame, or an array: rows of one unit are in or out
            together.
        groups: columns of categories of the private frame by which results are told apart, or
            arrays by name.
        features: the feature columns of data frames; all others by default.
        scorer_version: what a function computes; needed where results are stored.
        protect: a private mechanism in place of the scorer or the rule; its guarantee is then the
            claim.
        fine_tune: private training of the model after the picks, counted together with ``protect``.
        seed, standardise, threat, attack, run, policy, claim, metric, name: as in a pipeline file.

    Nothing is checked before ``plan()``, which raises ``InputError``.
    """

    private: Any
    public: Any
    test: Any = None
    scorer: str | Scorer | ScoringFunction = "classifier"
    select: SelectionRule = field(default_factory=lambda: TopFraction(fraction=0.1))
    train: str | Downstream | None = field(default_factory=Logistic)
    labels: str | Mapping[Literal["private", "public", "test"], Any] | None = None
    ids: str | Mapping[Literal["private", "public", "test"], Any] | None = None
    unit: Any = None
    groups: Sequence[str] | Mapping[str, Any] = ()
    features: Sequence[str] | None = None
    scorer_version: str | None = None
    name: str = "audit"
    seed: int = 0
    standardise: Literal["public", "none"] = "public"
    metric: UtilityMetric = "accuracy"
    threat: Threat = field(default_factory=Threat)
    attack: AttackSettings = field(default_factory=AttackSettings)
    run: RunSettings = field(default_factory=RunSettings)
    policy: tuple[PolicyRule, ...] = ()
    claim: Claim | None = None
    protect: ProtectSettings | None = None
    fine_tune: FineTuneSettings | None = None

    def plan(self) -> AuditPlan:
        """Check everything and lay out the audit."""
        scorer, train = self._scorer(), self._downstream()
        if self.claim is not None and self.protect is not None:
            raise InputError("claim", "is stated beside protect", "the guarantee is the claim")
        if not hasattr(self.select, "select"):
            raise InputError(
                "select", f"found {self.select!r}", "expected a rule, e.g. TopK(k=100)"
            )
        targets = self.attack.targets
        data = data_from_arrays(
            self.private,
            self.public,
            self.test,
            labels=self.labels,
            ids=self.ids,
            unit=self.unit,
            groups=self.groups,
            features=self.features,
            standardise=self.standardise,
            dtype=np.dtype(self.run.dtype),
            targets=None if targets == "all" else targets,
            streams=Streams(self.seed),
        )
        if train is not None:
            check_fits(train, data.pool)
        as_given = scorer
        with one_thread():  # the same bits whatever the machine does beside
            scorer = bound(scorer, data.pool)
        if self.attack.canaries is not None:
            data = with_canaries(data, scorer, self.attack.canaries, Streams(self.seed))
        settings = {
            "curate": {"scorer": describe(as_given), "select": describe(self.select)},
            "train": None if train is None else describe(train),
            "features": {"standardise": self.standardise},
        }
        plan = AuditPlan(
            name=self.name,
            seed=self.seed,
            data=data,
            scorer=scorer,
            rule=self.select,
            downstream=train,
            threat=self.threat,
            attack=self.attack,
            run=self.run,
            policy=self.policy,
            claim=self.claim,
            utility=self.metric,
            unit=self._unit(),
            configuration=settings,
        )
        made = None
        if self.protect is not None:
            site = site_of(plan, self.protect.adjacency)
            made = protect(self.protect, site, plan.rule, plan.unit)
            plan = self._under(self.protect, made, plan)
        if self.fine_tune is not None:
            plan = self._tuned(self.fine_tune, made, plan)
        check_game(plan)
        return plan

    def _tuned(
        self, settings: FineTuneSettings, made: Protected | None, plan: AuditPlan
    ) -> AuditPlan:
        """The audit of the pipeline whose model is trained on private rows, too."""
        if plan.downstream is None:
            raise InputError("fine_tune", "is stated, but nothing is trained", "name train")
        if self.claim is not None:
            raise InputError("claim", "is stated beside fine_tune", "the guarantee is the claim")
        site, n_classes = site_of(plan, settings.adjacency), len(plan.data.classes)
        found = fine_tune(settings, site, plan.downstream, n_classes, made, plan.unit)
        told = {**plan.configuration, "fine_tune": describe_fine_tuning(settings)}
        return replace(
            plan,
            fine_tuned=found,
            claim=found.claim,
            protection=found.protection,
            configuration=told,
        )

    def _under(self, settings: ProtectSettings, made: Protected, plan: AuditPlan) -> AuditPlan:
        """The audit of the pipeline under a mechanism."""
        return replace(
            plan,
            scorer=made.scorer,
            rule=made.rule,
            claim=made.claim,
            protection=made.protection,
            configuration={**plan.configuration, "protect": describe_protection(settings)},
        )

    def _unit(self) -> str:
        """What a candidate is."""
        if self.attack.canaries is not None:
            return "canary"
        if self.unit is None:
            return "row"
        return self.unit if isinstance(self.unit, str) else "unit"

    def _downstream(self) -> Downstream | None:
        if not isinstance(self.train, str):
            return self.train
        made: Downstream = _by_name("train", self.train, DOWNSTREAM)
        return made

    def _scorer(self) -> Scorer:
        if isinstance(self.scorer, str):
            named: Scorer = _by_name("scorer", self.scorer, SCORERS)
            return named
        if not callable(self.scorer):
            if hasattr(self.scorer, "fit"):
                return self.scorer
            raise InputError(
                "scorer",
                f"found {type(self.scorer).__name__}",
                "expected a name, a scorer object or a function of (private, pool)",
            )
        if self.run.out is not None and self.scorer_version is None:
            raise InputError(
                "scorer_version",
                "is missing, but results of your function are to be stored",
                "name a version, and change it whenever the function changes",
            )
        return CallableScorer(function=self.scorer, version=self.scorer_version)


def _by_name(place: str, name: str, registry: Mapping[str, type[Any]]) -> Any:
    """A part with its default settings.

    Raises:
        InputError: for an unknown name, or a part that needs settings.
    """
    if name not in registry:
        raise InputError(place, f"found {name!r}", did_you_mean(name, registry))
    kind = registry[name]
    absent = (MISSING, MISSING)
    needed = [f.name for f in fields(kind) if (f.default, f.default_factory) == absent]
    if needed:
        hint = f"give an object: {kind.__name__}({needed[0]}=...) of {kind.__module__}"
        raise InputError(place, f"{name!r} needs {', '.join(needed)}", hint)
    return kind()


def sweep(
    pipeline: Pipeline | AuditPlan,
    settings: SweepSettings,
    progress: Progress | None = None,
    *,
    every: bool = False,
) -> SweepResult:
    """Compare private mechanisms at several epsilons; as ``curation-audit sweep``.

    ``every`` takes all mechanisms that the pipeline allows.

    Raises:
        InputError: for input that the user can put right.
    """
    plan = pipeline.plan() if isinstance(pipeline, Pipeline) else pipeline
    return run_sweep(plan_sweep(plan, settings, every=every), progress).result


def release(
    pipeline: Pipeline,
    *,
    ledger: Path | str,
    new_version: bool = False,
    allow_research_noise: bool = False,
) -> Release:
    """Run the pipeline's private mechanism once for real, with noise that nobody can repeat.

    It is booked in the ``ledger`` before it is drawn, and kept beside it: the same pipeline on the
    same data gives the same release again, and spends nothing. ``new_version`` says that a changed
    private set is meant, ``allow_research_noise`` noise that is not for release. ``Curator`` is the
    same for data jobs.

    Raises:
        InputError: without ``protect``, for a mechanism that releases no scorer, or for a budget
            that would be exceeded.
    """
    made, plan = private_parts(pipeline)
    store = ReleaseStore.beside(Path(ledger))
    return store.draw_once(
        made, plan.data, new_version=new_version, allow_research=allow_research_noise
    ).release


def private_parts(pipeline: Pipeline) -> tuple[Protected, AuditPlan]:
    """The pipeline's mechanism in place, and the pipeline as it is without.

    Raises:
        InputError: without ``protect``, or for a budget that cannot be kept.
    """
    if pipeline.protect is None:
        raise InputError("protect", "is missing", "a release needs a private mechanism")
    if pipeline.claim is not None:
        raise InputError("claim", "is stated beside protect", "the guarantee is the claim")
    if pipeline.fine_tune is not None:
        raise InputError("fine_tune", "is stated", "a release trains no model: leave it out")
    # how an audit would attack is beside the point: canaries are no rows of a release
    plan = replace(pipeline, protect=None, attack=AttackSettings(), policy=()).plan()
    site = site_of(plan, pipeline.protect.adjacency)
    return protect(pipeline.protect, site, plan.rule, plan.unit), plan


def load_pipeline(path: Path | str, *assignments: str) -> AuditPlan:
    """Read a pipeline file; ``assignments`` override settings, e.g. ``"attack.shadows=64"``.

    Raises:
        InputError: in one line, with the place in the file where there is one.
    """
    return load_plan(path, assignments)


def audit(pipeline: Pipeline | AuditPlan, progress: Progress | None = None) -> AuditResult:
    """Audit a pipeline; the same results as ``curation-audit attack``.

    Raises:
        InputError: for input that the user can put right.
    """
    plan = pipeline.plan() if isinstance(pipeline, Pipeline) else pipeline
    return run_audit(plan, progress)
