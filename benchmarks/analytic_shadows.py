"""Attacks without a shadow against attacks with hundreds, and with thousands (``--many``).

    python benchmarks/analytic_shadows.py [DATA_FOLDER] [--many]

Made sets: 400 candidates and a pool of 2,000, a logistic scorer, 200 picks. ``digits``: images of
scikit-learn; half of the pool are digits, half are transposed ones. ``gauss``: 100 standard normal
features; half of the pool is shifted by .3. Real sets, where the folder is given: the ward and the
notes of ``surgical_ward.yaml`` and ``clinical_notes.yaml``. Every attack is measured on the same
200 exact shadows; those that learn from shadows learn from all other pairs.
"""

import argparse
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from sklearn.datasets import load_digits
from sklearn.metrics import roc_auc_score

from curation_audit import Pipeline, load_pipeline
from curation_audit.analytic.affine import Kernel, Linear, likelihood_ratios, linearity
from curation_audit.analytic.stages import invert_stage
from curation_audit.attacks import ATTACKS
from curation_audit.auditing.adversary import knowledge_of, seen_by
from curation_audit.auditing.curation import select_and_train
from curation_audit.auditing.plan import AuditPlan, RunSettings
from curation_audit.forecasting.outlook import StageOutputs
from curation_audit.forecasting.prediction import exact_shadows, first_order_of
from curation_audit.observations import Observation
from curation_audit.pipelines.rules.cut import tie_order
from curation_audit.pipelines.rules.top import TopK
from curation_audit.pipelines.scorers.classifier import Classifier
from curation_audit.pipelines.scorers.mlp_classifier import MlpClassifier
from curation_audit.streams import Streams
from curation_audit.training.device import one_thread
from curation_audit.types import Evidence, Features, Floats, Inclusion, Scores

N_SHADOWS = 200
N_CANDIDATES = 400
PIPELINES = Path(__file__).parents[1] / "curation_audit" / "pipelines"


def made(name: str, seed: int) -> AuditPlan:
    """One of the made sets."""
    rng = np.random.default_rng(seed)
    if name == "gauss":
        private = rng.standard_normal((N_CANDIDATES, 100))
        public = rng.standard_normal((2000, 100))
        public[1000:] += 0.3
    else:
        images = load_digits().data / 16
        order = rng.permutation(len(images))
        private = images[order[:N_CANDIDATES]]
        near = images[rng.choice(order[N_CANDIDATES:], 1000, replace=False)]
        far = images[rng.choice(len(images), 1000, replace=False)]
        far = far.reshape(-1, 8, 8).transpose(0, 2, 1).reshape(-1, 64)
        public = np.concatenate([near, far])
    return plan_of(private, public)


