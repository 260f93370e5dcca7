"""Load a pipeline file: parse, override, build, read the data, check."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, TypeVar

import numpy as np

from curation_audit.auditing.context import ReleaseContext
from curation_audit.auditing.plan import AuditPlan, PolicyRule, check_game
from curation_audit.auditing.run_settings import RunSettings
from curation_audit.backends.base import Origin, Resources, SlurmSettings
from curation_audit.config.protect_section import build_protect
from curation_audit.config.reading import built, placed, validated
from curation_audit.config.resolved import resolved
from curation_audit.config.sections import (
    GroupedColumnsSection,
    PipelineSection,
    Problem,
    SetSection,
    TestSection,
    build_attack,
    build_claim,
    build_context,
    build_policy,
    build_rule,
    build_scorer,
    build_source,
    build_step,
    build_threat,
)
from curation_audit.config.train_section import Training, build_train
from curation_audit.config.tree import override, read_tree
from curation_audit.config.tuning_section import check_result
from curation_audit.dp.claims import Claim
from curation_audit.dp.conditions import check_settings
from curation_audit.dp.events import Event
from curation_audit.dp.protection import Protection
from curation_audit.pipelines.base import (
    CurationData,
    Rows,
    Scorer,
    SelectionRule,
    bound,
    opened,
)
from curation_audit.pipelines.canaries import with_canaries
from curation_audit.pipelines.data import load_data
from curation_audit.pipelines.downstream.fitting import check_fits
from curation_audit.pipelines.features import FeatureStep
from curation_audit.pipelines.picking import check_pickable
from curation_audit.pipelines.pools import Background, Pool, open_pool
from curation_audit.pipelines.protection.base import Site
from curation_audit.pipelines.protection.fine_tuning import PATH as FINE_TUNE
from curation_audit.pipelines.protection.fine_tuning import FineTuned, fine_tune
from curation_audit.pipelines.protection.noisy_top_k import Bounded
from curation_audit.pipelines.protection.protect import Protected, parts_of, protect
from curation_audit.pipelines.sources import Columns, PrivateSpec, SetSpec
from curation_audit.report.renderings import check_formats
from curation_audit.results import Adjacency
from curation_audit.streams import Streams
from curation_audit.training.device import one_thread, resolve_device

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Picking:
    """The public side of a pipeline: what is picked from, and how; ``seed`` orders equal scores.

    ``noisy``: the noise lies on the selection alone, so that no scorer can be released. ``origin``:
    how a worker reads the file again.
    """

    pool: Pool
    rule: SelectionRule
    seed: int
    noisy: bool
    run: RunSettings
    origin: Origin


def load_picking(path: Path | str, assignments: Sequence[str] = ()) -> Picking:
    """Open the pool of a pipeline file, without a look at its private set.

    Raises:
        InputError: as ``load_plan``.
    """
    file = Path(path)
    tree = override(read_tree(file), assignments)
    with placed(tree):
        section = validated(tree)
        rule = built(("curate", "select"), build_rule, section.curate.select)
        pool = open_pool(set_spec("public", section.public), file.resolve().parent)
        check_pickable(rule, pool)
        asked = str((section.curate.protect or {}).get("mechanism", ""))
        noisy = asked != "" and parts_of(asked) == (None, True)
        run = _run_settings(section, file.resolve().parent)
        origin = Origin(file.resolve(), tuple(assignments))
        return Picking(pool, rule, section.seed, noisy, run, origin)


def load_plan(path: Path | str, assignments: Sequence[str] = ()) -> AuditPlan:
    """Read a pipeline file and its data, for an audit.

    Args:
        path: the YAML file; input paths in it are relative to its folder.
        assignments: overrides like ``attack.shadows=64``.

    Raises:
        InputError: in one line, with the place in the file where there is one.
    """
    file = Path(path)
    tree = override(read_tree(file), assignments)
    with placed(tree):
        plan = plan_of(validated(tree), file.resolve().parent)
        check_game(plan)
        return replace(plan, origin=Origin(file.resolve(), tuple(assignments)))


def load_for_release(
    path: Path | str, assignments: Sequence[str] = (), *, most_pool_rows: int | None = None
) -> AuditPlan:
    """As ``load_plan``, for a curation for real, which plays no game and has no adversary.

    Args:
        path: the YAML file.
        assignments: overrides.
        most_pool_rows: read about that many rows of a larger pool in parquet files, for a
            mechanism to look at; the picks are made elsewhere.

    Raises:
        InputError: as ``load_plan``.
    """
    file = Path(path)
    tree = override(read_tree(file), assignments)
    with placed(tree):
        return plan_of(validated(tree), file.resolve().parent, most_pool_rows)


def plan_of(section: PipelineSection, base: Path, most_pool_rows: int | None = None) -> AuditPlan:
    """Build every part of a pipeline and read its data; ``base`` is the file's folder."""
    check_formats("report.formats", section.report.formats)
    attack = built(("attack",), build_attack, section.attack)
    threat = built(("threat",), build_threat, section.threat)
    run = _run_settings(section, base)
    resolve_device(run.device)
    scorer = built(("curate", "scorer"), build_scorer, section.curate.scorer, run.device)
    scorer = opened(scorer, base)
    rule = built(("curate", "select"), build_rule, section.curate.select)
    training = None
    if section.train is not None:
        training = built(("train",), build_train, section.train, run.device)
    downstream = None if training is None else training.model
    policy, claim, context = _reporting(section)
    protection: Protection | None = None
    events: tuple[Event, ...] = ()
    bounded: Bounded | None = None
    steps = tuple(
        built(("features", "steps", i), build_step, one, base, run.device)
        for i, one in enumerate(section.features.steps)
    )
    data = _read(section, base, attack.targets, run, steps, most_pool_rows)
    if downstream is not None:
        check_fits(downstream, data.pool)
    as_written = scorer
    with one_thread():  # the same bits whatever the machine does beside
        scorer = bound(scorer, data.pool)
    if attack.canaries is not None:
        data = with_canaries(data, scorer, attack.canaries, Streams(section.seed))
    if most_pool_rows is None:
        _try_to_pick(rule, data.pool, section.seed)
    configuration = resolved(section, steps, as_written, rule, downstream, threat, attack)
    protected = None
    if section.curate.protect is not None:
        protected = _protected(section, data, scorer, rule, run, claim, base)
        scorer, rule, claim = protected.scorer, protected.rule, protected.claim
        protection, events, bounded = protected.protection, protected.events, protected.bounded
    fine_tuned = _fine_tuned(section, training, data, scorer, run, protected)
    if fine_tuned is not None:
        claim, protection = fine_tuned.claim, fine_tuned.protection
    return AuditPlan(
        name=section.name,
        seed=section.seed,
        data=data,
        scorer=scorer,
        rule=rule,
        downstream=downstream,
        fine_tuned=fine_tuned,
        threat=threat,
        attack=attack,
        run=run,
        policy=policy,
        claim=claim,
        protection=protection,
        context=context,
        utility="accuracy" if section.test is None else section.test.metric,
        unit="canary" if attack.canaries else section.private.unit or "row",
        formats=tuple(section.report.formats),
        events=events,
        bounded=bounded,
        ledger=None if section.private.ledger is None else base / section.private.ledger,
        configuration=configuration,
    )


