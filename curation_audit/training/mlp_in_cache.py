"""Perceptrons on a CPU: a few networks at a time, so that all that a step touches stays in cache.

The steps are those of ``train_in_step``, with everything in place. A batch is one network's own,
of its own size, and so is every product: a network ends up the same to the bit, whatever else is
trained beside it (with as many BLAS threads; an audit has one). Inputs carry a one, so that a bias
is the last row of its weights; but the last layer works on classes by rows, of which sums over the
classes are fast, and has its bias beside.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from curation_audit.training.recipe import Recipe
from curation_audit.training.spectral import Scale
from curation_audit.types import Features, Indices

BYTES_IN_CACHE: Final = 2**21
MOST_NETWORKS: Final = 16


@dataclass(frozen=True, slots=True)
class Dense:
    """One layer of S networks: weight (S, i, o) and bias (S, 1, o)."""

    weight: Features
    bias: Features


@dataclass(frozen=True, slots=True)
class SharedRows:
    """What S networks learn from.

    ``features`` (m, d) and one-hot ``targets`` (m, C) are shared; ``place`` int64 (S, k_max) says
    which of them are each network's, the first ``sizes[s]`` in the order of an epoch.
    """

    features: Features
    targets: Features
    place: Indices
    sizes: Indices


def train_in_cache(
    layers: Sequence[Dense],
    rows: SharedRows,
    orders: Indices,
    recipe: Recipe,
    scales: Sequence[Scale] | None = None,
) -> list[Dense]:
    """Train all networks.

    Args:
        layers: initial ones.
        rows: of all networks, in the layers' dtype.
        orders: int64 (epochs, S, k_max): each network's order of its rows, by epoch; what does
            not count comes last.
        recipe: batches, optimiser (sgd or adamw) and learning rates. It is not stopped early.
        scales: of weights and biases in turn, as for ``train_in_step``.
    """
    if rows.place.size and not 0 <= rows.place.min() <= rows.place.max() < len(rows.features):
        raise ValueError(f"place must be within the {len(rows.features)} rows.")
    features, targets = rows.features, np.ascontiguousarray(rows.targets.T)
    if len(layers) > 1:
        features = np.concatenate([features, np.ones_like(features[:, :1])], axis=1)
    trained = [Dense(np.empty_like(one.weight), np.empty_like(one.bias)) for one in layers]
    # those with more rows first: whoever has a batch stands at the front, equal sizes together
    by_size = np.argsort(-rows.sizes, kind="stable")
    n_together = networks_in_cache(layers)
    for at in range(0, len(by_size), n_together):
        mine = by_size[at : at + n_together]
        few = _Few(
            [Dense(one.weight[mine], one.bias[mine]) for one in layers],
            recipe,
            scales,
            most=min(recipe.batch_size, int(rows.sizes[mine].max())),
        )
        with np.errstate(over="ignore", invalid="ignore"):  # training that diverges ends in NaN
            for epoch, order in enumerate(orders):
                places = np.take_along_axis(rows.place[mine], order[mine], axis=1)
                for who, batch in batches(places, rows.sizes[mine], recipe.batch_size):
                    few.step(who, features, targets, batch, recipe.rate(epoch))
        for whole, one in zip(trained, few.layers(), strict=True):
            whole.weight[mine], whole.bias[mine] = one.weight, one.bias
    return trained


def networks_in_cache(layers: Sequence[Dense]) -> int:
    """How many networks fit, with as much again for gradients and for momentum.

    What is left of a core's share of the caches is for activations; AdamW has more to keep.
    """
    each = 3 * sum(one.weight[0].nbytes + one.bias[0].nbytes for one in layers)
    return int(np.clip(BYTES_IN_CACHE // max(1, each), 1, MOST_NETWORKS))


def batches(places: Indices, sizes: Indices, most: int) -> Iterator[tuple[slice, Indices]]:
    """Which networks take a step, and on which rows (n, b): full batches, then what is left.

    Args:
        places: each network's rows in order, (n, k_max).
        sizes: how many of them count, (n,), descending.
        most: rows of a full batch.
    """
    n_full = sizes // most
    for k in range(int(n_full.max(initial=0))):
        awake = int((n_full > k).sum())
        yield slice(0, awake), places[:awake, k * most : (k + 1) * most]
    for size in np.unique(sizes):
        begin = size // most * most
        if begin < size:
            who = slice(*np.searchsorted(-sizes, [-size, 1 - size]))
            yield who, places[who, begin:size]


class _Few:
    """Some networks, the state of their optimisers, and room for all that a step computes.

    ``inner`` are weights (n, i + 1, o) with the bias last, ``last`` (n, C, i), ``bias`` (n, C, 1).
    """

    def __init__(
        self, layers: Sequence[Dense], recipe: Recipe, scales: Sequence[Scale] | None, most: int
    ) -> None:
        *inner, last = layers
        self.inner = [np.concatenate([one.weight, one.bias], axis=1) for one in inner]
        self.last = np.ascontiguousarray(last.weight.transpose(0, 2, 1))
        self.bias = np.ascontiguousarray(last.bias.transpose(0, 2, 1))
        self.parameters = [*self.inner, self.last, self.bias]
        self.gradients = [np.empty_like(one) for one in self.parameters]
        kind = _Momentum if recipe.optimiser == "sgd" else _AdamW
        inputs = [one.shape[1] - 1 for one in self.inner]
        factors = None if scales is None else _factors(scales, inputs, self.last.dtype)
        self.optimiser = kind(recipe, self.parameters, factors)
        shape, like = (len(self.last), most), self.last.dtype
        # with their ones, but for what enters the last layer
        self.inputs = [np.ones((*shape, one.shape[1]), like) for one in self.inner]
        self.inputs.append(np.ones((*shape, self.last.shape[2]), like))
        self.deltas = [np.empty((*shape, one.shape[2]), like) for one in self.inner]
        # the largest of two arrays is several times as fast as that of an array and a number
        self.zeros = np.zeros((*shape, max([one.shape[2] for one in self.inner], default=0)), like)
        self.logits = np.empty((shape[0], self.last.shape[1], shape[1]), like)
        self.wanted = np.empty((self.last.shape[1], *shape), like)

    def layers(self) -> list[Dense]:
        """As they are now."""
        inner = [Dense(one[:, :-1], one[:, -1:]) for one in self.inner]
        return [*inner, Dense(self.last.transpose(0, 2, 1), self.bias.transpose(0, 2, 1))]

    def step(
        self, who: slice, features: Features, targets: Features, batch: Indices, rate: float
    ) -> None:
        """One step of some networks on rows (n, b) each; features (m, d), targets (C, m)."""
        b = batch.shape[1]
        inputs = [one[who, :b] for one in self.inputs]
        np.take(features, batch, axis=0, out=inputs[0], mode="clip")
        for weight, entering, leaving in zip(self.inner, inputs, inputs[1:], strict=False):
            out = leaving[:, :, : weight.shape[2]]
            np.matmul(entering, weight[who], out=out)
            np.maximum(out, self.zeros[: out.shape[0], :b, : out.shape[2]], out=out)
        slope = self._slope_of_logits(who, inputs[-1], targets, batch)
        slope *= self.optimiser.scale(rate) / b
        self._gradients(who, inputs, slope)
        self.optimiser.step(who, self.parameters, self.gradients, rate)

    def _slope_of_logits(
        self, who: slice, entering: Features, targets: Features, batch: Indices
    ) -> Features:
        """``softmax - target``, (n, C, b)."""
        slope: Features = self.logits[who, :, : batch.shape[1]]
        np.matmul(self.last[who], entering.transpose(0, 2, 1), out=slope)
        slope += self.bias[who]
        slope -= slope.max(axis=1, keepdims=True)
        np.exp(slope, out=slope)
        slope /= slope.sum(axis=1, keepdims=True)
        wanted = self.wanted[:, who, : batch.shape[1]]
        np.take(targets, batch, axis=1, out=wanted, mode="clip")
        slope -= wanted.transpose(1, 0, 2)
        return slope

    def _gradients(self, who: slice, inputs: list[Features], slope: Features) -> None:
        """From the slope at the logits, (n, C, b), back to the first layer."""
        found, b = [one[who] for one in self.gradients], slope.shape[2]
        np.matmul(slope, inputs[-1], out=found[-2])
        np.sum(slope, axis=2, keepdims=True, out=found[-1])
        for i in range(len(self.inner) - 1, -1, -1):
            delta = self.deltas[i][who, :b]
            if i + 1 == len(self.inner):
                np.matmul(slope.transpose(0, 2, 1), self.last[who], out=delta)
            else:
                weight = self.inner[i + 1][who, :-1]
                np.matmul(self.deltas[i + 1][who, :b], weight.transpose(0, 2, 1), out=delta)
            delta *= inputs[i + 1][:, :, : delta.shape[2]] > 0
            np.matmul(inputs[i].transpose(0, 2, 1), delta, out=found[i])


@dataclass(frozen=True, slots=True)
class _Factors:
    """Scales beside the parameters of ``_Few``: columns (i + 1, 1) or (1, 1); decay with its rate.

    Ones change nothing, to the bit.
    """

    rate: list[Features]
    decay: list[Features]
    epsilon: list[Features]


def _factors(scales: Sequence[Scale], inputs: list[int], like: np.dtype) -> _Factors:
    """Of weights and biases in turn; inner layers of ``inputs`` hold their bias as a last row."""

    def beside(numbers: list[float]) -> list[Features]:
        pairs = zip(numbers[:-2:2], numbers[1:-2:2], inputs, strict=True)
        inner = [np.array([[weight]] * i + [[bias]], like) for weight, bias, i in pairs]
        return [*inner, *(np.array([[one]], like) for one in numbers[-2:])]

    return _Factors(
        beside([one.rate for one in scales]),
        beside([one.rate * one.decay for one in scales]),
        beside([one.epsilon for one in scales]),
    )


class _Momentum:
    """As ``optimisers.MomentumSgd``; the velocity is kept times the rate, which saves a pass.

    ``scale`` comes before every ``step``, with its rate: a new rate rescales the velocity.
    """

    def __init__(
        self, recipe: Recipe, parameters: list[Features], factors: _Factors | None
    ) -> None:
        self.recipe, self.rate, self.factors = recipe, recipe.rate(0), factors
        self.velocity = [np.zeros_like(one) for one in parameters]
        self.room = [np.empty_like(one) for one in parameters] if recipe.weight_decay else None

    def scale(self, rate: float) -> float:
        """By what gradients are to be multiplied."""
        if rate != self.rate:
            for velocity in self.velocity:
                velocity *= rate / self.rate
            self.rate = rate
        return rate

    def step(
        self, who: slice, parameters: list[Features], gradients: list[Features], rate: float
    ) -> None:
        """Move some networks, in place."""
        decay = None if self.factors is None else self.factors.decay
        for i, (whole, gradient) in enumerate(zip(parameters, gradients, strict=True)):
            velocity, weight = self.velocity[i][who], whole[who]
            velocity *= self.recipe.momentum
            if self.factors is not None:
                gradient[who] *= self.factors.rate[i]
            velocity += gradient[who]
            if self.room is not None:
                room, own = self.room[i][who], rate * self.recipe.weight_decay
                np.multiply(weight, own if decay is None else own * decay[i], out=room)
                velocity += room
            weight -= velocity


class _AdamW:
    """As ``optimisers.AdamW``."""

    def __init__(
        self, recipe: Recipe, parameters: list[Features], factors: _Factors | None
    ) -> None:
        self.recipe, like = recipe, parameters[0].dtype
        ones = [np.ones((1, 1), like)] * len(parameters)
        self.factors = factors or _Factors(ones, ones, ones)
        self.mean, self.square, self.room = (
            [np.zeros_like(one) for one in parameters] for _ in range(3)
        )
        self.n_steps = np.zeros((len(parameters[0]), 1, 1), dtype=np.int64)

    def scale(self, rate: float) -> float:
        """By what gradients are to be multiplied."""
        return 1.0

    def step(
        self, who: slice, parameters: list[Features], gradients: list[Features], rate: float
    ) -> None:
        """Move some networks, in place."""
        (beta_1, beta_2), recipe, factors = self.recipe.betas, self.recipe, self.factors
        self.n_steps[who] += 1
        like = parameters[0].dtype
        of_mean = (rate / (1 - beta_1 ** self.n_steps[who])).astype(like)
        of_square = (1 / np.sqrt(1 - beta_2 ** self.n_steps[who])).astype(like)
        for i, (whole, gradients_of_all) in enumerate(zip(parameters, gradients, strict=True)):
            weight, gradient = whole[who], gradients_of_all[who]
            mean, square, room = self.mean[i][who], self.square[i][who], self.room[i][who]
            mean *= beta_1
            np.multiply(gradient, 1 - beta_1, out=room)
            mean += room
            square *= beta_2
            gradient *= gradient
            gradient *= 1 - beta_2
            square += gradient
            np.sqrt(square, out=room)
            room *= of_square
            room += recipe.epsilon * factors.epsilon[i]
            np.divide(mean, room, out=room)
            room *= of_mean * factors.rate[i]
            if recipe.weight_decay:
                weight *= 1 - rate * recipe.weight_decay * factors.decay[i]
            weight -= room
