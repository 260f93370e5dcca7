"""S differentially private networks at once: stacked weights, ghost clipping, Poisson batches.

One step of every shadow s, from the weights w (Abadi et al., arXiv:1607.00133, with public
negatives):

    g = (sum of clipped unit gradients + N(0, (noise_multiplier * clip)^2)) / expected_units
        + mean gradient of the public rows + l2 * w
    v = momentum * v + g;  w = w - learning_rate * v

The unit is what is clipped: all rows of one patient together. What depends on a shadow's units is
the clipped sum alone; sampling rate, batch of public rows and divisor are public constants, and an
empty batch is a step like any other. So each step is a Poisson-subsampled Gaussian of sensitivity
``clip`` under add/remove of a unit, and under zero-out.

Under the spectral parametrisation all of this happens to V, where weights are ``W = s V`` and every
s is a public number of the layer's shape: gradients of V are clipped and noised, at one clip norm
and one rate. The mechanism, its sensitivity and its accounting stay as they are; W is computed from
V. What changes is that the norms of gradients no longer grow with the width.
"""

import itertools
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from curation_audit import checks
from curation_audit.streams import ShadowStreams
from curation_audit.training.device import torch_dtype
from curation_audit.training.dp_batches import PaddedUnits, UnitTable
from curation_audit.training.dp_gradients import (
    Multipliers,
    UnitBatch,
    accumulate,
    clipped_flow,
    negatives_flow,
)
from curation_audit.training.dp_noise import SecretRandomness
from curation_audit.training.mlp import Layer, initial_layers
from curation_audit.training.poisson import poisson_batches
from curation_audit.training.spectral import (
    PARAMETRIZATIONS,
    Parametrization,
    initial_sd,
    multipliers,
)
from curation_audit.types import Features, Inclusion

__all__ = ["DpSgdSettings", "PaddedUnits", "SecretRandomness", "fit_dp_sgd"]

# Numbers that a step holds at once: on a CPU those that stay in a core's cache.
AT_ONCE = {"cpu": 1 << 19, "cuda": 1 << 27}
# ... but shared rows never come in smaller pieces
ROWS_AT_ONCE = 256


@dataclass(frozen=True, slots=True, kw_only=True)
class DpSgdSettings:
    """The public constants of a run.

    ``sampling_rate`` is each unit's probability to join a step, 1 for full batches;
    ``noise_multiplier`` counts in units of ``clip``, 0 clips without noise; ``expected_units`` is
    what sums are divided by, as a rule ``sampling_rate`` times the public number of units;
    ``public_batch`` rows of the pool enter a step, None for all; ``outputs`` is 1 for a scorer
    (one logit) or the number of classes; ``average`` returns the mean of the second half of the
    iterates. A network without ``hidden`` layers starts at zero and has no bias: give it a column
    of ones. ``parametrization``: what is trained, the weights or their spectral coordinates.
    """

    steps: int
    sampling_rate: float
    clip: float
    noise_multiplier: float
    expected_units: float
    learning_rate: float
    momentum: float = 0.0
    l2: float = 0.0
    hidden: tuple[int, ...] = ()
    outputs: int = 1
    public_batch: int | None = None
    average: bool = False
    parametrization: Parametrization = "standard"

    def __post_init__(self) -> None:
        """Check the ranges."""
        checks.positive(
            steps=self.steps,
            sampling_rate=self.sampling_rate,
            clip=self.clip,
            expected_units=self.expected_units,
            learning_rate=self.learning_rate,
            outputs=self.outputs,
            public_batch=1 if self.public_batch is None else self.public_batch,
            hidden=min(self.hidden, default=1),
        )
        if self.sampling_rate > 1:
            raise ValueError(f"sampling_rate must be at most 1, got {self.sampling_rate}.")
        if not 0 <= self.momentum < 1:
            raise ValueError(f"momentum must be in [0, 1), got {self.momentum}.")
        for name in ("noise_multiplier", "l2"):
            if not 0 <= getattr(self, name) < math.inf:
                raise ValueError(f"{name} must be finite and not negative.")
        if self.parametrization not in PARAMETRIZATIONS:
            raise ValueError(f"parametrization must be one of {', '.join(PARAMETRIZATIONS)}.")
        if self.parametrization == "spectral" and not self.hidden:
            raise ValueError("parametrization: spectral needs hidden layers.")

    @property
    def last_noise(self) -> float:
        """The standard deviation of the last step's noise on each weight that is returned.

        Raises:
            ValueError: under the spectral parametrisation, where layers differ in it.
        """
        if self.parametrization == "spectral":
            raise ValueError("under parametrization: spectral every layer has noise of its own.")
        return self.learning_rate * self.noise_of_step / self.n_averaged

    @property
    def noise_of_step(self) -> float:
        """The standard deviation of the noise on each coordinate of a step's gradient."""
        return self.noise_multiplier * self.clip / self.expected_units

    @property
    def n_averaged(self) -> int:
        """Of how many iterates, the last ones, the mean is returned."""
        return (self.steps + 1) // 2 if self.average else 1

    def widths(self, n_features: int) -> tuple[int, ...]:
        """The width of every layer, the input's first."""
        return (n_features, *self.hidden, self.outputs)

    def multipliers(self, n_features: int) -> Multipliers | None:
        """The numbers s of ``W = s V``, of weight and bias by layer; ``None`` where s is one."""
        if self.parametrization == "standard":
            return None
        flat = multipliers(self.widths(n_features))
        return list(zip(flat[::2], flat[1::2], strict=True))