def _reporting(
    section: PipelineSection,
) -> tuple[tuple[PolicyRule, ...], Claim | None, ReleaseContext | None]:
    """When to fail, which guarantee is stated, and what is released to whom."""
    policy = tuple(
        built(("report", "policy", i), build_policy, line)
        for i, line in enumerate(section.report.policy)
    )
    claim, context = None, None
    if section.report.context is not None:
        context = built(("report", "context"), build_context, section.report.context)
    if section.report.claim is not None:
        claim = built(("report", "claim"), build_claim, section.report.claim)
    return policy, claim, context


def _read(
    section: PipelineSection,
    base: Path,
    targets: Literal["all"] | int,
    run: RunSettings,
    steps: tuple[FeatureStep, ...],
    most_pool_rows: int | None,
) -> CurationData:
    """The three sets; of a larger pool about ``most_pool_rows``."""
    private = set_spec("private", section.private)
    public = set_spec("public", section.public)
    if most_pool_rows is not None:
        public = replace(public, source=Background(public.source, most_pool_rows))
    with one_thread():  # steps give the same bits whatever the machine does beside
        return load_data(
            PrivateSpec(source=private.source, columns=private.columns, unit=section.private.unit),
            public,
            None if section.test is None else set_spec("test", section.test),
            base=base,
            standardise=section.features.standardise,
            dtype=np.dtype(run.dtype),
            targets=None if targets == "all" else targets,
            streams=Streams(section.seed),
            steps=steps,
        )


