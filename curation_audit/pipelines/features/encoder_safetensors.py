"""A linear map or a perceptron whose weights lie in a safetensors file: numbers, no code."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, Final, Literal

import torch

from curation_audit import checks
from curation_audit.checks import SettingError
from curation_audit.pipelines.features.encoder_file import Content, EncoderFile
from curation_audit.pipelines.features.encoder_loaded import Encode
from curation_audit.training.device import resolve_device
from curation_audit.types import Features

ACTIVATIONS: Final[dict[str, Callable[[torch.Tensor], torch.Tensor]]] = {
    "relu": torch.nn.functional.relu,
    "gelu": torch.nn.functional.gelu,
    "silu": torch.nn.functional.silu,
    "tanh": torch.tanh,
    "none": torch.nn.Identity(),
}
NAMED: Final = re.compile(r"(?:(\d+)\.)?(weight|bias)")
Layer = tuple[torch.Tensor, torch.Tensor | None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Safetensors(EncoderFile):
    """Linear layers in the order of their numbers, with ``activation`` between them.

    The tensors are called as ``torch.nn.Sequential`` calls those of its linear layers:
    ``0.weight`` (out, in), ``0.bias`` (out,), ``2.weight``, ...; or ``weight`` and ``bias``, of one
    layer. A file says neither which activation there was nor whether one stood at the end; here
    none does.
    """

    name: ClassVar[str] = "safetensors"
    activation: Literal["relu", "gelu", "silu", "tanh", "none"] = "relu"
    device: str = "auto"

    def __post_init__(self) -> None:
        """Check the settings."""
        EncoderFile.__post_init__(self)
        checks.one_of("features.steps.activation", self.activation, ACTIVATIONS)

    def load(self, content: Content) -> Encode:
        """The layers on their device."""
        device = resolve_device(self.device)
        layers = _layers(content, _tensors(content), device)
        width = layers[0][0].shape[1]
        activation = ACTIVATIONS[self.activation]

        def encode(rows: Features) -> Any:
            if rows.shape[1] != width:
                raise content.refused(f"reads {width} features, but there are {rows.shape[1]}")
            found = torch.tensor(rows, device=device)
            with torch.inference_mode():
                for i, (weight, bias) in enumerate(layers):
                    found = torch.nn.functional.linear(
                        activation(found) if i else found, weight, bias
                    )
            return found.cpu().numpy()

        return encode


def _tensors(content: Content) -> dict[str, torch.Tensor]:
    """What the file holds.

    Raises:
        SettingError: without the library, or for bytes of another kind.
    """
    try:
        from safetensors import SafetensorError
        from safetensors.torch import load
    except ImportError:
        raise SettingError(
            "features.steps",
            "a safetensors step needs the safetensors library, which is not installed",
            "pip install 'curation-audit[safetensors]'",
        ) from None
    try:
        tensors: dict[str, torch.Tensor] = load(content.held)
    except SafetensorError:
        hint = "expected what safetensors.torch.save_file(module.state_dict(), file) writes"
        raise content.refused("is no safetensors file", hint) from None
    return tensors


def _layers(
    content: Content, tensors: dict[str, torch.Tensor], device: torch.device
) -> list[Layer]:
    """The layers in order, float32; each must fit the one before.

    Raises:
        SettingError: for tensors that are no stack of linear layers.
    """
    by_number: dict[int, dict[str, torch.Tensor]] = {}
    for name, tensor in tensors.items():
        named = NAMED.fullmatch(name)
        if named is None or tensor.ndim != (2 if named[2] == "weight" else 1):
            raise content.refused(
                f"holds {name!r} of shape {tuple(tensor.shape)}, no part of a linear layer",
                "expected 0.weight, 0.bias, 2.weight, ...; use a torchscript step for others",
            )
        by_number.setdefault(int(named[1] or 0), {})[named[2]] = tensor.float().to(device)
    layers: list[Layer] = []
    for number, parts in sorted(by_number.items()):
        if "weight" not in parts:
            raise content.refused(f"layer {number} has a bias and no weight")
        weight, bias = parts["weight"], parts.get("bias")
        if layers and weight.shape[1] != layers[-1][0].shape[0]:
            problem = f"layer {number} reads {weight.shape[1]} numbers, the one before it gives"
            raise content.refused(f"{problem} {layers[-1][0].shape[0]}")
        if bias is not None and len(bias) != len(weight):
            raise content.refused(f"layer {number} has {len(weight)} rows and {len(bias)} biases")
        layers.append((weight, bias))
    if not layers:
        raise content.refused("holds no tensor")
    return layers
