"""What an audit would do, before it does it."""

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from curation_audit.analytic.red_flags import red_flag_warnings
from curation_audit.attacks.fingerprint import Fingerprint
from curation_audit.auditing.adversary import knowledge_of
from curation_audit.auditing.bounding import GUESSES, PAIR_MEAN, RATES
from curation_audit.auditing.chunks import Task, run_task, tasks_of_plan
from curation_audit.auditing.evidence import (
    check_something_runs,
    missing_knowledge,
    n_fit_pairs,
)
from curation_audit.auditing.layout import design_warnings, smallest_fpr
from curation_audit.auditing.plan import AuditPlan
from curation_audit.auditing.planting import n_targets, planting_warnings, plants
from curation_audit.observations import Stage
from curation_audit.results import BoundMethod, duration
from curation_audit.statistics.bounds import best_n_per_row

N_TIMED_SHADOWS = 4


@dataclass(frozen=True, slots=True)
class Forecast:
    """The plan of an audit in numbers; ``seconds`` is extrapolated from four shadows."""

    name: str
    n_shadows: int
    n_curations: int
    n_planted: int
    canaries: str
    n_chunks: int
    n_candidates: int
    n_private_rows: int
    n_pool: int
    n_test: int
    n_features: int
    unit: str
    scorer: str
    rule: str
    downstream: str
    protection: tuple[str, ...]
    attacks: Mapping[Stage, tuple[str, ...]]
    not_applicable: tuple[str, ...]
    smallest_fpr: float
    resolvable: Mapping[BoundMethod, float]
    delta: float
    bytes_on_disk: int
    seconds: float
    out: str
    warnings: tuple[str, ...]

    def lines(self) -> Iterator[tuple[str, str]]:
        """What to print: (what, how much)."""
        yield (
            "private",
            (f"{self.n_candidates:,} candidates ({self.unit}), {self.n_private_rows:,} rows"),
        )
        if self.canaries:
            yield "canaries", self.canaries
        yield "public pool", f"{self.n_pool:,} rows, {self.n_features} features"
        yield "test", f"{self.n_test:,} rows" if self.n_test else "none: utility is not measured"
        yield "pipeline", f"{self.scorer} -> {self.rule} -> {self.downstream}"
        for line in self.protection:
            yield "protection", line
        yield (
            "curations",
            (
                f"{self.n_curations:,}: {self.n_shadows} shadows, as many null ones, "
                f"{'all again with planted rows, ' if self.n_planted else ''}"
                f"and the real one; {self.n_chunks} chunks"
            ),
        )
        if self.n_planted:
            yield "planted", f"{self.n_planted:,} public rows"
        for stage, attacks in self.attacks.items():
            yield f"on {stage}", "; ".join(attacks) or "none"
        yield (
            "(their cost)",
            (
                f"S = {self.n_shadows:,} shadows, N = {self.n_candidates:,} candidates, m = "
                f"{self.n_pool:,} pool rows, p or d = {self.n_features:,} features, C classes, Q "
                "rows asked about, f planted rows"
            ),
        )
        if self.not_applicable:
            yield "not applicable", "; ".join(self.not_applicable)
        yield "smallest FPR", f"{self.smallest_fpr:.2g} can be resolved by a headline"
        shown = ", ".join(f"{value:.2f} ({name})" for name, value in self.resolvable.items())
        yield (
            "epsilon",
            f"bounds that need no hypothesis reach at most, at delta {self.delta:g}: {shown}",
        )
        yield "disk", f"about {self.bytes_on_disk / 2**20:.0f} MB"
        yield "time", f"about {duration(self.seconds)} of curations, and the attacks on them"
        yield "run folder", self.out


