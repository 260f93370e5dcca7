"""Published attacks against ours, on the published setting in miniature.

The setting of Curation Leaks (arXiv:2603.00811): images, a target set T that guides the choice
from a public pool, the nearest-neighbour curator and a TRAK-like one (the mean of projected
gradients, preconditioned by the pool's Gram matrix), and beside them the mean-similarity curator;
|T| from 10 to 5,000. In miniature: Fashion-MNIST as targets, 20,000 public images (Fashion-MNIST,
MedNIST, MNIST), PCA of the pool in place of CLIP, a logistic model on the picks.

Single attacks only, no ensembles. Everything is learnt on the fit pairs: attacks, and which of ours
and which of the published ones is best. The evaluation pairs then compare the two, with a paired
interval over pairs of shadows.

    python benchmarks/published_setting.py DATA_FOLDER [--sizes 10,50,...] [--shadows 128]
    python benchmarks/published_setting.py --tables PRINTED... --figure published_setting.svg
"""

import argparse
import io
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import matplotlib
import numpy as np
from scipy import special, stats
from sklearn.linear_model import LogisticRegression

from curation_audit.api import Pipeline
from curation_audit.attacks import SINGLE
from curation_audit.auditing.adversary import knowledge_of, seen_by
from curation_audit.auditing.curation import Curated, score_shadows, select_and_train
from curation_audit.auditing.plan import AttackSettings
from curation_audit.game import paired_inclusion
from curation_audit.pipelines.downstream.logistic import Logistic
from curation_audit.pipelines.examples.files import DataFolder, data_file
from curation_audit.pipelines.rules.top import TopFraction
from curation_audit.pipelines.scorers.mean import Mean
from curation_audit.pipelines.scorers.nearest import Nearest
from curation_audit.statistics import PairedEvidence
from curation_audit.streams import Streams
from curation_audit.training.device import one_thread

matplotlib.use("svg")
import matplotlib.pyplot as plt

PUBLISHED = {
    "scores": ("lira_best_row", "voting", "least_squares"),
    "selection": ("binary_lira", "iterative"),
    "model": (
        *("loss", "lira", "lira_offline", "rmia", "rmia_offline", "base", "bavaria"),
        *("quantile", "label_only"),
    ),
}
SIZES = (10, 20, 50, 100, 200, 500, 1000, 2000, 5000)
N_POOL, N_COMPONENTS, N_PROJECTED = 20_000, 64, 256
FRACTION, SEED, CONFIDENCE = 0.1, 3, 0.95
SHADOWS_PER_BATCH = 16
SLOW = 10.0  # seconds
LARGEST_FOR_MODEL = 1000


@dataclass(frozen=True)
class Images:
    """Targets and pool: PCA scores (rows, 64) and classes."""

    targets: np.ndarray
    target_labels: np.ndarray
    pool: np.ndarray
    pool_labels: np.ndarray


@dataclass(frozen=True)
class Row:
    """One line of the table."""

    curator: str
    size: int
    stage: str
    published: str
    published_auc: float
    ours: str
    ours_auc: float
    difference: float
    half_width: float


def load_images(folder: Path) -> Images:
    """Half of Fashion-MNIST as targets; the other half, MedNIST and MNIST as the pool."""
    rng = np.random.default_rng(SEED)
    files = DataFolder(path=folder)
    read = {
        name: np.load(io.BytesIO(data_file(files, file, "published_setting")), allow_pickle=False)
        for name, file in {
            "fashion": "fashion_mnist_25k.npz",
            "mednist": "mednist_18k_28px.npz",
            "mnist": "mnist_15k.npz",
        }.items()
    }
    rows = {name: rng.permutation(len(one["X"])) for name, one in read.items()}
    targets, fashion = rows["fashion"][:10_000], rows["fashion"][10_000:17_000]
    pool = [
        ("fashion", fashion),
        ("mednist", rows["mednist"][:7000]),
        ("mnist", rows["mnist"][:6000]),
    ]
    pixels = {name: one["X"].reshape(len(one["X"]), -1) / 255.0 for name, one in read.items()}
    public = np.concatenate([pixels[name][chosen] for name, chosen in pool])
    # ten classes of clothes, one for scans, one for digits
    code = {"fashion": read["fashion"]["y"], "mednist": 10, "mnist": 11}
    labels = np.concatenate(
        [np.broadcast_to(code[name], len(pixels[name]))[chosen] for name, chosen in pool]
    )
    mean = public.mean(axis=0)
    basis = np.linalg.eigh(np.cov((public - mean).T))[1][:, -N_COMPONENTS:]
    return Images(
        ((pixels["fashion"][targets] - mean) @ basis).astype(np.float32),
        read["fashion"]["y"][targets].astype(np.int64),
        ((public - mean) @ basis).astype(np.float32),
        labels.astype(np.int64),
    )


