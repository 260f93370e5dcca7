"""An encoder in a TorchScript archive.

An archive is a program: it runs torch's operations, some of which read and write files. It is no
pickle of Python's: a function of Python's that it names is refused, not called. ``.pt2`` archives
are not read, as ``torch.export.load`` falls back to pickles that can call anything.
"""

import io
import warnings
from dataclasses import dataclass
from typing import Any, ClassVar

import torch

from curation_audit.pipelines.features.encoder_file import (
    Content,
    EncoderFile,
    as_shape,
    check_shape,
)
from curation_audit.pipelines.features.encoder_loaded import Encode
from curation_audit.training.device import resolve_device
from curation_audit.types import Features

HINT = "expected what torch.jit.script(module.eval()).save(file) writes"


@dataclass(frozen=True, slots=True, kw_only=True)
class TorchScript(EncoderFile):
    """A module of one float32 tensor (n, d), or (n, *``shape``), to one (n, p)."""

    name: ClassVar[str] = "torchscript"
    shape: tuple[int, ...] | None = None
    device: str = "auto"

    def __post_init__(self) -> None:
        """Check the settings."""
        EncoderFile.__post_init__(self)  # super() is lost on a class with slots
        check_shape(self.shape)

    def load(self, content: Content) -> Encode:
        """The module in evaluation mode, on its device."""
        device = resolve_device(self.device)
        module = _module(content, device)

        def encode(rows: Features) -> Any:
            given = torch.tensor(as_shape(rows, self.shape), device=device)
            with (
                torch.inference_mode(),
                # else the third batch runs other code than the first two, which rounds elsewhere
                torch.jit.optimized_execution(False),  # type: ignore[attr-defined]
                torch.backends.cudnn.flags(deterministic=True, allow_tf32=False),
            ):
                found = module(given)
            if not isinstance(found, torch.Tensor):
                raise content.refused(f"gives a {type(found).__name__}", "expected one tensor")
            return found.float().cpu().numpy()

        return encode


def _module(content: Content, device: torch.device) -> Any:
    """The module of an archive.

    Raises:
        SettingError: if the bytes are none.
    """
    try:
        with warnings.catch_warnings():
            # torch has no other format for modules that is loaded without Python's pickles
            warnings.filterwarnings("ignore", r"`torch\.jit\.load` is", DeprecationWarning)
            file = io.BytesIO(content.held)
            module = torch.jit.load(file, map_location=device)  # type: ignore[no-untyped-call]
    except RuntimeError:
        raise content.refused("is no TorchScript archive", HINT) from None
    return module.eval()
