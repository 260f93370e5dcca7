"""What a spectral perceptron leaks, and the rank of its features, by optimiser and width.

S networks of one hidden layer, each on half of 200 digits (the membership game), full-batch steps;
LiRA learns from the other pairs. Features are standardised by the other digits. Ranks are of the
covariance of hidden activations at 500 of these: hard is the participation ratio, soft the
exponential of the entropy of the normalised eigenvalues. Exponents are slopes of log rank over log
width. Rates are fixed, one for each optimiser, near the best accuracy at 64 units; DP-SGD has the
same rate, steps and clip norm at both of its budgets.

    python -m benchmarks.width_leakage [--shadows 64]
"""

import argparse
import time
from functools import partial

import numpy as np
import torch
from scipy import stats
from sklearn.datasets import load_digits

from curation_audit.attacks.lira import Lira
from curation_audit.dp.calibration import EpsilonTarget, noise_multiplier_for
from curation_audit.observations import KNOWABLE, Candidates, Knowledge, Observation, Selection
from curation_audit.statistics.auc import auc_estimate
from curation_audit.statistics.paired import PairedEvidence
from curation_audit.streams import Streams
from curation_audit.training.device import one_thread
from curation_audit.training.dp_sgd import DpSgdSettings, PaddedUnits, fit_dp_sgd
from curation_audit.training.in_step import Examples
from curation_audit.training.mlp import WidthRule, forward, train
from curation_audit.training.recipe import Recipe
from curation_audit.training.spectral import dp_rate

N, STEPS, N_CLASSES, BASE = 200, 60, 10, 64
WIDTHS = (64, 128, 256, 512, 1024)
RATES = {"sgd": 0.25, "adamw": 2**-6, "muon": 2**-5}
DP_RATE, DP_CLIP, DELTA = 1.0, 1.0, 1e-5
EPSILONS = (8.0, 32.0)
RULE = WidthRule(parametrization="spectral", base_width=BASE)


def digits():
    """Standardised pixels and labels, in an order of their own."""
    found = load_digits()
    order = np.random.default_rng(0).permutation(len(found.data))
    rows, others = found.data[order], found.data[order][N:]
    spread = np.where(others.std(axis=0) > 0, others.std(axis=0), 1)
    return ((rows - others.mean(axis=0)) / spread).astype(np.float32), found.target[order]


