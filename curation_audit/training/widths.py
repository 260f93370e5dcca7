"""Does training depend on the width? Two checks on public rows: coordinates, and the best rate.

Both train perceptrons of several widths by the engine that pipelines use, a few networks a width
with initial weights and orders of their own. Only rows that are public may be given: what is
looked at here is free of budget for no other reason.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from scipy import stats

from curation_audit import checks
from curation_audit.streams import Streams
from curation_audit.training.in_step import Examples
from curation_audit.training.mlp import Layer, WidthRule, forward, row_orders, train
from curation_audit.training.recipe import Recipe
from curation_audit.training.spectral import multiplier
from curation_audit.types import Features, Floats, Labels

CONFIDENCE = 0.95
FEWEST = 3  # widths or rates
OVERLAP = 0.1
QUANTITIES = ("outputs", "change of outputs", "change of weights")


@dataclass(frozen=True, slots=True, kw_only=True)
class PublicTask:
    """Public rows (n, d) with labels 0 to ``n_classes - 1``."""

    features: Features
    labels: Labels
    n_classes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """How networks of several widths are trained: ``hidden`` layers, all of one width.

    ``networks`` of each width, from streams of ``seed``; what is told is their mean.
    """

    recipe: Recipe
    rule: WidthRule
    hidden: int = 2
    networks: int = 4
    seed: int = 0

    def __post_init__(self) -> None:
        """Check the numbers."""
        checks.positive(hidden=self.hidden, networks=self.networks)


@dataclass(frozen=True, slots=True, kw_only=True)
class Slope:
    """A slope over the logarithm of the width, with its interval at 95 %."""

    value: float
    low: float
    high: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Coordinates:
    """Sizes of outputs, of their change and of the weights' change, by width and layer.

    ``sizes`` (3, W, R, L) in the order of ``QUANTITIES``: root mean squares over rows and units;
    of weights the largest singular value over ``sqrt(o / i)``.
    """

    widths: tuple[int, ...]
    sizes: Floats

    def slopes(self) -> list[list[Slope]]:
        """Of log size over log width, by quantity and layer; zero where training is width-free."""
        logs = np.log2(self.sizes)
        n_layers = logs.shape[3]
        return [[_slope(self.widths, one[..., i]) for i in range(n_layers)] for one in logs]

    @property
    def drift(self) -> float:
        """The largest slope, without its sign, of what training changes.

        The size of the outputs themselves is told and not judged: the spectral readout is meant to
        start near zero.
        """
        return max(abs(one.value) for by_layer in self.slopes()[1:] for one in by_layer)


@dataclass(frozen=True, slots=True, kw_only=True)
class Transfer:
    """Final losses (W, R, n) by width, rate and network; infinite where training diverged."""

    widths: tuple[int, ...]
    rates: tuple[float, ...]
    losses: Floats

    def best(self) -> Floats:
        """The best log2 rate of every width and network, (W, n), by a parabola through three."""
        return np.stack([[_lowest(self.rates, one) for one in by.T] for by in self.losses])

    @property
    def chosen(self) -> float:
        """The rate of the least mean loss at the first width, of those that were tried."""
        return self.rates[int(self.losses[0].mean(axis=1).argmin())]

    @property
    def slope(self) -> Slope:
        """Of the best log2 rate over log2 width."""
        return _slope(self.widths, self.best())

    @property
    def drift(self) -> float:
        """By how many octaves the fitted optimum moves from the first width to the last."""
        return self.slope.value * float(np.log2(self.widths[-1] / self.widths[0]))

    @property
    def at_edge(self) -> bool:
        """Whether some width's best rate is the first or the last that was tried."""
        places = self.losses.mean(axis=2).argmin(axis=1)
        return bool(((places == 0) | (places == len(self.rates) - 1)).any())


def coord_check(task: PublicTask, widths: Sequence[int], trial: Trial) -> Coordinates:
    """Sizes after training at each width, and of what training changed.

    Raises:
        ValueError: for fewer than three widths, or where training diverged.
    """
    _check_widths(widths)
    sizes = np.stack([_sizes(*_trained(task, one, trial), task) for one in widths], axis=1)
    if not np.isfinite(sizes).all() or not sizes.all():
        raise ValueError(
            "training diverged at some width, or moved some layer by nothing (one step leaves what "
            "stands before a readout of zero): change learning_rate, or take more steps."
        )
    return Coordinates(widths=tuple(widths), sizes=sizes)


def lr_transfer_check(
    task: PublicTask, widths: Sequence[int], rates: Sequence[float], trial: Trial
) -> Transfer:
    """Losses after training, on the task's own rows, at every width and rate.

    Raises:
        ValueError: as ``transfer_of``.
    """

    def loss(width: int, rate: float) -> Floats:
        recipe = replace(trial.recipe, learning_rate=rate)
        return _loss(task, width, replace(trial, recipe=recipe))

    return transfer_of(loss, widths, rates)


