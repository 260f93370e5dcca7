"""By how much do changes of a few steps drift over the width? By optimiser, rate and widths.

The largest slope of ``coord-check``, without its sign: six full-batch steps on 256 standardised
digits, two hidden layers. ``--readout gaussian`` starts the spectral readout from the condition's
random weights in place of zero; ``--exact`` takes Muon's polar factors by singular values.

    python -m benchmarks.width_coordinates [--readout zero] [--exact]
"""

import argparse

import numpy as np
import torch
from sklearn.datasets import load_digits

from curation_audit.training import optimisers
from curation_audit.training.device import one_thread
from curation_audit.training.mlp import WidthRule
from curation_audit.training.recipe import Recipe
from curation_audit.training.spectral import initial_sd
from curation_audit.training.widths import PublicTask, Trial, coord_check

N_ROWS, STEPS = 256, 6
WIDE = (256, 512, 1024, 2048)
CASES = [
    *(("adamw", k, (64, 128, 256, 512)) for k in (-5, -7, -8, -9)),
    *(("sgd", k, (64, 128, 256, 512)) for k in (-3, -4, -5, -6, -8)),
    ("sgd", -6, WIDE),
    ("sgd", -8, WIDE),
    *(("muon", -5, some) for some in ((32, 64, 128), (64, 128, 256), (128, 256, 512))),
]


class GaussianReadout(WidthRule):
    """The spectral rule, but for where the readout starts."""

    def sds(self, shapes):
        """As the condition has it, of the readout, too."""
        return [initial_sd(one.inputs, one.outputs) for one in shapes]


def digits() -> PublicTask:
    """Images, each pixel of mean 0 and variance 1."""
    found = load_digits()
    rows = (found.data - found.data.mean(axis=0)) / (found.data.std(axis=0) + 1e-6)
    return PublicTask(
        features=rows[:N_ROWS].astype(np.float32), labels=found.target[:N_ROWS], n_classes=10
    )


def exact_polar(matrices: torch.Tensor) -> torch.Tensor:
    """``U V'`` of ``U S V'``; directions of no size stay out."""
    u, size, v = torch.linalg.svd(matrices, full_matrices=False)
    return (u * (size > 1e-6 * size[:, :1])[:, None]) @ v


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--readout", choices=("zero", "gaussian"), default="zero")
    parser.add_argument("--exact", action="store_true")
    asked = parser.parse_args()
    if asked.exact:
        optimisers.polar = exact_polar
    kind = GaussianReadout if asked.readout == "gaussian" else WidthRule
    rules = {"standard": WidthRule(), "spectral": kind(parametrization="spectral")}
    for optimiser, octave, widths in CASES:
        recipe = Recipe(
            epochs=STEPS,
            batch_size=N_ROWS,
            learning_rate=2.0**octave,
            optimiser=optimiser,
            weight_decay=0.0,
        )
        networks = 2 if widths == WIDE else 4
        with one_thread():
            drifts = {
                name: coord_check(
                    digits(), widths, Trial(recipe=recipe, rule=rule, networks=networks)
                ).drift
                for name, rule in rules.items()
            }
        told = ", ".join(f"{name} {drift:.3f}" for name, drift in drifts.items())
        print(f"{optimiser}, 2^{octave}, {widths[0]} to {widths[-1]}: {told}", flush=True)


if __name__ == "__main__":
    main()