def coins(n_shadows):
    """Complementary pairs, (S, N)."""
    drawn = np.random.default_rng(1).random((n_shadows // 2, 1, N)) < 0.5
    return np.concatenate([drawn, ~drawn], axis=1).reshape(n_shadows, N)


def trained(optimiser, width, rows, labels, held):
    """S networks without privacy."""
    streams = Streams(2).for_shadows("width leakage", range(len(held)))
    widths = (rows.shape[1], width, N_CLASSES)
    design = torch.as_tensor(rows)
    layers = RULE.dense(widths, streams.generators("initial weights"), design)
    recipe = Recipe(
        epochs=STEPS,
        batch_size=N,
        learning_rate=RATES[optimiser],
        optimiser=optimiser,
        weight_decay=0.0,
    )
    own_first = np.argsort(~held, axis=1, kind="stable")
    real = np.arange(N) < held.sum(axis=1, keepdims=True)
    examples = Examples(
        design,
        torch.eye(N_CLASSES)[torch.as_tensor(labels)],
        torch.as_tensor(own_first),
        real,
    )
    orders = np.tile(np.arange(N), (STEPS, len(held), 1))
    return train(layers, examples, orders, recipe, RULE.dense_scales(recipe, widths))


def trained_privately(epsilon, width, rows, labels, held):
    """S networks by full-batch DP-SGD on V; epsilon is that of all steps together."""
    settings = DpSgdSettings(
        steps=STEPS,
        sampling_rate=1.0,
        clip=DP_CLIP,
        noise_multiplier=noise_multiplier_for(
            EpsilonTarget(epsilon, DELTA), 1.0, STEPS, "zero_out"
        ),
        expected_units=N / 2,
        learning_rate=dp_rate(DP_RATE, width, BASE),
        hidden=(width,),
        outputs=N_CLASSES,
        parametrization="spectral",
    )
    units = PaddedUnits.of_rows(rows, labels=labels)
    nobody = np.zeros((0, rows.shape[1]), rows.dtype)
    streams = Streams(2).for_shadows("width leakage", range(len(held)))
    return fit_dp_sgd(units, held, nobody, settings, streams=streams, device=torch.device("cpu"))


def leakage(layers, rows, labels, held):
    """AUC of LiRA at the candidates, from confidences."""
    logits = forward(layers, torch.as_tensor(rows))[-1]
    outputs = torch.softmax(logits.double(), dim=2).numpy().astype(np.float32)
    n_shadows = len(held)
    nothing = Selection.from_mask(np.zeros((n_shadows, 1), dtype=bool))
    observation = Observation(np.zeros((n_shadows, 1)), nothing, outputs, outputs[:, :1])
    knowledge = Knowledge(
        granted=KNOWABLE,
        pool=np.zeros((1, 1)),
        pool_labels=labels[:1],
        candidates=Candidates(np.zeros((N, 1)), np.arange(N), N, labels),
        queried=np.arange(1),
    )
    streams = Streams(3).for_shadows("attack", range(n_shadows))
    evidence = Lira().evidence(observation, held, knowledge, streams=streams)
    paired = PairedEvidence.split(evidence, held)
    return auc_estimate(paired, confidence=0.95, inflation=2**0.5)


def ranks(layers, rows):
    """Hard and soft rank of hidden activations, (S,) each."""
    hidden = forward(layers, torch.as_tensor(rows))[1]
    values = torch.linalg.svdvals(hidden - hidden.mean(dim=1, keepdim=True)).double().square()
    share = (values / values.sum(dim=1, keepdim=True)).clamp(min=1e-12).numpy()
    return 1 / np.square(share).sum(axis=1), np.exp(-(share * np.log(share)).sum(axis=1))


def accuracy(layers, rows, labels):
    """Mean over networks."""
    best = forward(layers, torch.as_tensor(rows))[-1].argmax(dim=2).numpy()
    return float((best == labels).mean())


def exponent(found):
    """The mean slope of log rank (widths, S) over log width, and half of its interval at 95 %.

    By the slopes of pairs of networks, which share their coins at every width; and beside it half
    of the interval that one line through the means of the widths has.
    """
    logs, x = np.log(found), np.log(WIDTHS)
    slopes = np.polyfit(x, logs, 1)[0].reshape(-1, 2).mean(axis=1)
    by_pairs = stats.t.ppf(0.975, len(slopes) - 1) * stats.sem(slopes)
    line = stats.linregress(x, logs.mean(axis=1))
    return slopes.mean(), by_pairs, stats.t.ppf(0.975, len(WIDTHS) - 2) * line.stderr


def trainers():
    """By name, what trains S networks of a width."""
    plain = {one: partial(trained, one) for one in RATES}
    return plain | {f"dp_sgd, epsilon {one:g}": partial(trained_privately, one) for one in EPSILONS}


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--shadows", type=int, default=64)
    asked = parser.parse_args()
    rows, labels = digits()
    held, fresh, fresh_labels = coins(asked.shadows), rows[-500:], labels[-500:]
    mine = rows[:N], labels[:N], held
    for name, fit in trainers().items():
        begin, by_width = time.perf_counter(), []
        for width in WIDTHS:
            with one_thread():
                layers = fit(width, *mine)
                auc, (hard, soft) = leakage(layers, *mine), ranks(layers, fresh)
            by_width.append((hard, soft))
            print(
                f"{name} {width}: AUC {auc.value:.3f} ({auc.low:.3f} to {auc.high:.3f}), "
                f"hard {hard.mean():.2f}, soft {soft.mean():.2f}, "
                f"accuracy on others {accuracy(layers, fresh, fresh_labels):.3f}",
                flush=True,
            )
        for rank, found in zip(("hard", "soft"), zip(*by_width, strict=True), strict=True):
            slope, by_pairs, of_line = exponent(np.stack(found))
            print(f"  {rank} exponent {slope:.3f} +- {by_pairs:.3f} (a line: {of_line:.3f})")
        print(f"  {time.perf_counter() - begin:.0f} s", flush=True)


if __name__ == "__main__":
    main()
