"""The spectral parametrisation for torch modules of one's own: a layer, and parameter groups.

Two ways that must not be mixed. ``SpectralLinear`` trains V of ``W = s V``: plain SGD and DP-SGD at
one rate are then right at every width, and no optimiser has to know. ``parameter_groups`` leaves
the modules as they are and gives every parameter a rate of its own.
"""

import itertools
from typing import Any

import torch
from torch import Tensor, nn

from curation_audit.training.recipe import OptimiserName, Recipe
from curation_audit.training.spectral import LayerShape, Scale, initial_sd, multiplier, scale_of


class SpectralLinear(nn.Linear):
    """A dense layer of weights ``s V`` and biases ``s' v``, with s of its shape (public numbers).

    For SGD, with momentum or without, and for DP-SGD; ``weight`` and ``bias`` are V and v. Initial
    biases are zero, and the layer's outputs are of the order of one for inputs that are.
    """

    def reset_parameters(self) -> None:
        """Draw V anew, from torch's own generator."""
        sd = initial_sd(self.in_features, self.out_features)
        nn.init.normal_(self.weight, std=sd / multiplier(self.in_features, self.out_features))
        if self.bias is not None:
            nn.init.zeros_(self.bias)

    def forward(self, rows: Tensor) -> Tensor:
        """(..., i) -> (..., o)."""
        scale = multiplier(self.in_features, self.out_features)
        bias = None if self.bias is None else self.bias * multiplier(1, self.out_features)
        return nn.functional.linear(rows * scale, self.weight, bias)


def spectral_mlp(widths: tuple[int, ...]) -> nn.Sequential:
    """A ReLU network of ``SpectralLinear`` layers ``widths[0] -> widths[1] -> ...``."""
    layers: list[nn.Module] = []
    for i, o in itertools.pairwise(widths):
        layers += [SpectralLinear(i, o), nn.ReLU()]
    return nn.Sequential(*layers[:-1])


def parameter_groups(
    model: nn.Module, base: nn.Module, optimiser: OptimiserName, recipe: Recipe
) -> list[dict[str, Any]]:
    """Groups for torch's optimisers: the recipe's rate is right for ``base``, and so for ``model``.

    Args:
        model: of dense layers; every parameter (o, i) or (o,).
        base: the same network at the base width.
        optimiser: the rule; ``epsilon`` stands in the groups of ``adamw``.
        recipe: rate and weight decay.

    Raises:
        ValueError: where the two have other parameters, or one is no dense layer's.
    """
    named, of_base = dict(model.named_parameters()), dict(base.named_parameters())
    if list(named) != list(of_base):
        raise ValueError("model and base must have parameters of the same names.")
    if any(isinstance(one, SpectralLinear) for one in model.modules()):
        raise ValueError("SpectralLinear has its rule inside: give its parameters one rate.")
    return [
        _group(one, scale_of(optimiser, _shape(one), _shape(other)), optimiser, recipe)
        for one, other in zip(named.values(), of_base.values(), strict=True)
    ]


def _group(
    parameter: nn.Parameter, scale: Scale, optimiser: OptimiserName, recipe: Recipe
) -> dict[str, Any]:
    own = {
        "params": [parameter],
        "lr": recipe.learning_rate * scale.rate,
        "weight_decay": recipe.weight_decay * scale.decay,
    }
    return own | ({"eps": recipe.epsilon * scale.epsilon} if optimiser == "adamw" else {})


def _shape(parameter: torch.Tensor) -> LayerShape:
    if parameter.ndim == 1:
        return LayerShape(1, len(parameter))
    if parameter.ndim == 2:
        return LayerShape(parameter.shape[1], parameter.shape[0])
    raise ValueError(f"a parameter of shape {tuple(parameter.shape)} is no dense layer's.")
