"""Training of many shadows against one after another, ratios in one run.

    python -m benchmarks.training_speed [--repeats 5] [--only small large]

``small``: 64 networks 64-128-10 on halves of scikit-learn's digits, 30 epochs of batches of 64,
momentum SGD. Beside our engine (one process, and two that are ready to work): a bare loop over
tensors, a loop over a ``DataLoader``, and the way of Privacy Meter (a ``DataLoader`` without
workers, and the test set after every epoch), written by us to its published settings. What takes
long is timed on few shadows and multiplied. ``large``: 8 networks 784-512-256-10 on 5,000 of
10,000 rows, batches of 256, one epoch. BLAS and torch have one thread, but where two are named.
"""

import argparse
import itertools
import statistics
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from typing import Any

import numpy as np
import torch
from sklearn.datasets import load_digits
from threadpoolctl import threadpool_limits
from torch import nn
from torch.utils.data import DataLoader, Subset, TensorDataset

from curation_audit.training.in_step import Examples
from curation_audit.training.mlp import Layer, initial_layers, row_orders, train
from curation_audit.training.recipe import Recipe
from curation_audit.types import Features, Labels


@dataclass(frozen=True)
class Setting:
    """Rows, labels, each shadow's rows, widths and recipe."""

    rows: Features
    labels: Labels
    chosen: np.ndarray
    widths: tuple[int, ...]
    recipe: Recipe

    @property
    def flops(self) -> float:
        """Of products in forward and backward passes, without that to the inputs."""
        per_row = 2 * sum(a * b for a, b in itertools.pairwise(self.widths))
        first = 2 * self.widths[0] * self.widths[1]
        return (3 * per_row - first) * self.chosen.size * self.recipe.epochs

    def of(self, shadows: slice) -> "Setting":
        """Some of the shadows."""
        return Setting(self.rows, self.labels, self.chosen[shadows], self.widths, self.recipe)


def small(n_shadows: int = 64, dtype: Any = np.float32) -> Setting:
    """Digits."""
    rows, labels = load_digits(return_X_y=True)
    rng = np.random.default_rng(0)
    chosen = np.stack([rng.permutation(len(rows))[:898] for _ in range(n_shadows)])
    recipe = Recipe(epochs=30, batch_size=64, learning_rate=0.05, momentum=0.9, weight_decay=0.0)
    return Setting((rows / 16).astype(dtype), labels, chosen, (64, 128, 10), recipe)


def large() -> Setting:
    """Made rows of the size of MNIST's."""
    rng = np.random.default_rng(0)
    rows = rng.standard_normal((10_000, 784)).astype(np.float32)
    labels = rng.integers(0, 10, 10_000)
    chosen = np.stack([rng.permutation(10_000)[:5000] for _ in range(8)])
    recipe = Recipe(epochs=1, batch_size=256, learning_rate=0.01, momentum=0.9, weight_decay=0.0)
    return Setting(rows, labels, chosen, (784, 512, 256, 10), recipe)


def ours(setting: Setting, first: int = 0) -> list[Layer]:
    """All shadows at once; ``first`` is the number of the first."""
    rows = torch.from_numpy(setting.rows)
    targets = torch.nn.functional.one_hot(torch.from_numpy(setting.labels), setting.widths[-1])
    numbers = range(first, first + len(setting.chosen))
    weights = [np.random.default_rng([s, 0]) for s in numbers]
    order = [np.random.default_rng([s, 1]) for s in numbers]
    real = np.ones(setting.chosen.shape, dtype=bool)
    examples = Examples(rows, targets.to(rows.dtype), torch.from_numpy(setting.chosen), real)
    orders = row_orders(real, setting.recipe.epochs, order)
    return train(initial_layers(setting.widths, weights, rows), examples, orders, setting.recipe)


def module_of(widths: tuple[int, ...]) -> nn.Sequential:
    """Dense layers with ReLU between them."""
    layers: list[nn.Module] = []
    for a, b in itertools.pairwise(widths):
        layers += [nn.Linear(a, b), nn.ReLU()]
    return nn.Sequential(*layers[:-1])


