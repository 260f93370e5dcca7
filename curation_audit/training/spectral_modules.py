"""The spectral parametrisation for torch modules of one's own: a layer, and parameter groups.

A module is told by the same module at the base width, as its shapes alone do not say which of its
numbers grow. ``SpectralLinear`` trains V of ``W = s V``: plain SGD and DP-SGD at one rate are then
right at every width. Other layers stay as they are, and every parameter gets a rate of its own.
"""

import itertools
import math
import re
from collections.abc import Callable
from typing import Any, Final, Literal, TypeAlias

from torch import Tensor, nn

from curation_audit.training.modules import trainable
from curation_audit.training.recipe import OptimiserName, Recipe
from curation_audit.training.spectral import (
    DP_WIDTH_EXPONENT,
    LayerShape,
    Scale,
    coordinate_scale_of,
    initial_sd,
    multiplier,
    scale_of,
)

GroupsFor: TypeAlias = OptimiserName | Literal["dp_sgd"]
# whose ``weight`` is (outputs, inputs, ...), and nothing else that they may be given
ONE_MATRIX: Final = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)
# whose parameters of these names are (outputs, inputs)
MATRICES: Final = (nn.RNNBase, nn.MultiheadAttention)
NAMES_OF_MATRICES: Final = re.compile(r"weight_[ih][hr]_l\d+(_reverse)?|(in|[qkv])_proj_weight")


class SpectralLinear(nn.Linear):
    """A dense layer of weights ``s V`` and biases ``s' v``, with s of its shape (public numbers).

    ``weight`` and ``bias`` are V and v. Initial biases are zero, and the layer's outputs are of the
    order of one for inputs that are. SGD, with momentum or without, and DP-SGD need nothing else;
    for AdamW and Muon take ``spectral_param_groups``.
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


def spectral_param_groups(
    model: nn.Module,
    base: nn.Module,
    optimiser: GroupsFor,
    *,
    learning_rate: float,
    weight_decay: float = 0.0,
    width_exponent: float = DP_WIDTH_EXPONENT,
) -> list[dict[str, Any]]:
    """Groups for torch's optimisers: a rate that is right for ``base`` is so for ``model``.

    Args:
        model: what is trained, with or without ``SpectralLinear`` layers.
        base: the same network at the base width; only its shapes count.
        optimiser: whose rule. ``adamw`` has ``eps`` in its groups, too; ``dp_sgd``, for one clip
            norm at all widths, wants ``SpectralLinear`` layers and nothing else that is trained.
        learning_rate: of the base network.
        weight_decay: of the base network.
        width_exponent: of ``dp_sgd`` alone: by what power of the width its rate moves.

    Raises:
        ValueError: where the two have other parameters, or one has no rule.
    """
    by_name = trainable(model)
    rule: OptimiserName = "sgd" if optimiser == "dp_sgd" else optimiser
    scales = dict(zip(by_name, module_scales(model, base, rule), strict=True))
    rate = learning_rate
    if optimiser == "dp_sgd":
        rate *= math.pow(_private_growth(model, base), width_exponent)
    groups = []
    for name, parameter in by_name.items():
        scale = scales[name]
        group = {
            "params": [parameter],
            "lr": rate * scale.rate,
            "weight_decay": weight_decay * scale.decay,
        }
        epsilon = {"eps": Recipe.epsilon * scale.epsilon} if optimiser == "adamw" else {}
        groups.append(group | epsilon)
    return groups


def module_scales(model: nn.Module, base: nn.Module, optimiser: OptimiserName) -> tuple[Scale, ...]:
    """What multiplies a recipe's numbers at each trainable parameter, in their order.

    A dense layer's and a convolution's weights go by the rule of matrices, those of norms and
    whatever else has one axis by that of biases, an embedding's, whose input is one of many, too.

    Raises:
        ValueError: where the two have other parameters, or one has no rule, or two of them.
    """
    own, others = trainable(model), trainable(base)
    if list(own) != list(others):
        raise ValueError("model and base must have trainable parameters of the same names")

    def scale(name: str) -> Scale:
        return _rule_of(model, name)(optimiser, _shape(model, name), _shape(base, name))

    scales, first = {name: scale(name) for name in own}, {id(own[name]): name for name in own}
    for name, parameter in model.named_parameters(remove_duplicate=False):
        known = first.get(id(parameter))
        if known is not None and scale(name) != scales[known]:
            raise ValueError(f"{known} is tied to {name}, whose rule is another")
    return tuple(scales.values())


def _owner(model: nn.Module, name: str) -> nn.Module:
    return model.get_submodule(name.rpartition(".")[0])


def _rule_of(
    model: nn.Module, name: str
) -> Callable[[OptimiserName, LayerShape, LayerShape], Scale]:
    is_coordinate = isinstance(_owner(model, name), SpectralLinear)
    return coordinate_scale_of if is_coordinate else scale_of


def _shape(model: nn.Module, name: str) -> LayerShape:
    owner, parameter = _owner(model, name), model.get_parameter(name)
    if isinstance(owner, nn.Embedding | nn.EmbeddingBag):
        return LayerShape(1, parameter.shape[1])
    if parameter.ndim == 1:
        return LayerShape(1, len(parameter))
    if parameter.ndim > 1 and _is_matrix(owner, name.rpartition(".")[2]):
        return LayerShape(parameter[0].numel(), len(parameter))
    raise ValueError(
        f"{name} {tuple(parameter.shape)} of {type(owner).__name__} has no rule: inputs and "
        "outputs are known of Linear, SpectralLinear, convolutions, recurrent layers and attention"
    )


def _is_matrix(owner: nn.Module, name: str) -> bool:
    """Whether it is known that a layer's parameter of that name is (outputs, inputs, ...)."""
    if isinstance(owner, MATRICES):
        return NAMES_OF_MATRICES.fullmatch(name) is not None
    return isinstance(owner, ONE_MATRIX) and name == "weight"


def _private_growth(model: nn.Module, base: nn.Module) -> float:
    """By how much the layer that grows most is wider than in the base network."""
    others = [n for n in trainable(model) if not isinstance(_owner(model, n), SpectralLinear)]
    if others:
        raise ValueError(f"{others[0]} is no SpectralLinear's: a clip norm would not hold for it")
    return max(_shape(model, n).outputs / _shape(base, n).outputs for n in trainable(model))