def trak_features(images: Images) -> Images:
    """Per-example gradients of a pool model, projected, and whitened by the pool's Gram matrix.

    ``s(x) = g(x)' (G'G)^-1 mean_t g(t)`` is then an inner product with a mean.
    """
    rng = np.random.default_rng(SEED)
    some = rng.choice(len(images.pool), 4000, replace=False)
    model = LogisticRegression(C=0.1, max_iter=300).fit(images.pool[some], images.pool_labels[some])

    def gradients(rows: np.ndarray, labels: np.ndarray) -> np.ndarray:
        residual = model.predict_proba(rows)
        residual[np.arange(len(rows)), np.searchsorted(model.classes_, labels)] -= 1
        return np.einsum(
            "nc,nd->ncd", residual, np.append(rows, np.ones((len(rows), 1)), 1)
        ).reshape(len(rows), -1)

    public = gradients(images.pool, images.pool_labels)
    projection = rng.standard_normal((public.shape[1], N_PROJECTED)) / np.sqrt(N_PROJECTED)
    public = public @ projection
    values, vectors = np.linalg.eigh(public.T @ public / len(public))
    root = vectors / np.sqrt(np.maximum(values, 1e-6 * values.max()))
    private = gradients(images.targets, images.target_labels) @ projection
    return replace(
        images,
        targets=(private @ root).astype(np.float32),
        pool=(public @ root).astype(np.float32),
    )


def plan_of(images: Images, curator: str, size: int, n_shadows: int, with_model: bool):
    """An audit of 2 |T| candidates, of which every shadow holds half."""
    return Pipeline(
        private=images.targets[: 2 * size],
        public=images.pool,
        labels={"private": images.target_labels[: 2 * size], "public": images.pool_labels},
        scorer=Nearest()
        if curator == "nearest"
        else Mean(metric="cosine" if curator == "mean" else "inner_product"),
        select=TopFraction(fraction=FRACTION),
        train=Logistic(l2=1.0) if with_model else None,
        standardise="none",
        seed=SEED,
        attack=AttackSettings(shadows=n_shadows),
    ).plan()


def curated(plan) -> Curated:
    """All shadows, in batches."""
    inclusion = paired_inclusion(plan.attack.shadows, plan.data.private.n_candidates, Streams(SEED))
    parts = []
    for start in range(0, len(inclusion), SHADOWS_PER_BATCH):
        rows = range(start, start + SHADOWS_PER_BATCH)
        streams = Streams(SEED).for_shadows("shadow", rows)
        scores = score_shadows(plan, inclusion[rows.start : rows.stop], streams)
        parts.append(select_and_train(plan, scores, streams))
    return Curated.concatenate(parts)


def placements(paired: PairedEvidence) -> np.ndarray:
    """Each pair's contribution to the AUC, (P,): mean placement of its members and outsiders."""
    members, outsiders = np.sort(paired.members, axis=None), np.sort(paired.outsiders, axis=None)

    def share_below(values: np.ndarray, sample: np.ndarray) -> np.ndarray:
        left = np.searchsorted(sample, values, side="left")
        right = np.searchsorted(sample, values, side="right")
        return ((left + right) / (2 * sample.size)).mean(axis=1)

    of_members = share_below(paired.members, outsiders)
    of_outsiders = 1 - share_below(paired.outsiders, members)
    return of_members + of_outsiders - of_members.mean()


def compared(plan, curator: str, size: int) -> Iterator[Row]:
    """Our best attack against the best published one, at every stage."""
    inclusion = paired_inclusion(plan.attack.shadows, plan.data.private.n_candidates, Streams(SEED))
    n_pairs = len(inclusion) // 2
    fit = np.arange(n_pairs) < n_pairs // 2
    knowledge = replace(knowledge_of(plan), known_pairs=fit)
    seen = seen_by(plan, curated(plan))
    streams = Streams(SEED).for_shadows("attack", range(len(inclusion)))
    for stage in plan.observed:
        evidence = {}
        for attack in SINGLE:
            if attack.stage == stage and not knowledge.missing(attack.needs):
                started = time.perf_counter()
                found = attack.evidence(seen, inclusion, knowledge, streams=streams)
                evidence[attack.name] = PairedEvidence.split(found, inclusion)
                seconds = time.perf_counter() - started
                if seconds > SLOW:
                    print(f"{attack.name}: {seconds:.0f} s", file=sys.stderr, flush=True)
        yield row_of(curator, size, stage, evidence, fit)


def row_of(curator: str, size: int, stage: str, evidence, fit: np.ndarray) -> Row:
    """Choose on the fit pairs, compare on the others."""
    chosen = {name: placements(one.pairs(fit)).mean() for name, one in evidence.items()}
    measured = {name: placements(one.pairs(~fit)) for name, one in evidence.items()}
    # no attack is read in reverse: all of them say that higher evidence means in
    published = max((name for name in chosen if name in PUBLISHED[stage]), key=chosen.get)
    ours = max((name for name in chosen if name not in PUBLISHED[stage]), key=chosen.get)
    gain = measured[ours] - measured[published]
    quantile = stats.t.ppf((1 + CONFIDENCE) / 2, len(gain) - 1)
    return Row(
        curator,
        size,
        stage,
        published,
        measured[published].mean(),
        ours,
        measured[ours].mean(),
        gain.mean(),
        quantile * gain.std(ddof=1) / np.sqrt(len(gain)),
    )


