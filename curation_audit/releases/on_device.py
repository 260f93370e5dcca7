"""Scores of a release by torch, on a GPU or wherever torch computes."""

import numpy as np
import torch

from curation_audit.releases.public_maps import MeanMap
from curation_audit.releases.release import Release
from curation_audit.types import Features, Floats

ROWS_AT_ONCE = 1 << 16


def scores_on(device: str, release: Release, features: Features) -> Floats:
    """``release.score(features)`` in float64 on a device, (rows, d) -> float64 (rows,).

    Equal up to rounding, not to the last bit: there sums are taken in another order. A release of
    votes, which is looked up rather than multiplied, is scored on the processor.
    """
    if not isinstance(release.map, MeanMap):
        return release.score(features)
    slopes = release.weights[: len(release.weights) - release.intercept]
    offset = float(release.weights[len(slopes) :].sum())
    of = release.map
    weights = slopes if of.root is None else of.root @ slopes
    if of.center is not None:
        offset -= float(of.center @ weights)
    shift, scale, vector = (
        torch.as_tensor(one, dtype=torch.float64, device=device)
        for one in (release.shift, release.scale, weights)
    )
    scores = np.empty(len(features))
    for at in range(0, len(features), ROWS_AT_ONCE):
        block = np.array(features[at : at + ROWS_AT_ONCE])  # torch takes no read-only arrays
        rows = (torch.as_tensor(block, device=device).double() - shift) / scale
        products = rows @ vector
        if of.metric == "cosine":
            length = rows.norm(dim=1)
            products = products / torch.where(length > 0, length, 1.0)
        scores[at : at + len(block)] = (products + offset).cpu().numpy()
    scores[~np.isfinite(scores)] = np.nan
    return scores