def bare(setting: Setting) -> None:
    """Shadow after shadow, batches cut from tensors."""
    rows, labels = torch.from_numpy(setting.rows), torch.from_numpy(setting.labels)
    recipe = setting.recipe
    for chosen in setting.chosen:
        module = module_of(setting.widths)
        optimiser = torch.optim.SGD(
            module.parameters(), lr=recipe.learning_rate, momentum=recipe.momentum
        )
        own, wanted = rows[chosen], labels[chosen]
        for _ in range(recipe.epochs):
            order = torch.randperm(len(own))
            for at in range(0, len(own), recipe.batch_size):
                batch = order[at : at + recipe.batch_size]
                loss = nn.functional.cross_entropy(module(own[batch]), wanted[batch])
                optimiser.zero_grad()
                loss.backward()
                optimiser.step()


def by_loader(setting: Setting, *, test_each_epoch: bool) -> None:
    """Shadow after shadow, batches from a ``DataLoader``, the loss read after each."""
    rows, labels = torch.from_numpy(setting.rows), torch.from_numpy(setting.labels)
    recipe, everyone = setting.recipe, np.arange(len(setting.rows))
    for chosen in setting.chosen:
        module = module_of(setting.widths)
        optimiser = torch.optim.SGD(
            module.parameters(), lr=recipe.learning_rate, momentum=recipe.momentum
        )
        rest = np.setdiff1d(everyone, chosen)
        everything = TensorDataset(rows, labels)
        loader = DataLoader(Subset(everything, chosen.tolist()), recipe.batch_size, shuffle=True)
        tested = DataLoader(Subset(everything, rest.tolist()), recipe.batch_size)
        for _ in range(recipe.epochs):
            total = 0.0
            for batch, wanted in loader:
                optimiser.zero_grad(set_to_none=True)
                loss = nn.functional.cross_entropy(module(batch), wanted)
                loss.backward()
                optimiser.step()
                total += loss.item()
            if test_each_epoch:
                with torch.no_grad():
                    for batch, wanted in tested:
                        logits = module(batch)
                        total += nn.functional.cross_entropy(logits, wanted).item()
                        total += float((logits.argmax(dim=1) == wanted).sum())


def as_sequential(setting: Setting) -> float:
    """The largest difference of a parameter between our engine and torch, one at a time."""
    rows, labels = torch.from_numpy(setting.rows), torch.from_numpy(setting.labels)
    recipe, found, worst = setting.recipe, ours(setting), 0.0
    for s, chosen in enumerate(setting.chosen):
        layers = initial_layers(setting.widths, [np.random.default_rng([s, 0])], rows)
        parts = [one[0].clone().requires_grad_() for la in layers for one in (la.weight, la.bias)]
        optimiser = torch.optim.SGD(parts, lr=recipe.learning_rate, momentum=recipe.momentum)
        real = np.ones((1, len(chosen)), dtype=bool)
        for order in row_orders(real, recipe.epochs, [np.random.default_rng([s, 1])])[:, 0]:
            for at in range(0, len(chosen), recipe.batch_size):
                batch = chosen[order[at : at + recipe.batch_size]]
                hidden = rows[batch]
                for i in range(0, len(parts), 2):
                    hidden = hidden @ parts[i] + parts[i + 1]
                    hidden = torch.relu(hidden) if i + 2 < len(parts) else hidden
                loss = nn.functional.cross_entropy(hidden, labels[batch])
                optimiser.zero_grad()
                loss.backward()
                optimiser.step()
        mine = [one[s] for la in found for one in (la.weight, la.bias)]
        for one, other in zip(mine, parts, strict=True):
            worst = max(worst, float((one - other.detach()).abs().max()))
    return worst


def _start(setting: Setting) -> None:
    _Ready.limits = threadpool_limits(1)
    torch.set_num_threads(1)
    _Ready.setting = setting
    ours(setting.of(slice(0, 1)))


class _Ready:
    """What a worker process was started with."""

    setting: Setting
    limits: Any


def _share(shadows: slice) -> None:
    ours(_Ready.setting.of(shadows), shadows.start)