@dataclass(frozen=True, slots=True)
class _Part:
    """Some shadows, which a step takes at once: views of their weights and velocities."""

    shadows: slice
    layers: list[Layer]
    moving: list[Layer]


def fit_dp_sgd(
    units: PaddedUnits,
    held: Inclusion,
    public: Features,
    settings: DpSgdSettings,
    *,
    streams: ShadowStreams,
    device: torch.device,
    secret: SecretRandomness | None = None,
    start: Sequence[Layer] | None = None,
) -> list[Layer]:
    """Train S networks on the units that each holds, against public rows of target 0.

    Args:
        units: the N private units; where there are no labels their target is 1.
        held: bool (S, N); units left out are masked to zero and change no constant.
        public: (m, p), finite; m = 0 for none.
        settings: public constants.
        streams: initial weights by shadow, and batches of public rows, which all shadows share.
        device: where to compute.
        secret: sampling and noise; by default the shadows' streams.
        start: weights (S, i, o) and biases to begin with, public or released before; by default
            those of the streams. A single layer has a bias of zero.

    Returns:
        Stacked layers; ``mlp.forward(layers, rows)[-1]`` are their logits (S, rows, outputs).
    """
    _check(units, held, public, settings, streams)
    secret = secret or SecretRandomness.of_streams(streams, device)
    pool = torch.as_tensor(public, dtype=torch_dtype(units.features), device=device)
    widths = settings.widths(pool.shape[1])
    seen = _initial(settings, streams, pool) if start is None else _flat(start, widths, pool)
    spread = _spread(settings, pool)
    weights = seen if spread is None else seen / spread
    velocity, noise, total = (torch.zeros_like(weights) for _ in range(3))
    parts = _parts(seen, velocity, units, settings)
    batches = _batches(UnitTable.of_units(units, device), held, settings, secret, parts)
    negatives = _public_rows(pool, settings, streams)
    for step, (private, rows) in enumerate(zip(batches, negatives, strict=True)):
        velocity.mul_(settings.momentum)
        if settings.noise_multiplier:
            secret.noise.fill(noise)
            velocity.add_(noise, alpha=settings.noise_of_step)
        for part, pieces in zip(parts, private, strict=True):
            _add_gradients(part, pieces, rows, settings)
        velocity.add_(weights, alpha=settings.l2)
        weights.add_(velocity, alpha=-settings.learning_rate)
        if spread is not None:
            torch.mul(weights, spread, out=seen)
        if settings.average and step >= settings.steps - settings.n_averaged:
            total.add_(seen, alpha=1 / settings.n_averaged)
    return _as_layers(total if settings.average else seen, widths)


