"""Private units as padded rows, and the batches that a step takes of them."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from curation_audit.training.dp_gradients import UnitBatch, unit_products
from curation_audit.types import Features, Inclusion, Indices, Labels, Mask

UNITS_PER_PIECE = 1024


@dataclass(frozen=True, slots=True)
class PaddedUnits:
    """N private units of up to U rows each.

    Shapes: ``features`` (N, U, p), float32 or float64, which is what all is computed in;
    ``present`` bool (N, U), False for padding; ``labels`` int64 (N, U) for networks of several
    outputs.
    """

    features: Features
    present: Mask
    labels: Labels | None = None

    @classmethod
    def of_rows(
        cls,
        features: Features,
        unit: np.ndarray | None = None,
        n_units: int | None = None,
        labels: Labels | None = None,
    ) -> "PaddedUnits":
        """Units of rows (n, p), ``unit`` int (n,) saying whose each is; one row each by default."""
        if unit is None:
            own = None if labels is None else labels[:, None]
            return cls(features[:, None], np.ones((len(features), 1), bool), own)
        counts = np.bincount(unit, minlength=n_units or 0)
        order = np.argsort(unit, kind="stable")
        rank = np.arange(len(unit)) - np.repeat(np.cumsum(counts) - counts, counts)
        shape = (len(counts), max(1, int(counts.max(initial=0))), features.shape[1])
        padded = np.zeros(shape, features.dtype)
        padded[unit[order], rank] = features[order]
        coded = None
        if labels is not None:
            coded = np.zeros(shape[:2], np.int64)
            coded[unit[order], rank] = labels[order]
        return cls(padded, np.arange(shape[1]) < counts[:, None], coded)


@dataclass(frozen=True, slots=True)
class UnitTable:
    """The units on the device, with the inner products of each unit's rows."""

    features: Tensor
    present: Tensor
    labels: Tensor | None
    products: Tensor

    @classmethod
    def of_units(cls, units: PaddedUnits, device: torch.device) -> "UnitTable":
        """What is absent becomes zero, as its unit may be trained on."""
        features = units.features
        if not units.present.all():
            features = np.where(units.present[..., None], features, 0)
        rows = torch.as_tensor(features, device=device)
        products = [
            unit_products(rows[i : i + UNITS_PER_PIECE])
            for i in range(0, max(1, len(rows)), UNITS_PER_PIECE)
        ]
        return cls(
            rows,
            torch.as_tensor(units.present, device=device),
            None if units.labels is None else torch.as_tensor(units.labels, device=device),
            torch.cat(products),
        )

    def sampled(self, chosen: Indices, real: Mask) -> UnitBatch:
        """The units of one step, int64 (S, b); padding, at the end of each row, does not count."""
        size = int(real.sum(axis=1).max(initial=0))
        device = self.features.device
        index = torch.as_tensor(chosen[:, :size], device=device)
        counted = _taken(self.present, index)
        counted &= torch.as_tensor(real[:, :size, None], device=device)
        labels = None if self.labels is None else _taken(self.labels, index)
        return UnitBatch(
            _taken(self.features, index), counted, labels, _taken(self.products, index)
        )

    def everyone(self, held: Inclusion, at_once: int) -> Iterator[UnitBatch]:
        """All units, held bool (S, N), in pieces of some units that the shadows share."""
        counted = torch.as_tensor(held, device=self.present.device)[..., None] & self.present
        for i in range(0, held.shape[1], at_once):
            some = slice(i, i + at_once)
            labels = None if self.labels is None else self.labels[None, some]
            yield UnitBatch(
                self.features[None, some], counted[:, some], labels, self.products[None, some]
            )


def _taken(values: Tensor, index: Tensor) -> Tensor:
    """(N, ...) at int64 (S, b): (S, b, ...). Plain indexing takes six times as long on a CPU."""
    return values.index_select(0, index.flatten()).reshape(*index.shape, *values.shape[1:])