def draw(rows: list[Row], dimensions: dict[str, int], path: Path) -> None:
    """AUC over |T| by curator and stage, with the tracing and the matched-filter curves."""
    curators = list(dimensions)
    figure, axes = plt.subplots(3, len(curators), figsize=(4 * len(curators), 9), sharex=True)
    for column, curator in enumerate(curators):
        for line, stage in enumerate(PUBLISHED):
            axis = axes[line, column]
            here = [row for row in rows if (row.curator, row.stage) == (curator, stage)]
            sizes = np.array([row.size for row in here])
            axis.plot(sizes, [row.published_auc for row in here], "o--", label="best published")
            axis.plot(sizes, [row.ours_auc for row in here], "s-", label="best of ours")
            if curator != "nearest" and stage != "model" and len(sizes):
                draw_theory(axis, dimensions[curator], sizes)
            axis.set(title=f"{curator}, {stage}", xscale="log", ylim=(0.45, 1.02))
            axis.axhline(0.5, color="grey", linewidth=0.5)
    axes[0, 0].legend(fontsize=7)
    axes[0, -1].legend(fontsize=7)
    for axis in axes[-1]:
        axis.set_xlabel("|T|")
    for axis in axes[:, 0]:
        axis.set_ylabel("AUC")
    figure.tight_layout()
    figure.savefig(path, metadata={"Date": None})


def draw_theory(axis, d: int, sizes: np.ndarray) -> None:
    """Curves for standard normal candidates in d dimensions, n of 2n in."""
    n = np.geomspace(sizes.min(), sizes.max(), 200)
    axis.plot(n, special.ndtr(np.sqrt(d / n)), ":", label="tracing, centred")
    axis.plot(n, special.ndtr(np.sqrt(d / (2 * n))), ":", label="tracing, uncentred")
    there = n > d / 2
    filtered = (d / n[there]) / (1 - d / (2 * n[there]))
    axis.plot(n[there], special.ndtr(np.sqrt(filtered)), "-.", label="matched filter")


def line_of(row: Row) -> str:
    """A row of the printed table."""
    return (
        f"| {row.curator} | {row.size} | {row.stage} | {row.published} | {row.published_auc:.3f} | "
        f"{row.ours} | {row.ours_auc:.3f} | {row.difference:+.4f} ± {row.half_width:.4f} |"
    )


def rows_of(table: str) -> list[Row]:
    """The rows of a printed table."""
    rows = []
    for line in table.splitlines():
        cells = [cell.strip() for cell in line.strip("| ").split("|")]
        if len(cells) == 8 and cells[1].isdigit():
            gain, half = map(float, cells[7].split(" ± "))
            published, ours = (cells[3], float(cells[4])), (cells[5], float(cells[6]))
            rows.append(Row(cells[0], int(cells[1]), cells[2], *published, *ours, gain, half))
    return sorted(rows, key=lambda row: row.size)


def measure(options: argparse.Namespace) -> list[Row]:
    """Print the table as it grows."""
    images = load_images(options.folder)
    of_curator = {"nearest": images, "mean": images, "trak": trak_features(images)}
    rows = []
    print("| curator | \\|T\\| | stage | best published | AUC | best of ours | AUC | gain, 95 % |")
    print("|---|---|---|---|---|---|---|---|")
    with one_thread():
        for size in map(int, options.sizes.split(",")):
            with_model = size <= LARGEST_FOR_MODEL
            n_shadows = options.shadows if with_model else options.shadows // 2
            for curator in options.curators.split(","):
                plan = plan_of(of_curator[curator], curator, size, n_shadows, with_model)
                for row in compared(plan, curator, size):
                    rows.append(row)
                    print(line_of(row), flush=True)
    return rows


def main() -> None:
    """Measure, or read what was measured; say whether ours is anywhere worse; draw."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, nargs="?")
    parser.add_argument("--sizes", default=",".join(map(str, SIZES)))
    parser.add_argument("--shadows", type=int, default=128)
    parser.add_argument("--curators", default="nearest,mean,trak")
    parser.add_argument("--figure", type=Path)
    parser.add_argument("--tables", type=Path, nargs="+", help="printed before, to be drawn")
    options = parser.parse_args()
    if options.tables:
        rows = rows_of("\n".join(path.read_text() for path in options.tables))
    else:
        rows = measure(options)
    worse = [row for row in rows if row.difference < -row.half_width]
    print(f"\nmean gain {np.mean([row.difference for row in rows]):+.3f}; worse: {len(worse)}")
    if options.figure:
        draw(rows, {"nearest": 0, "mean": N_COMPONENTS, "trak": N_PROJECTED}, options.figure)


if __name__ == "__main__":
    main()
