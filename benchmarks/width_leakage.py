"""What a spectral perceptron leaks, and the rank of its features, by optimiser and width.

S networks of one hidden layer, each on half of 200 digits (the membership game), full-batch steps;
LiRA learns from the other pairs. Ranks are of the covariance of hidden activations at other digits:
hard is the participation ratio, soft the exponential of the entropy of the normalised eigenvalues.
Exponents are slopes of log rank over log width. Rates are fixed, one for each optimiser.

    python -m benchmarks.width_leakage [--shadows 64]
"""

import argparse
import time

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
DP_RATE, DP_CLIP = 1.0, 2.0
CLAIM = EpsilonTarget(4.0, 1e-5)
RULE = WidthRule(parametrization="spectral", base_width=BASE)


def digits():
    """Pixels from 0 to 1 and labels, in an order of their own."""
    found = load_digits()
    order = np.random.default_rng(0).permutation(len(found.data))
    return (found.data[order] / 16).astype(np.float32), found.target[order]


def coins(n_shadows):
    """Complementary pairs, (S, N)."""
    drawn = np.random.default_rng(1).random((n_shadows // 2, 1, N)) < 0.5
    return np.concatenate([drawn, ~drawn], axis=1).reshape(n_shadows, N)


def trained(optimiser, width, rows, labels, held):
    """S networks without privacy."""
    streams = Streams(2).for_shadows("width leakage", range(len(held)))
    widths = (rows.shape[1], width, N_CLASSES)
    design = torch.as_tensor(rows)
    layers = RULE.initial(widths, streams.generators("initial weights"), design)
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
    return train(layers, examples, orders, recipe, RULE.scales(recipe, widths))


def trained_privately(width, rows, labels, held):
    """S networks by full-batch DP-SGD on V; epsilon 4 for all steps."""
    settings = DpSgdSettings(
        steps=STEPS,
        sampling_rate=1.0,
        clip=DP_CLIP,
        noise_multiplier=noise_multiplier_for(CLAIM, 1.0, STEPS, "zero_out"),
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
    """The slope of log rank over log width, with its half width at 95 %."""
    fit = stats.linregress(np.log(WIDTHS), np.log(found))
    return fit.slope, stats.t.ppf(0.975, len(WIDTHS) - 2) * fit.stderr


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--shadows", type=int, default=64)
    asked = parser.parse_args()
    rows, labels = digits()
    held, fresh, fresh_labels = coins(asked.shadows), rows[-500:], labels[-500:]
    mine = rows[:N], labels[:N], held
    for optimiser in (*RATES, "dp_sgd"):
        begin, by_width = time.perf_counter(), []
        for width in WIDTHS:
            with one_thread():
                layers = (
                    trained_privately(width, *mine)
                    if optimiser == "dp_sgd"
                    else trained(optimiser, width, *mine)
                )
                auc, (hard, soft) = leakage(layers, *mine), ranks(layers, fresh)
            by_width.append((hard.mean(), soft.mean()))
            print(
                f"{optimiser} {width}: AUC {auc.value:.3f} ({auc.low:.3f} to {auc.high:.3f}), "
                f"hard {hard.mean():.2f}, soft {soft.mean():.2f}, "
                f"accuracy on others {accuracy(layers, fresh, fresh_labels):.3f}",
                flush=True,
            )
        hard, soft = (exponent(one) for one in zip(*by_width, strict=True))
        print(f"  exponents: hard {hard[0]:.3f} +- {hard[1]:.3f}, soft {soft[0]:.3f}", end=" ")
        print(f"+- {soft[1]:.3f}; {time.perf_counter() - begin:.0f} s", flush=True)


if __name__ == "__main__":
    main()
