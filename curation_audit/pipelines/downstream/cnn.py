"""A small convolutional network on the picked images."""

import math
from dataclasses import dataclass
from functools import partial
from typing import ClassVar, Final

from curation_audit import checks
from curation_audit.checks import SettingError
from curation_audit.observations import Selection
from curation_audit.pipelines.base import FittedModels, Rows
from curation_audit.pipelines.downstream.networks import fit_networks, task_of
from curation_audit.streams import ShadowStreams
from curation_audit.training.cnn import ConvolutionalNetworks
from curation_audit.training.in_step import train_in_step
from curation_audit.training.mlp import WidthRule
from curation_audit.training.recipe import Recipe
from curation_audit.training.spectral import Parametrization

BASE_CHANNELS: Final = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class Cnn(Recipe):
    """3 x 3 convolutions, each with ReLU and 2 x 2 max-pooling, and a linear head.

    ``shape`` says how a row of features is an image: (height, width), or (channels, height,
    width), row by row in C order. ``channels`` are those after each convolution.
    ``parametrization: spectral`` makes ``learning_rate`` that of ``base_width`` channels after
    every convolution, which then serves any number of them.
    """

    name: ClassVar[str] = "cnn"
    shape: tuple[int, ...]
    channels: tuple[int, ...] = (16, 32)
    parametrization: Parametrization = "standard"
    base_width: int = BASE_CHANNELS
    device: str = "auto"

    def __post_init__(self) -> None:
        """Check the settings."""
        Recipe.__post_init__(self)
        if len(self.shape) not in (2, 3):
            raise SettingError(
                "train.shape",
                f"found {list(self.shape)}",
                "expected [height, width] or [channels, height, width]",
            )
        for size in self.shape:
            checks.positive(shape=size)
        if not self.channels:
            raise ValueError("channels must name one convolution or more.")
        for width in self.channels:
            checks.positive(channels=width)
        if min(self.shape[-2:]) < 2 ** len(self.channels):
            raise SettingError(
                "train.channels",
                f"found {len(self.channels)} halvings of images of {list(self.shape[-2:])}",
                "use fewer convolutions",
            )
        self.rule()

    def rule(self) -> WidthRule:
        """How initial weights and rates follow from the channels."""
        return WidthRule(parametrization=self.parametrization, base_width=self.base_width)

    @property
    def image(self) -> tuple[int, int, int]:
        """(channels, height, width)."""
        height, width = self.shape[-2:]
        return (self.shape[0] if len(self.shape) == 3 else 1, height, width)

    def check(self, pool: Rows) -> None:
        """Raise ``SettingError`` unless a row of the pool is an image of this shape."""
        n_features = pool.features.shape[1]
        if math.prod(self.shape) != n_features:
            raise SettingError(
                "train.shape",
                f"found {list(self.shape)}, which is {math.prod(self.shape)} numbers",
                f"expected a shape of the pool's {n_features} features",
            )

    def fit(
        self, pool: Rows, selection: Selection, n_classes: int, *, streams: ShadowStreams
    ) -> FittedModels:
        """All S networks in step."""
        self.check(pool)
        task = task_of(pool, selection, n_classes, self, self.device)
        networks = ConvolutionalNetworks(self.image, self.channels, n_classes, self.rule())
        generators = streams.generators("initial weights")
        initial = networks.initial(generators, task.examples.rows)
        train = partial(train_in_step, scales=networks.scales(self))
        return fit_networks(networks, initial, task, self, streams, train)