def transfer_of(
    loss: Callable[[int, float], Floats], widths: Sequence[int], rates: Sequence[float]
) -> Transfer:
    """What ``loss(width, rate)``, (n,) by network and infinite where training diverged, comes to.

    Raises:
        ValueError: for fewer than three widths or rates, or a width at which every rate diverged.
    """
    _check_widths(widths)
    if len(rates) < FEWEST or sorted(set(rates)) != list(rates):
        raise ValueError(f"rates must be {FEWEST} or more, ascending.")
    losses = np.array([[loss(width, rate) for rate in rates] for width in widths])
    if not np.isfinite(losses).any(axis=1).all():
        raise ValueError("at some width training diverged at every rate: try smaller ones.")
    return Transfer(widths=tuple(widths), rates=tuple(rates), losses=losses)


def halves_of(features: Features) -> PublicTask:
    """A task like a scorer's where rows have no labels: two public halves of a pool (m, d).

    Rows are cut at the median of their first principal axis, and every label is drawn anew for a
    tenth of the rows, by a fixed seed, so that the halves overlap as private and public rows do.
    """
    centred = features - features.mean(axis=0)
    along = centred @ np.linalg.svd(centred, full_matrices=False)[2][0]
    labels = (along > np.median(along)).astype(np.int64)
    rng = np.random.default_rng(0)
    anew = rng.random(len(labels)) < OVERLAP
    labels[anew] = rng.integers(0, 2, int(anew.sum()))
    return PublicTask(features=features, labels=labels, n_classes=2)


def _check_widths(widths: Sequence[int]) -> None:
    if len(widths) < FEWEST or sorted(set(widths)) != list(widths) or widths[0] < 1:
        raise ValueError(f"widths must be {FEWEST} or more, ascending, from 1.")


def _trained(task: PublicTask, width: int, trial: Trial) -> tuple[list[Layer], list[Layer]]:
    """Networks of a width, before and after."""
    streams = Streams(trial.seed).for_shadows("width check", range(trial.networks))
    rows = torch.as_tensor(task.features)
    targets = torch.eye(task.n_classes, dtype=rows.dtype)[torch.as_tensor(task.labels)]
    widths = (rows.shape[1], *(width for _ in range(trial.hidden)), task.n_classes)
    before = trial.rule.dense(widths, streams.generators("initial weights"), rows)
    real = np.ones((trial.networks, len(rows)), dtype=bool)
    index = torch.arange(len(rows)).expand(trial.networks, -1)
    orders = row_orders(real, trial.recipe.epochs, streams.generators("row order"))
    scales = trial.rule.dense_scales(trial.recipe, widths)
    examples = Examples(rows, targets, index, real)
    return before, train(before, examples, orders, trial.recipe, scales)


def _sizes(before: list[Layer], after: list[Layer], task: PublicTask) -> Floats:
    """By quantity, network and layer, (3, n, L)."""
    rows = torch.as_tensor(task.features)
    first, last = forward(before, rows)[1:], forward(after, rows)[1:]
    found = [
        [_rms(one) for one in last],
        [_rms(one - other) for one, other in zip(last, first, strict=True)],
        [_relative_norm(one.weight - b.weight) for one, b in zip(after, before, strict=True)],
    ]
    return np.stack([np.stack(one, axis=1) for one in found])


def _rms(outputs: torch.Tensor) -> Floats:
    found: Floats = outputs.square().mean(dim=(1, 2)).sqrt().numpy().astype(np.float64)
    return found


def _relative_norm(matrices: torch.Tensor) -> Floats:
    """The largest singular value over what the condition lets it be, (n,); NaN if not finite."""
    if not bool(matrices.isfinite().all()):
        return np.full(len(matrices), np.nan)
    largest: Floats = torch.linalg.matrix_norm(matrices, 2).numpy().astype(np.float64)
    return largest / multiplier(*matrices.shape[1:])


def _loss(task: PublicTask, width: int, trial: Trial) -> Floats:
    """Mean cross-entropy of every network after training, (n,)."""
    after = _trained(task, width, trial)[1]
    likely = torch.log_softmax(forward(after, torch.as_tensor(task.features))[-1], dim=2)
    own = likely[:, torch.arange(len(task.labels)), torch.as_tensor(task.labels)]
    loss: Floats = -own.mean(dim=1).numpy().astype(np.float64)
    return np.where(np.isfinite(loss), loss, np.inf)


def _lowest(rates: Sequence[float], losses: Floats) -> float:
    """The log2 rate of the least loss (R,), between rates by a parabola of log losses."""
    x, best = np.log2(rates), int(losses.argmin())
    if not 0 < best < len(x) - 1 or not np.isfinite(losses[best - 1 : best + 2]).all():
        return float(x[best])
    near = slice(best - 1, best + 2)
    curve, tilt, _ = np.polyfit(x[near], np.log(losses[near]), 2)
    return float(-tilt / (2 * curve)) if curve > 0 else float(x[best])


def _slope(widths: Sequence[int], values: Floats) -> Slope:
    """Of values (W, n) over log2 width, by least squares over all networks."""
    x = np.repeat(np.log2(widths), values.shape[1])
    fitted = stats.linregress(x, values.ravel())
    half = float(stats.t.ppf((1 + CONFIDENCE) / 2, len(x) - 2) * fitted.stderr)
    value = float(fitted.slope)
    return Slope(value=value, low=value - half, high=value + half)