def plan_of(private: Features, public: Features, l2: float = 1.0) -> AuditPlan:
    """A logistic scorer of which the best tenth is picked."""
    return Pipeline(
        private=private,
        public=public,
        scorer=Classifier(l2=l2, device="cpu"),
        select=TopK(k=len(public) // 10),
        train=None,
        standardise="none",
        run=RunSettings(dtype="float64"),
    ).plan()


def real(folder: Path) -> Iterator[tuple[str, AuditPlan]]:
    """The two real sets."""
    at = f"source.folder={folder.resolve()}"
    folders = [f"{part}.{at}" for part in ("private", "public", "test")]
    ngrams = "{kind: hashed_ngrams, n: 2, buckets: 256, scale: unit}"
    own = {
        "surgical_ward": ("curate.scorer={method: classifier}",),
        "clinical_notes": (
            "curate.scorer={method: classifier, l2: 0.1}",
            f"features={{steps: [{ngrams}], standardise: none}}",
            "train={model: logistic, l2: 0.1}",
        ),
    }
    for name, settings in own.items():
        yield name, load_pipeline(PIPELINES / f"{name}.yaml", *folders, *settings)


def auc(inclusion: Inclusion, evidence: Evidence) -> float:
    """Pooled over all shadows and candidates."""
    return float(roc_auc_score(inclusion.ravel(), evidence.ravel()))


def timed(run: Callable[[], Evidence]) -> tuple[Evidence, float]:
    """What it gives, and seconds."""
    start = time.perf_counter()
    return run(), time.perf_counter() - start


def compare(name: str, plan: AuditPlan, n_analytic: int) -> None:
    """Print one line an attack."""
    (inclusion, scores), fitting = _timed_shadows(plan)
    linear = Linear.of(plan.scorer, plan.data)
    assert linear is not None
    affine = linear.affine()

    def without_shadows() -> Evidence:
        again = Linear.of(plan.scorer, plan.data)
        assert again is not None
        return likelihood_ratios(again.affine(), again.seen(scores))

    found, seconds = timed(without_shadows)
    straight = float(np.median(linearity(scores, linear.scores(inclusion))))
    line(name, "scores", "matched filter, 0 shadows", auc(inclusion, found), seconds)
    print(f"  linearity_corr {straight:.3f}; {N_SHADOWS} shadows took {fitting:.2f} s", flush=True)
    compare_learnt(name, plan, inclusion, scores, fitting, ("lira_best_row", "matched_filter"))
    stage = StageOutputs.of(plan, linear, "selection")

    def from_picks() -> Evidence:
        rng, exact = np.random.default_rng(0), range(n_analytic, n_analytic + len(scores))
        inversion = invert_stage(affine, linear.scores, stage, n_analytic, rng)
        return inversion.likelihood_ratios(inversion.guess(stage(scores, exact)))

    found, seconds = timed(from_picks)
    line(
        name,
        "selection",
        f"inversion, {n_analytic} analytic shadows",
        auc(inclusion, found),
        seconds,
    )
    compare_learnt(name, plan, inclusion, scores, fitting, ("binary_lira", "mask_filter"))


def _timed_shadows(plan: AuditPlan) -> tuple[tuple[Inclusion, Scores], float]:
    start = time.perf_counter()
    shadows = exact_shadows(plan, N_SHADOWS)
    return shadows, time.perf_counter() - start


def compare_learnt(
    name: str,
    plan: AuditPlan,
    inclusion: Inclusion,
    scores: Scores,
    fitting: float,
    attacks: Sequence[str],
) -> None:
    """Print one line an attack that learns from shadows, which took ``fitting`` seconds."""
    for attack in attacks:
        found, seconds = timed(lambda attack=attack: learnt(plan, inclusion, scores, attack))
        told, stage = auc(inclusion, found), ATTACKS[attack].stage
        line(name, stage, f"{attack}, {len(scores)} shadows", told, seconds + fitting)


def learnt(plan: AuditPlan, inclusion: Inclusion, scores: Scores, attack: str) -> Evidence:
    """Evidence of an attack that learns from the other pairs."""
    streams = Streams(plan.seed).for_shadows("shadow", range(len(scores)))
    rank = tie_order(plan.data.pool.ids, plan.seed)
    selection = plan.rule.select(scores, rank, streams, plan.data.pool)
    nothing = np.zeros((len(scores), 0, 0), dtype=np.float32)
    shown = Observation(scores, selection, nothing)
    return ATTACKS[attack].evidence(shown, inclusion, knowledge_of(plan), streams=streams)


def ridge_model(plan: AuditPlan, scores: Scores) -> Floats:
    """A ridge regression of made labels on the picks, asked at 400 rows of the pool: (S, 400)."""
    rows = plan.data.pool.features.astype(np.float64)
    rng = np.random.default_rng(7)
    labels = np.sign(
        rows @ rng.standard_normal(rows.shape[1]) + 0.5 * rng.standard_normal(len(rows))
    )
    asked = rows[rng.choice(len(rows), 400, replace=False)]
    best = np.argpartition(-scores, 200, axis=1)[:, :200]
    designs, targets = rows[best], labels[best][:, :, None]
    grams = designs.transpose(0, 2, 1) @ designs + 0.1 * np.eye(rows.shape[1])
    weights = np.linalg.solve(grams, designs.transpose(0, 2, 1) @ targets)[:, :, 0]
    told: Floats = weights @ asked.T
    return told


def compare_models(name: str, plan: AuditPlan, n_analytic: int) -> None:
    """What a ridge regression on the picks tells, by analytic shadows."""
    inclusion, scores = exact_shadows(plan, N_SHADOWS)
    linear = Linear.of(plan.scorer, plan.data)
    assert linear is not None

    def from_model() -> Evidence:
        rng = np.random.default_rng(0)
        found = invert_stage(
            linear.affine(), linear.scores, lambda s, _: ridge_model(plan, s), n_analytic, rng
        )
        return found.likelihood_ratios(found.guess(ridge_model(plan, scores)))

    found, seconds = timed(from_model)
    line(name, "model", f"inversion, {n_analytic} analytic shadows", auc(inclusion, found), seconds)


def compare_more_shadows(name: str, plan: AuditPlan, counts: Sequence[int]) -> None:
    """How far attacks get that know nothing but shadows, with many more of them."""
    for n_shadows in counts:
        start = time.perf_counter()
        inclusion, scores = exact_shadows(plan, n_shadows)
        fitting = time.perf_counter() - start
        attacks = ("lira_best_row", "shadow_filter")
        compare_learnt(name, plan, inclusion, scores, fitting, attacks)


def compare_networks() -> None:
    """What 16 trained references tell of a network, beside attacks with 200 shadows."""
    plan = network()
    (inclusion, scores), fitting = _timed_shadows(plan)
    start = time.perf_counter()
    first_order = first_order_of(plan)
    found = likelihood_ratios(first_order.affine(), first_order.seen(scores))
    seconds = time.perf_counter() - start
    straight = float(np.median(linearity(scores, first_order.scores(inclusion))))
    line("digits, mlp", "scores", "cavity, 16 references", auc(inclusion, found), seconds)
    print(f"  linearity_corr {straight:.3f}; {N_SHADOWS} shadows took {fitting:.2f} s", flush=True)
    attacks = ("lira_best_row", "extract", "shadow_filter", "cavity_filter")
    compare_learnt("digits, mlp", plan, inclusion, scores, fitting, attacks)


def compare_models_of_med() -> None:
    """What the demo's logistic model tells, by shadows and by models of drawn scorers."""
    plan = load_pipeline(PIPELINES / "med.yaml")
    for n_shadows in (16, 128, 512):
        start = time.perf_counter()
        inclusion, scores = exact_shadows(plan, n_shadows)
        streams = Streams(plan.seed).for_shadows("shadow", range(n_shadows))
        shown = seen_by(plan, select_and_train(plan, scores, streams))
        fitting, knowledge = time.perf_counter() - start, knowledge_of(plan)
        for attack in ("bottleneck", "through_mask", "analytic_model"):
            start = time.perf_counter()
            found = ATTACKS[attack].evidence(shown, inclusion, knowledge, streams=streams)
            seconds = time.perf_counter() - start + fitting
            line("med", "model", f"{attack}, {n_shadows} shadows", auc(inclusion, found), seconds)


def similarities(seed: int) -> None:
    """Mean RBF similarity to the private rows: as many directions as candidates."""
    plan = made("gauss", seed)
    private, pool = plan.data.private.features, plan.data.pool.features
    squares = ((private**2).sum(axis=1)[:, None] + (pool**2).sum(axis=1)) - 2 * private @ pool.T
    kernel = Kernel(np.exp(-squares / np.median(squares)))
    inclusion = exact_shadows(plan, N_SHADOWS)[0]
    scores = kernel.scores(inclusion)
    step = 0.01 * scores.std(axis=0).mean()
    for kind, shown in (("exact", scores), ("rounded to .01 sd", np.round(scores / step) * step)):
        found, seconds = timed(
            lambda shown=shown: likelihood_ratios(kernel.affine(), kernel.seen(shown))
        )
        line("gauss", "scores", f"mean RBF similarity, {kind}", auc(inclusion, found), seconds)


def line(*cells: str | float) -> None:
    """One row of a table."""
    name, stage, attack, value, seconds = cells
    print(
        f"| {name} | {stage} | {attack} | {value:.3f} | {1000 * float(seconds):,.0f} |", flush=True
    )


def network() -> AuditPlan:
    """A network on the made digits."""
    scorer = MlpClassifier(hidden=(64,), epochs=20, weight_decay=1e-2, device="cpu")
    return replace(made("digits", 0), scorer=scorer)


def with_many_shadows(folder: Path | None) -> None:
    """What attacks need that know shadows alone."""
    for name in ("digits", "gauss"):
        compare_more_shadows(name, made(name, 0), (200, 2000, 6000))
    compare_more_shadows("digits, mlp", network(), (200, 2000))
    for name, plan in real(folder) if folder else ():
        compare_more_shadows(name, plan, (2000, 6000))


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, nargs="?")
    parser.add_argument("--many", action="store_true", help="only attacks with many more shadows")
    asked = parser.parse_args()
    with one_thread():
        if asked.many:
            with_many_shadows(asked.folder)
            return
        print("| set | stage | attack | AUC | ms |")
        print("|---|---|---|---|---|")
        for name in ("digits", "gauss"):
            plan = made(name, 0)
            compare(name, plan, 4000)
            compare_models(name, plan, 4000)
        compare_networks()
        compare_models_of_med()
        similarities(0)
        for name, plan in real(asked.folder) if asked.folder else ():
            compare(name, plan, 2000)


if __name__ == "__main__":
    main()