def forecast(plan: AuditPlan) -> Forecast:
    """Count, and time four shadows.

    Raises:
        InputError: whatever the pipeline itself would raise, e.g. for more picks than rows.
    """
    n_shadows, data = plan.attack.shadows, plan.data
    run_task(plan, Task("shadow", 0, 2), None)  # warm up
    started = time.perf_counter()
    timed = run_task(plan, Task("shadow", 0, N_TIMED_SHADOWS), None)
    each = (time.perf_counter() - started) / N_TIMED_SHADOWS
    n_bytes = sum(array.nbytes for array in timed.to_arrays().values()) / N_TIMED_SHADOWS
    knowledge = knowledge_of(plan)
    check_something_runs(plan, knowledge)
    missing = missing_knowledge(plan, knowledge)
    run = [name for name in missing if not missing[name]]
    n_planted = n_targets(plan) * Fingerprint().rows_per_target if plants(plan) else 0
    n_families = 4 if n_planted else 2
    # on shadows, null and permuted coins, of the fit block; in the cache and in evidence.npz
    evidence_bytes = 2 * 4 * 8 * n_shadows * data.private.n_candidates * len(run)
    return Forecast(
        name=plan.name,
        n_shadows=n_shadows,
        n_curations=n_families * n_shadows + 1,
        n_planted=n_planted,
        canaries=_canaries(plan),
        n_chunks=len(tasks_of_plan(n_shadows, planted=n_planted > 0)),
        n_candidates=data.private.n_candidates,
        n_private_rows=data.n_real_rows,
        n_pool=len(data.pool),
        n_test=0 if data.test is None else len(data.test),
        n_features=int(data.pool.features.shape[1]),
        unit=plan.unit,
        scorer=plan.scorer.name,
        rule=plan.rule.name,
        downstream=plan.model_name or "no model",
        protection=_protection(plan),
        attacks=_by_stage(plan, run),
        not_applicable=_grouped_by_need(missing),
        smallest_fpr=smallest_fpr(plan),
        resolvable=resolvable(plan),
        delta=plan.attack.delta,
        bytes_on_disk=int(n_bytes * 2 * n_shadows + evidence_bytes),
        seconds=each * (n_families * n_shadows + 1) / plan.run.n_workers,
        out=str(plan.run.out),
        warnings=(
            *data.warnings,
            *design_warnings(plan),
            *planting_warnings(plan),
            *red_flag_warnings(plan.scorer, data),
        ),
    )


def _by_stage(plan: AuditPlan, names: Sequence[str]) -> dict[Stage, tuple[str, ...]]:
    """Attacks with their cost, stage by stage."""
    attacks = plan.attack.offered
    return {
        stage: tuple(
            f"{name} ({attacks[name].cost})" for name in names if attacks[name].stage == stage
        )
        for stage in plan.stages
    }


def _grouped_by_need(missing: Mapping[str, Sequence[str]]) -> tuple[str, ...]:
    """Attacks that cannot run, those together that lack the same."""
    groups: dict[str, list[str]] = {}
    for name, gaps in missing.items():
        if gaps:
            groups.setdefault(", ".join(gaps), []).append(name)
    return tuple(
        f"{', '.join(names)} {'needs' if len(names) == 1 else 'need'} {gap}"
        for gap, names in groups.items()
    )


def resolvable(plan: AuditPlan) -> dict[BoundMethod, float]:
    """The largest epsilon that each bound without a hypothesis could show: a perfect attack's.

    One-run guesses are as many per row as show the most on the fit block, as in the audit.
    """
    n_fit = n_fit_pairs(plan.attack.shadows)
    n_rows, n_candidates = plan.attack.shadows // 2 - n_fit, plan.data.private.n_candidates
    coins = np.ones((n_fit, n_candidates), dtype=bool)
    terms = (plan.attack.delta, plan.attack.confidence)
    n_per_row = best_n_per_row(coins.astype(np.float64), coins, 0.5, *terms)
    sizes: dict[BoundMethod, tuple[int, ...]] = {
        "one run": (n_rows * n_candidates, n_rows * n_per_row),
        "pair mean": (n_rows,),
        "Clopper-Pearson": (n_rows, n_rows),
    }
    methods = {method.name: method for method in (*GUESSES, *PAIR_MEAN, *RATES)}
    return {name: methods[name].resolution(*size, *terms) for name, size in sizes.items()}


def _protection(plan: AuditPlan) -> tuple[str, ...]:
    """The mechanism, what it spends, and what a user should know of it."""
    of = plan.protection
    if of is None:
        return ()
    return (of.mechanism, *of.events, *of.sensitivities, *of.notes)


def _canaries(plan: AuditPlan) -> str:
    """What stands in for the real candidates, or nothing."""
    if plan.attack.canaries is None:
        return ""
    kind = plan.attack.canaries.kind_for(plan.scorer)
    return f"{plan.data.n_canaries:,} of kind {kind}; all private rows are in every shadow"
