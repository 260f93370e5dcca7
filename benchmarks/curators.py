"""What every curator is worth, what it gives away, and how long it takes, on real sets.

Records: the surgical ward of ``surgical_ward.yaml`` (Diabetes 130-US hospitals: 2,044 patients are
candidates, 30,608 public encounters, 4,000 are picked). Texts: ``clinical_notes.yaml`` (MTSamples:
1,188 notes, 35,183 public texts, 2,000 are picked). Every row is a whole audit with all attacks:
the headline attack of each stage is chosen on one half of the shadow pairs and measured on the
other.

    python benchmarks/curators.py DATA_FOLDER [--only nearest dsir] [--shadows 128]
"""

import argparse
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from curation_audit import audit, load_pipeline
from curation_audit.auditing.curation import score_shadows
from curation_audit.auditing.plan import AuditPlan
from curation_audit.config.load import load_plan
from curation_audit.game import paired_inclusion
from curation_audit.streams import Streams
from curation_audit.training.device import one_thread

PIPELINES = Path(__file__).parents[1] / "curation_audit" / "pipelines"
GRADIENTS = "models: 1, projection: 128"
TOKENS = "{steps: [{kind: tokens, length: 256}], standardise: none}"
HASHED = "{steps: [{kind: hashed_ngrams, n: 2, buckets: 1024, scale: unit}], standardise: none}"
TFIDF = "{steps: [{kind: tfidf, most_features: 1024}], standardise: none}"
LOGISTIC = "train={model: logistic, l2: 0.1}"

# curator: the scorer as a file states it, and what else is set
RECORDS = {
    "classifier": ("{method: classifier}",),
    "classifier, classes balanced": ("{method: classifier, balance: classes}",),
    "mlp_classifier": ("{method: mlp_classifier, hidden: [32], epochs: 5}",),
    "mean": ("{method: mean}",),
    "nearest": ("{method: nearest}",),
    "nearest, mean of the best 5": ("{method: nearest, j: 5}",),
    "nearest, L2": ("{method: nearest, metric: l2}",),
    "centroid_votes": ("{method: centroid_votes, clusters: 200, score: density}",),
    "occupied clusters": (
        "{method: centroid_votes, clusters: 1000}",
        "curate.select={rule: occupied_clusters}",
    ),
    "trak": (f"{{method: trak, {GRADIENTS}}}",),
    "d3m": (f"{{method: d3m, {GRADIENTS}}}",),
    "d3m, what does no harm": (
        f"{{method: d3m, {GRADIENTS}}}",
        "curate.select={rule: nonnegative}",
    ),
    "less": ("{method: less, projection: 128}",),
    "confidence": ("{method: confidence}",),
    "flqmi": ("{method: flqmi, k: 100}", "curate.select={rule: greedy, k: 100}"),
    "public_only": ("{method: public_only}",),
    "random": ("{method: random}",),
}
TEXTS = {
    "dsir": ("{method: dsir, buckets: 1024, normalise: length}",),
    "dsir, drawn": (
        "{method: dsir, buckets: 1024, normalise: none}",
        "curate.select={rule: gumbel_top_k, k: 2000}",
    ),
    "perplexity": ("{method: perplexity, order: 2}",),
    "perplexity, against the pool": ("{method: perplexity, order: 2, against_pool: true}",),
    "decontaminate": ("{method: decontaminate}", "curate.select={rule: threshold, minimum: 0}"),
    "classifier of hashed n-grams": (
        "{method: classifier, l2: 0.1}",
        f"features={HASHED}",
        LOGISTIC,
    ),
    "nearest by TF-IDF": ("{method: nearest}", f"features={TFIDF}", LOGISTIC),
}
SETS = {"surgical_ward": RECORDS, "clinical_notes": TEXTS}


def rows(only: list[str]) -> Iterator[tuple[str, str, tuple[str, ...]]]:
    """The set, the curator and its settings."""
    for data, curators in SETS.items():
        for name, (scorer, *others) in curators.items():
            if not only or name in only:
                yield data, name, (f"curate.scorer={scorer}", *others)


def in_memory(plan: AuditPlan) -> AuditPlan:
    """The plan without a folder, so that no finished part of an earlier run is taken up."""
    return replace(plan, run=replace(plan.run, out=None))


def seconds_to_score(plan: AuditPlan, n_shadows: int) -> float:
    """Wall clock of fitting S scorers and scoring the pool with all of them, one thread."""
    inclusion = paired_inclusion(n_shadows, plan.data.private.n_candidates, Streams(plan.seed))
    start = time.perf_counter()
    with one_thread():
        score_shadows(plan, inclusion, Streams(plan.seed).for_shadows("shadow", range(n_shadows)))
    return time.perf_counter() - start


def told(report: dict[str, Any], stage: str) -> str:
    """AUC and true-positive rate at 1 % of a stage's headline attack, and its name."""
    found = {one["name"]: one for one in report["numbers"] if one["stage"] == stage}
    auc, rate = found["auc"], found["tpr_at_fpr_0.01"]["value"]
    shown = "not resolvable" if rate is None else f"{rate:.3f}"
    return f"{auc['value']:.3f} / {shown} ({auc['attack']})"


def main() -> None:
    """Print one line a curator."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--only", nargs="+", default=[], metavar="CURATOR")
    parser.add_argument("--shadows", type=int, default=128)
    asked = parser.parse_args()
    print("| curator | set | picks | worth, random | scores | picks | model | scoring s | all s |")
    print("|---|---|---|---|---|---|---|---|---|", flush=True)
    for data, name, settings in rows(asked.only):
        at = f"source.folder={asked.folder.resolve()}"
        folders = (f"{part}.{at}" for part in ("private", "public", "test"))
        given = (*folders, f"attack.shadows={asked.shadows}", *settings)
        file = PIPELINES / f"{data}.yaml"
        scoring = seconds_to_score(load_plan(file, given), asked.shadows)
        start = time.perf_counter()
        report = audit(in_memory(load_pipeline(file, *given))).report
        whole = time.perf_counter() - start
        worth = report["utility"]
        cells = [name, data, f"{worth['n_picked']:,}"]
        cells.append(f"{worth['curated']:.3f}, {worth['random_mean']:.3f}")
        cells += [told(report, stage) for stage in ("scores", "selection", "model")]
        cells += [f"{scoring:.1f}", f"{whole:.0f}"]
        print(f"| {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
