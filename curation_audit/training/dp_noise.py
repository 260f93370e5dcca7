"""Randomness that must stay secret: the noise, and who joins a step."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from curation_audit.streams import ShadowStreams
from curation_audit.training.poisson import UniformSource


class NoiseSource(Protocol):
    """Where the noise of S shadows comes from."""

    def fill(self, out: Tensor) -> None:
        """Fill (S, P), a row for each shadow, with independent standard normal draws."""


@dataclass(frozen=True, slots=True)
class TorchNoise:
    """A torch generator for each shadow: fast, for shadows only.

    torch seeds its CPU generator by 32 bits, and its float32 normals end at 5.8 standard
    deviations; neither is fit for a release.
    """

    generators: tuple[torch.Generator, ...]

    @classmethod
    def of_streams(
        cls, generators: Sequence[np.random.Generator], device: torch.device
    ) -> "TorchNoise":
        """Seeded by the shadows' own streams."""
        seeds = [int(generator.integers(1 << 32)) for generator in generators]
        return cls(tuple(torch.Generator(device).manual_seed(seed) for seed in seeds))

    def fill(self, out: Tensor) -> None:
        """Fill every shadow's row from its own generator."""
        for row, generator in zip(out, self.generators, strict=True):
            row.normal_(generator=generator)


@dataclass(frozen=True, slots=True)
class ArrayNoise:
    """Noise by a function from a shape to an array, e.g. a source for releases."""

    draw: Callable[[tuple[int, ...]], np.ndarray]

    def fill(self, out: Tensor) -> None:
        """Fill with what the function draws."""
        out.copy_(torch.as_tensor(self.draw(tuple(out.shape))))


@dataclass(frozen=True, slots=True)
class SecretRandomness:
    """The noise, and for each shadow a source of the coins that say who joins.

    Shadows take both from their streams; a release takes them from the operating system.
    """

    sampling: Sequence[UniformSource]
    noise: NoiseSource

    @classmethod
    def of_streams(cls, streams: ShadowStreams, device: torch.device) -> "SecretRandomness":
        """The shadows' own, reproducible."""
        noise = TorchNoise.of_streams(streams.generators("dp_sgd/noise"), device)
        return cls(streams.generators("dp_sgd/sampling"), noise)
