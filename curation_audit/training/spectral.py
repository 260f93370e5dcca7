"""Spectral parametrisation: how initial weights, rates and decay follow from a layer's shape.

A layer of i inputs and o outputs keeps ``|W|`` and ``|dW|`` (largest singular values) of the order
of ``sqrt(o / i)``, so that activations and what a step does to them have a size that does not
depend on the width (Yang, Simon & Bernstein, arXiv:2310.17813). Rates are stated relative to a
base width: a network of that width trains as its recipe says, and a wider one by the same recipe.
A bias is a layer of one input. Everything here is arithmetic on shapes: public constants.
"""

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

from curation_audit import checks
from curation_audit.training.recipe import OptimiserName

Parametrization: TypeAlias = Literal["standard", "spectral"]
PARAMETRIZATIONS: Final[tuple[Parametrization, ...]] = ("standard", "spectral")
BASE_WIDTH: Final = 64
RELU_GAIN: Final = math.sqrt(2)
# Noise of DP-SGD has full rank, and the best rate falls slowly with the width. Fitted on one task
# (digits, three layers, noise multiplier 1), so a default to be fitted again, not a law.
DP_WIDTH_EXPONENT: Final = -0.25


@dataclass(frozen=True, slots=True)
class LayerShape:
    """A dense layer's number of inputs and of outputs."""

    inputs: int
    outputs: int

    def __post_init__(self) -> None:
        """Check the numbers."""
        checks.positive(inputs=self.inputs, outputs=self.outputs)

    @property
    def aspect(self) -> float:
        """``outputs / inputs``."""
        return self.outputs / self.inputs

    @property
    def bias(self) -> "LayerShape":
        """Of its bias."""
        return LayerShape(1, self.outputs)


@dataclass(frozen=True, slots=True, kw_only=True)
class Scale:
    """What multiplies a recipe's numbers at one parameter; ones change nothing, to the bit."""

    rate: float = 1.0
    decay: float = 1.0
    epsilon: float = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Depth:
    """A residual network ``h <- h + branch * F(h)`` of some blocks beside one of base depth.

    ``matrices``: how many a block multiplies in a row. Of two or more the branch is scaled by 1/L
    (arXiv:2603.00541, condition 3.1), of one by 1/sqrt(L) (condition B.1).
    """

    blocks: int
    base_blocks: int
    matrices: int = 2

    def __post_init__(self) -> None:
        """Check the numbers."""
        checks.positive(blocks=self.blocks, base_blocks=self.base_blocks, matrices=self.matrices)

    @property
    def branch(self) -> float:
        """By what a block's output is multiplied."""
        ratio = self.base_blocks / self.blocks
        return ratio if self.matrices > 1 else math.sqrt(ratio)

    def scale(self, optimiser: OptimiserName) -> Scale:
        """At the parameters of a block, beside their widths' own scale.

        A block of two matrices may move at full size, a block of one by the branch's factor. The
        gradient carries that factor, too: SGD divides by it, and what normalises does not see it.
        """
        moves = 1.0 if self.matrices > 1 else self.branch
        rate = moves / self.branch if optimiser == "sgd" else moves
        return Scale(rate=rate, decay=1 / rate, epsilon=self.branch)


def initial_sd(inputs: int, outputs: int) -> float:
    """The standard deviation of initial weights before a ReLU; of the readout, too."""
    return RELU_GAIN * min(1.0, math.sqrt(outputs / inputs)) / math.sqrt(inputs)


def step_size(optimiser: OptimiserName, shape: LayerShape) -> float:
    """The rate that moves a layer's outputs by the order of one, up to a constant.

    SGD's gradient has the size of ``sqrt(i / o)``; AdamW's steps have entries of one, and so a
    singular value of ``sqrt(i o)`` at the low rank that gradients have; Muon's have one of one.
    """
    return {
        "sgd": shape.aspect,
        "adamw": 1 / shape.inputs,
        "muon": math.sqrt(shape.aspect),
    }[optimiser]


def scale_of(optimiser: OptimiserName, shape: LayerShape, base: LayerShape) -> Scale:
    """Beside the same layer of the base network.

    Decay times rate stays what it is in the base network, so that weights decay alike at every
    width. Gradient entries fall like one over the outputs, and AdamW's epsilon with them.
    """
    rate = step_size(optimiser, shape) / step_size(optimiser, base)
    return Scale(rate=rate, decay=1 / rate, epsilon=base.outputs / shape.outputs)


def coordinate_scale_of(optimiser: OptimiserName, shape: LayerShape, base: LayerShape) -> Scale:
    """As ``scale_of``, at V of weights ``W = s V`` with the ``multiplier`` s.

    A step of V moves W by s of it, and the gradient at V is s times that at W. SGD's step holds
    both factors, so that its scale is one at every shape; the others normalise the second away.
    """
    own, s = scale_of(optimiser, shape, base), math.sqrt(shape.aspect / base.aspect)
    rate = own.rate / (s * s if optimiser == "sgd" else s)
    return Scale(rate=rate, decay=1 / rate, epsilon=own.epsilon * s)


def base_widths(widths: Sequence[int], base_width: int) -> tuple[int, ...]:
    """The base network's: the same inputs and outputs, hidden layers of the base width."""
    return (widths[0], *(base_width for _ in widths[1:-1]), widths[-1])


def dense_shapes(widths: Sequence[int]) -> list[LayerShape]:
    """Of layers ``widths[0] -> widths[1] -> ...``."""
    return [LayerShape(i, o) for i, o in itertools.pairwise(widths)]


def layer_scales(
    optimiser: OptimiserName, shapes: Sequence[LayerShape], bases: Sequence[LayerShape]
) -> tuple[Scale, ...]:
    """Of weight and bias of every layer in turn, beside the same layers of the base network."""
    return tuple(
        scale_of(optimiser, one, other)
        for shape, base in zip(shapes, bases, strict=True)
        for one, other in ((shape, base), (shape.bias, base.bias))
    )


def multiplier(inputs: int, outputs: int) -> float:
    """``s`` of weights ``W = s V``: SGD on V at one rate is the rule of SGD on W.

    A row's gradient at V has a norm that does not depend on the width, and is alike in all layers.
    """
    return math.sqrt(outputs / inputs)


def multipliers(widths: Sequence[int]) -> tuple[float, ...]:
    """Of weight and bias of every layer in turn."""
    return tuple(
        multiplier(*pair) for i, o in itertools.pairwise(widths) for pair in ((i, o), (1, o))
    )


def dp_rate(rate: float, width: int, base_width: int, exponent: float = DP_WIDTH_EXPONENT) -> float:
    """The rate of DP-SGD on V at a width, from the one that was tuned at the base width."""
    checks.positive(width=width, base_width=base_width)
    return rate * math.pow(width / base_width, exponent)