def _add_gradients(
    part: _Part, private: Iterable[UnitBatch], public: Tensor, settings: DpSgdSettings
) -> None:
    """Add what the rows of a step ask of some shadows to their velocities."""
    by = settings.multipliers(part.layers[0].weight.shape[1])
    for batch in private:
        flow = clipped_flow(part.layers, batch, settings.clip, by)
        accumulate(part.moving, flow, 1 / settings.expected_units, by)
    n_rows, width = len(public), len(part.layers[0].weight) * sum(settings.widths(0))
    size = max(ROWS_AT_ONCE, AT_ONCE[public.device.type] // width)
    for start in range(0, n_rows, size):
        flow = negatives_flow(part.layers, public[start : start + size])
        accumulate(part.moving, flow, 1 / n_rows, by)


def _parts(
    weights: Tensor, velocity: Tensor, units: PaddedUnits, settings: DpSgdSettings
) -> list[_Part]:
    """The shadows in parts."""
    n_units, per_unit, p = units.features.shape
    if settings.sampling_rate == 1:  # rows are shared, and come in pieces
        per_shadow = min(n_units, ROWS_AT_ONCE) * per_unit * sum(settings.widths(0))
    else:
        per_shadow = settings.sampling_rate * n_units * per_unit * sum(settings.widths(p))
    size = max(1, int(AT_ONCE[weights.device.type] / max(1, per_shadow)))
    slices = [slice(i, i + size) for i in range(0, len(weights), size)]
    widths = settings.widths(p)
    return [
        _Part(some, _as_layers(weights[some], widths), _as_layers(velocity[some], widths))
        for some in slices
    ]


def _as_layers(flat: Tensor, widths: tuple[int, ...]) -> list[Layer]:
    """Views of (S, P) as layers; a network of one layer has a bias of zero that is not in P.

    A weight lies transposed in memory, so that products with few outputs are fast.
    """
    layers: list[Layer] = []
    start = 0
    for i, o in itertools.pairwise(widths):
        weight = flat[:, start : start + i * o].view(-1, o, i).mT
        start += i * o
        if len(widths) == 2:
            return [Layer(weight, flat.new_zeros((len(flat), 1, o)))]
        layers.append(Layer(weight, flat[:, None, start : start + o]))
        start += o
    return layers


def _spread(settings: DpSgdSettings, pool: Tensor) -> Tensor | None:
    """The multiplier of every number of a network, (P,), or ``None``."""
    n_features = pool.shape[1]
    by = settings.multipliers(n_features)
    if by is None:
        return None
    shapes = itertools.pairwise(settings.widths(n_features))
    parts = [
        pool.new_full((size,), s)
        for (i, o), (of_weight, of_bias) in zip(shapes, by, strict=True)
        for size, s in ((i * o, of_weight), (o, of_bias))
    ]
    return torch.cat(parts)


def _initial(settings: DpSgdSettings, streams: ShadowStreams, like: Tensor) -> Tensor:
    """Initial weights (S, P): zero without hidden layers, else normal with biases of zero.

    The readout, too: a clip norm for all layers together wants gradients at all of them.
    """
    widths, n_shadows = settings.widths(like.shape[1]), len(streams.shadows)
    if len(widths) == 2:
        return like.new_zeros((n_shadows, widths[0] * widths[1]))
    spectral = settings.parametrization == "spectral"
    sds = [initial_sd(*pair) for pair in itertools.pairwise(widths)] if spectral else None
    layers = initial_layers(widths, streams.generators("dp_sgd/weights"), like, sds)
    return _flat(layers, widths, like)


def _flat(layers: Sequence[Layer], widths: tuple[int, ...], like: Tensor) -> Tensor:
    """The inverse of ``_as_layers``, a copy (S, P) of the kind of ``like``."""
    shapes = [tuple(layer.weight.shape[1:]) for layer in layers]
    if shapes != list(itertools.pairwise(widths)):
        raise ValueError(f"start must have layers of {list(itertools.pairwise(widths))}: {shapes}.")
    parts = [part.mT.flatten(1) for layer in layers for part in (layer.weight, layer.bias)]
    if len(layers) == 1:
        parts = parts[:1]
    return torch.cat(parts, dim=1).to(like, copy=True)


def _batches(
    table: UnitTable,
    held: Inclusion,
    settings: DpSgdSettings,
    secret: SecretRandomness,
    parts: list[_Part],
) -> Iterator[list[Iterable[UnitBatch]]]:
    """The private batches of every step, for every part those of its shadows."""
    if settings.sampling_rate == 1:
        width = table.features.shape[1] * sum(settings.widths(0))
        size = AT_ONCE[table.features.device.type] // width
        everyone = [
            list(table.everyone(held[one.shadows], max(1, size // len(one.layers[0].weight))))
            for one in parts
        ]
        yield from itertools.repeat(everyone, settings.steps)
        return
    sampled = poisson_batches(held, settings.sampling_rate, settings.steps, secret.sampling)
    for chosen, real in sampled:
        # a batch is made when its turn comes, and is gone before the next
        yield [
            (table.sampled(c, r) for c, r in [(chosen[one.shadows], real[one.shadows])])
            for one in parts
        ]


def _public_rows(pool: Tensor, settings: DpSgdSettings, streams: ShadowStreams) -> Iterator[Tensor]:
    """The public rows of every step, the same for all shadows and for the real curation."""
    if settings.public_batch is None or settings.public_batch >= len(pool):
        yield from itertools.repeat(pool, settings.steps)
        return
    generator = streams.root.generator("dp_sgd/public")
    for _ in range(settings.steps):
        chosen = generator.choice(len(pool), settings.public_batch, replace=False)
        yield pool[torch.as_tensor(chosen, device=pool.device)]


def _check(
    units: PaddedUnits,
    held: Inclusion,
    public: Features,
    settings: DpSgdSettings,
    streams: ShadowStreams,
) -> None:
    """Raise ``ValueError`` where shapes do not fit, or what is public is not finite."""
    n_units, per_unit, p = units.features.shape
    if units.present.shape != (n_units, per_unit):
        raise ValueError("units.features and units.present must be of the same units.")
    if held.dtype != bool or held.shape != (len(streams.shadows), n_units):
        raise ValueError(f"held must be bool ({len(streams.shadows)}, {n_units}).")
    if public.ndim != 2 or public.shape[1] != p or not np.isfinite(public).all():
        raise ValueError(f"public must be finite rows of {p} features.")
    if (units.labels is None) != (settings.outputs == 1):
        raise ValueError("labels go with several outputs, and no labels with one.")