def _try_to_pick(rule: SelectionRule, pool: Rows, seed: int) -> None:
    """Let a rule that cannot pick from a pool say so while its place in the file is known."""
    drawn = Streams(seed).for_shadows("load", (0,))
    rule.select(np.zeros((1, len(pool))), np.arange(len(pool)), drawn, pool)


def _protected(
    section: PipelineSection,
    data: CurationData,
    scorer: Scorer,
    rule: SelectionRule,
    run: RunSettings,
    claim: Claim | None,
    base: Path,
) -> Protected:
    """The private scorer and rule in place of the others, and what they claim."""
    path = ("curate", "protect")
    if claim is not None:
        raise Problem(
            ("report", "claim"),
            "is stated beside curate.protect",
            "leave it out: what the mechanism guarantees is the claim",
        )
    for name, part in (("scorer", section.curate.scorer), ("select", section.curate.select)):
        check_settings(f"curate.{name}", part)
    settings = built(path, build_protect, section.curate.protect, section.curate.scorer["method"])
    check_result(settings, base)
    site = _site(section, data, scorer, run, settings.adjacency)
    return protect(settings, site, rule, section.private.unit or "row")


def _site(
    section: PipelineSection,
    data: CurationData,
    scorer: Scorer,
    run: RunSettings,
    adjacency: Adjacency,
) -> Site:
    return Site(
        private=data.private,
        pool=data.pool,
        scorer=scorer,
        adjacency=adjacency,
        seed=section.seed,
        device=run.device,
    )


def _fine_tuned(
    section: PipelineSection,
    training: Training | None,
    data: CurationData,
    scorer: Scorer,
    run: RunSettings,
    protected: Protected | None,
) -> FineTuned | None:
    """Private training in place, and what it claims together with the curation."""
    if training is None or training.fine_tune is None:
        return None
    settings, unit = training.fine_tune, section.private.unit or "row"
    if section.report.claim is not None:
        raise Problem(
            ("report", "claim"),
            f"is stated beside {FINE_TUNE}",
            "leave it out: what curation and fine-tuning guarantee together is the claim",
        )
    site = _site(section, data, scorer, run, settings.adjacency)
    n_classes = len(data.classes)
    return fine_tune(settings, site, training.model, n_classes, protected, unit)


def set_spec(name: str, section: SetSection | TestSection) -> SetSpec:
    """Where a set comes from, and which of its columns are what."""
    source = built((name, "source"), build_source, section.source)
    columns = section.columns
    features = None if columns.features is None else tuple(columns.features)
    return SetSpec(
        source=source,
        columns=Columns(
            id=columns.id,
            features=features,
            embedding=columns.embedding,
            label=columns.label,
            groups=tuple(columns.groups) if isinstance(columns, GroupedColumnsSection) else (),
            text=columns.text,
            size=columns.size,
        ),
    )


def _run_settings(section: PipelineSection, base: Path) -> RunSettings:
    run = section.run
    return RunSettings(
        out=Path(run.out) if run.out else Path("runs") / _folder_name(section.name),
        device=run.device,
        backend=run.backend,
        workers=run.workers,
        resources=Resources(**run.resources.model_dump()),
        slurm=SlurmSettings(**run.slurm.model_dump()),
        dtype=run.dtype,
        id_key=None if run.id_key is None else base / run.id_key,
    )


def _folder_name(name: str) -> str:
    """The pipeline's name with everything but letters, digits, dot, dash, underscore as a dash."""
    cleaned = "".join(c if c.isalnum() or c in "._-" else "-" for c in name).strip(".")
    return cleaned or "audit"
