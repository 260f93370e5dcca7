"""Where the batched arithmetic runs."""

import contextlib
from collections.abc import Iterator

import numpy as np
import torch
from threadpoolctl import threadpool_limits

from curation_audit.checks import SettingError

TORCH_DTYPES = {np.dtype(np.float32): torch.float32, np.dtype(np.float64): torch.float64}


def resolve_device(name: str) -> torch.device:
    """The torch device of a name: ``auto`` is CUDA where there is one, else the CPU.

    Raises:
        SettingError: for a device that this machine lacks.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError:
        raise SettingError("run.device", f"found {name!r}, expected auto, cpu or cuda") from None
    if device.type == "cuda" and not torch.cuda.is_available():
        raise SettingError("run.device", f"found {name!r}, but torch sees no CUDA here", "use auto")
    return device


def torch_dtype(array: np.ndarray) -> torch.dtype:
    """float32 or float64, as the array has it."""
    return TORCH_DTYPES[np.dtype(array.dtype)]


@contextlib.contextmanager
def one_thread() -> Iterator[None]:
    """BLAS and torch on one thread: faster for small batches, and the same bits every time."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with threadpool_limits(1):
            yield
    finally:
        torch.set_num_threads(before)
