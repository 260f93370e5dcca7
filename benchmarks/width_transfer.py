"""Does a learning rate that was tuned on a narrow network serve a wide one? By parametrisation.

Perceptrons of two hidden layers on 1,792 rows of digits, 84 steps of 128 rows, cosine; the best
rate of each width by a parabola through octaves. One thread. Features are standardised, as
pipelines do; ``--inputs pixels`` leaves them as they are, from 0 to 1.

    python -m benchmarks.width_transfer [--optimiser adamw] [--widths 64,128,256,512,1024,2048]
        [--inputs standardised] [--networks 2] [--parametrization spectral --octaves=-7,-2]
        [--readout gaussian]

``--readout gaussian`` starts the spectral readout from the condition's random weights, not at zero.
"""

import argparse
import time

import numpy as np
from sklearn.datasets import load_digits

from benchmarks.width_coordinates import GaussianReadout
from curation_audit.training.device import one_thread
from curation_audit.training.mlp import WidthRule
from curation_audit.training.recipe import OPTIMISERS, Recipe
from curation_audit.training.spectral import PARAMETRIZATIONS
from curation_audit.training.widths import PublicTask, Trial, lr_transfer_check

N_ROWS = 1792
OCTAVES = {"sgd": "-8,0", "adamw": "-11,-2", "muon": "-8,-1"}


def digits(inputs: str) -> PublicTask:
    """Images with pixels from 0 to 1, or each pixel of mean 0 and variance 1."""
    found = load_digits()
    rows = found.data[:N_ROWS] / 16
    if inputs == "standardised":
        rows = (rows - rows.mean(axis=0)) / np.where(rows.std(axis=0) > 0, rows.std(axis=0), 1)
    return PublicTask(
        features=rows.astype(np.float32),
        labels=found.target[:N_ROWS],
        n_classes=10,
    )


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--optimiser", choices=OPTIMISERS, default="adamw")
    parser.add_argument("--widths", default="64,128,256,512,1024,2048")
    parser.add_argument("--inputs", choices=("standardised", "pixels"), default="standardised")
    parser.add_argument("--networks", type=int, default=2)
    parser.add_argument("--parametrization", choices=PARAMETRIZATIONS)
    parser.add_argument("--readout", choices=("zero", "gaussian"), default="zero")
    parser.add_argument("--octaves", help="the first and the last log2 rate")
    asked = parser.parse_args()
    widths = [int(one) for one in asked.widths.split(",")]
    first, last = map(int, (asked.octaves or OCTAVES[asked.optimiser]).split(","))
    rates = [2.0**k for k in range(first, last + 1)]
    recipe = Recipe(
        epochs=6, batch_size=128, optimiser=asked.optimiser, weight_decay=0.0, schedule="cosine"
    )
    for name in [asked.parametrization] if asked.parametrization else PARAMETRIZATIONS:
        begin = time.perf_counter()
        spectral = GaussianReadout if asked.readout == "gaussian" else WidthRule
        rule = (spectral if name == "spectral" else WidthRule)(parametrization=name)
        trial = Trial(recipe=recipe, rule=rule, networks=asked.networks)
        with one_thread():
            found = lr_transfer_check(digits(asked.inputs), widths, rates, trial)
        mean = found.losses.mean(axis=2)
        tuned = int(mean[0].argmin())
        slope = found.slope
        print(f"{asked.optimiser}, {name}, {asked.inputs}: {time.perf_counter() - begin:.0f} s")
        print("  best log2 rate by width", np.round(found.best().mean(axis=1), 2))
        print(f"  drift {found.drift:.2f} octaves; slope {slope.value:.3f}", end=" ")
        print(f"({slope.low:.3f} to {slope.high:.3f}); at the edge: {found.at_edge}")
        print("  loss at each width's best", np.round(mean.min(axis=1), 4))
        print(f"  widest: loss at its best {mean[-1].min():.4f}", end=", ")
        print(f"at the narrowest one's best {mean[-1, tuned]:.4f}", flush=True)


if __name__ == "__main__":
    main()
