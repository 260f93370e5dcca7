"""The picked rows of S shadows as stacked tensors."""

from dataclasses import dataclass

import torch
from torch import Tensor

from curation_audit.observations import Selection
from curation_audit.pipelines.base import Rows
from curation_audit.training.device import resolve_device, torch_dtype
from curation_audit.types import Mask


@dataclass(frozen=True, slots=True)
class StackedRows:
    """Rows (S, k_max, d), one-hot labels (S, k_max, C) and which entries are real."""

    features: Tensor
    targets: Tensor
    real: Mask


def stack_picked(pool: Rows, selection: Selection, n_classes: int, device: str) -> StackedRows:
    """Gather every shadow's picked rows; padding repeats row 0 and is not real.

    Raises:
        ValueError: if the pool has no labels.
    """
    if pool.labels is None:
        raise ValueError("a downstream model needs labels of the pool.")
    indices, real = selection.padded()
    place = resolve_device(device)
    features = torch.as_tensor(pool.features, device=place)
    labels = torch.as_tensor(pool.labels, device=place)
    gather = torch.as_tensor(indices, device=place)
    targets = torch.nn.functional.one_hot(labels[gather], n_classes)
    return StackedRows(features[gather], targets.to(torch_dtype(pool.features)), real)
