"""A trained module for real: its parameters, and who may have them."""

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from curation_audit.checks import InputError
from curation_audit.dp.module_sgd import check_module
from curation_audit.dp.noise import on_grid
from curation_audit.dp.tiers import HARDENED, ROUNDED, Tier
from curation_audit.pipelines.base import CurationData
from curation_audit.pipelines.protection.secret_noise import operating_system
from curation_audit.pipelines.scorers.private_module import PrivateModule
from curation_audit.releases.module_map import ModuleMap, flat_parameters, in_float64, numbers_of
from curation_audit.streams import Streams
from curation_audit.types import Floats, Mask

if TYPE_CHECKING:
    from torch import nn

PLACE = "curate.protect.module"


def module_tier(scorer: PrivateModule, d: int) -> Tier:
    """By the bits in which noise is added: those of the parameters of a module of d features."""
    return HARDENED if in_float64(scorer.fresh(d)) else ROUNDED


def check_module_release(scorer: PrivateModule, data: CurationData) -> None:
    """Refuse a module without a release, before anything is booked.

    Raises:
        InputError: for a function that no file can name, or what private training cannot take.
    """
    if scorer.entry_point is None:
        raise InputError(
            PLACE,
            "is a function, and the file of a release holds no code",
            "offer it as an entry point of curation_audit.modules, and give its name",
        )
    module = replace(scorer, device="cpu").fresh(data.pool.features.shape[1])
    check_module(module, data.pool.features.astype(numbers_of(module)))


def module_weights(scorer: PrivateModule, data: CurationData) -> tuple[ModuleMap, Floats]:
    """Train once for real; how to score, and all parameters, float64 (p,).

    Trained parameters are rounded as other releases are, to a grid far finer than the noise of the
    last step. Parameters that are not trained are those of a fresh module, whatever training did to
    them; buffers stay behind.
    """
    if scorer.entry_point is None:
        raise ValueError("a module without a name cannot be released.")
    of, private = replace(scorer, device="cpu"), data.private
    trained = of.fit_units(
        private,
        np.ones(private.n_units, dtype=bool),
        data.pool,
        secret=operating_system(),
        draws=Streams(0).generator("module_sgd/public"),
    )
    d = data.pool.features.shape[1]
    fresh, noisy = of.fresh(d), on_grid(flat_parameters(trained), scorer.settings.last_noise)
    weights = np.where(_is_trained(fresh), noisy, flat_parameters(fresh))
    return ModuleMap.of_weights(scorer.entry_point, fresh, weights, d), weights


def _is_trained(module: "nn.Module") -> Mask:
    """Which of the flat parameters training changes, bool (p,)."""
    return np.concatenate([np.full(one.numel(), one.requires_grad) for one in module.parameters()])