def in_two(pool: ProcessPoolExecutor, n_shadows: int) -> None:
    """Half of the shadows in each of two processes."""
    half = n_shadows // 2
    list(pool.map(_share, [slice(0, half), slice(half, n_shadows)]))


def peak_flops(seconds: float = 1.0) -> float:
    """Of float32 products on one thread: the faster of a stack in cache and one of 2,048."""
    found = []
    for shape in ((64, 64, 64), (1, 2048, 2048)):
        a = np.random.default_rng(0).standard_normal(shape).astype(np.float32)
        out, n, start = np.empty_like(a), 0, time.perf_counter()
        while time.perf_counter() - start < seconds:
            np.matmul(a, a, out=out)
            n += 1
        found.append(2 * a.size * shape[2] * n / (time.perf_counter() - start))
    return max(found)


def timed_in_turns(
    ways: Mapping[str, tuple[Callable[[], object], float]], repeats: int
) -> dict[str, list]:
    """Seconds of each way, in turns; each is multiplied by its factor."""
    times: dict[str, list[float]] = {name: [] for name in ways}
    for run, _ in ways.values():
        run()  # the first time of anything is another
    for _ in range(repeats):
        for name, (run, factor) in ways.items():
            start = time.perf_counter()
            run()
            times[name].append((time.perf_counter() - start) * factor)
    return times


def table(times: Mapping[str, list[float]], baseline: str) -> None:
    """Medians, and timed_in_turns and ranges of the ratios within a repeat."""
    print(f"| way | seconds | times as fast as {baseline} |")
    print("|---|---|---|")
    for name, own in times.items():
        ratios = [b / a for a, b in zip(own, times[baseline], strict=True)]
        print(
            f"| {name} | {statistics.median(own):.3g} | {statistics.median(ratios):.3g} "
            f"({min(ratios):.3g} to {max(ratios):.3g}) |",
            flush=True,
        )


def networks(setting: Setting, repeats: int, few: int) -> None:
    """All ways to train the networks of a setting; slow ones on ``few`` shadows."""
    n = len(setting.chosen)
    some = setting.of(slice(0, few))
    with ProcessPoolExecutor(2, get_context("spawn"), _start, (setting,)) as pool:
        in_two(pool, n)

        def on_two_threads() -> None:
            torch.set_num_threads(2)
            bare(some)
            torch.set_num_threads(1)

        ways: dict[str, tuple[Callable[[], object], float]] = {
            "ours, one core": (lambda: ours(setting), 1),
            "ours, two processes": (lambda: in_two(pool, n), 1),
            "bare loop, one core": (lambda: bare(some), n / few),
            "bare loop, two threads": (on_two_threads, n / few),
            "DataLoader loop": (
                lambda: by_loader(setting.of(slice(0, 1)), test_each_epoch=False),
                n,
            ),
            "Privacy Meter's way": (
                lambda: by_loader(setting.of(slice(0, 1)), test_each_epoch=True),
                n,
            ),
        }
        times = timed_in_turns(ways, repeats)
    table(times, "bare loop, one core")
    for name in ("ours, one core", "ours, two processes"):
        for other in (
            "bare loop, two threads",
            "DataLoader loop",
            "Privacy Meter's way",
        ):
            ratio = statistics.median(b / a for a, b in zip(times[name], times[other], strict=True))
            print(f"{name} beside {other}: {ratio:.3g}")
    peak, own = peak_flops(), setting.flops / statistics.median(times["ours, one core"])
    print(f"{own / 1e9:.0f} GFLOP/s on one core of a peak of {peak / 1e9:.0f}: {own / peak:.0%}")


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--only", nargs="+", default=["small", "large"])
    asked = parser.parse_args()
    torch.set_num_threads(1)
    with threadpool_limits(1):
        if "small" in asked.only:
            print("\n64 networks 64-128-10, 30 epochs")
            networks(small(), asked.repeats, few=4)
            print(f"float64, 8 networks, beside torch's: {as_sequential(small(8, np.float64)):.1e}")
        if "large" in asked.only:
            print("\n8 networks 784-512-256-10, 1 epoch")
            networks(large(), asked.repeats, few=2)


if __name__ == "__main__":
    main()
