"""Where full-batch descent settles beside its threshold of stability, and what finding it costs.

    python benchmarks/training_edge.py

A perceptron 64-64-64-10 on 600 digits, 1,500 steps over all rows; then with shuffled labels, after
fewer. Curvature by 15 Lanczos vectors, beside a tight run with 60.
"""

import time
from unittest import mock

import numpy as np
import torch
from sklearn.datasets import load_digits

from curation_audit.streams import Streams
from curation_audit.training import sharpness as of_losses
from curation_audit.training.in_step import Examples, train_in_step
from curation_audit.training.mlp import Perceptrons, as_parameters, initial_layers
from curation_audit.training.recipe import Recipe
from curation_audit.training.sharpness import (
    Remembering,
    Sharpness,
    class_loss,
    sharpness,
    stability_threshold,
    threshold_of_means,
)

N_ROWS, STEPS = 600, 1500
RECIPES = (
    *(("descent", {"momentum": 0.0, "learning_rate": rate}) for rate in (0.1, 0.2, 0.4, 0.8)),
    *(("momentum .9", {"learning_rate": rate}) for rate in (0.05, 0.1, 0.2)),
    *(("AdamW", {"optimiser": "adamw", "learning_rate": rate}) for rate in (1e-4, 1e-3, 1e-2)),
)


SHUFFLED = (300, 600, 900, 1200)


def main() -> None:
    """A row for every recipe, and one for every number of steps on shuffled labels."""
    torch.set_num_threads(1)
    digits = load_digits()
    rows = torch.as_tensor((digits.data[:N_ROWS] / 8 - 1).astype(np.float64))
    classes = torch.as_tensor(digits.target[:N_ROWS])
    print("| training | rate | eta lambda_max | threshold | share | 15 vectors off by | seconds |")
    print("|---|---|---|---|---|---|---|")
    for name, settings in RECIPES:
        recipe = Recipe(epochs=STEPS, batch_size=N_ROWS, weight_decay=0.0, **settings)
        print(row(name, recipe, rows, classes))
    shuffled = classes[torch.as_tensor(np.random.default_rng(0).permutation(N_ROWS))]
    for steps in SHUFFLED:
        recipe = Recipe(
            epochs=steps, batch_size=N_ROWS, weight_decay=0.0, momentum=0.0, learning_rate=0.2
        )
        print(row(f"descent, labels shuffled, {steps} steps", recipe, rows, shuffled))


def row(name: str, recipe: Recipe, rows: torch.Tensor, classes: torch.Tensor) -> str:
    """Train, and measure the curvature twice."""
    parameters, spread = trained(recipe, rows, classes)
    loss, started = class_loss(rows, classes), time.perf_counter()
    found = sharpness(loss, parameters, spread)
    seconds = time.perf_counter() - started
    exact = tightly(lambda: sharpness(loss, parameters, spread))
    adamw = recipe.optimiser == "adamw"
    threshold = threshold_of_means(0.9) if adamw else stability_threshold(recipe.momentum)
    bend = recipe.learning_rate * found.largest
    return (
        f"| {name} | {recipe.learning_rate:g} | {bend:.2f} | {threshold:g} | "
        f"{bend / threshold:.2f} | {found.largest / exact.largest - 1:+.1e} | {seconds:.2f} |"
    )


def trained(recipe: Recipe, rows: torch.Tensor, classes: torch.Tensor):
    """Parameters of one network, and the roots of what AdamW multiplies their steps by."""
    streams = Streams(0).for_shadows("edge", (0,))
    start = as_parameters(initial_layers((64, 64, 64, 10), streams.generators("weights"), rows))
    targets = torch.eye(10, dtype=rows.dtype)[classes]
    everyone = Examples(rows, targets, torch.arange(N_ROWS)[None], np.ones((1, N_ROWS), bool))
    orders = np.tile(np.arange(N_ROWS), (recipe.epochs, 1, 1))
    adamw = recipe.optimiser == "adamw"
    networks = Remembering.of(Perceptrons(), recipe, start) if adamw else Perceptrons()
    done = train_in_step(networks, start, everyone, orders, recipe)
    parameters = tuple(one[0] for one in done.parameters)
    if not adamw:
        return parameters, None
    return parameters, [(1 / (one[0].sqrt() + recipe.epsilon)).sqrt() for one in done.state]


def tightly(measure) -> Sharpness:
    """With many vectors, to the last digits."""
    with (
        mock.patch.object(of_losses, "N_LANCZOS", 60),
        mock.patch.object(of_losses, "TOLERANCE", 1e-10),
    ):
        return measure()


if __name__ == "__main__":
    main()
