"""What an audit needs of the machine: libraries, exact arithmetic, disk, a place for keys."""

import os
import platform
import shutil
from importlib import metadata
from pathlib import Path
from typing import Final

import numpy as np

from curation_audit.doctor.base import Check, Outcome
from curation_audit.streams import Streams
from curation_audit.version import __version__

LIBRARIES = ("numpy", "scipy", "torch", "dp-accounting")
LEAST_FREE_BYTES = 2**30


def versions() -> Outcome:
    """What is installed."""
    found = [f"{name} {metadata.version(name)}" for name in LIBRARIES]
    here = [f"curation-audit {__version__}", f"Python {platform.python_version()}", *found]
    return Outcome("installed", ", ".join(here), True)


def threads() -> Outcome:
    """How many cores this process may use, and how many threads torch would."""
    import torch

    usable = getattr(os, "sched_getaffinity", None)
    n_cores = len(usable(0)) if usable else os.cpu_count() or 0
    n_torch = torch.get_num_threads()
    return Outcome(
        "at least 1 of each", f"{n_cores} cores, torch {n_torch} threads", min(n_cores, n_torch) > 0
    )


def torch_arithmetic() -> Outcome:
    """A batched solution and its gradient, on the CPU and on the device that ``auto`` takes.

    The gradient of ``1' A^-1 b`` in b is ``A^-T 1``; numpy is the reference.
    """
    import torch

    from curation_audit.training.device import resolve_device

    rng = Streams(501).generator("systems")
    matrices = rng.standard_normal((4, 8, 8)) + 8 * np.eye(8)
    right = rng.standard_normal((4, 8, 1))
    expected = np.linalg.solve(matrices.transpose(0, 2, 1), np.ones((4, 8, 1)))
    devices = list(dict.fromkeys([torch.device("cpu"), resolve_device("auto")]))
    worst = 0.0
    for device in devices:
        b = torch.tensor(right, device=device, requires_grad=True)
        torch.linalg.solve(torch.tensor(matrices, device=device), b).sum().backward()
        gradient = np.nan if b.grad is None else b.grad.cpu().numpy()
        worst = max(worst, float(np.abs(gradient - expected).max()))
    names = " and ".join(device.type for device in devices)
    return Outcome("error below 1e-12", f"{worst:.1e} on {names}", worst < 1e-12)


def repeatable_products() -> Outcome:
    """A float64 product has the same bits every time, and is exact for whole numbers."""
    rng = Streams(502).generator("factors")
    left, right = rng.standard_normal((200, 300)), rng.standard_normal((300, 250))
    first = np.matmul(left, right)
    same = all(np.array_equal(first, np.matmul(left.copy(), right.copy())) for _ in range(5))
    whole = rng.integers(-1000, 1000, (60, 300))
    exact = np.array_equal(np.matmul(whole.astype(np.float64), whole.T), whole @ whole.T)
    found = ("same" if same else "other") + " bits, " + ("exact" if exact else "not exact")
    return Outcome("same bits, exact", found, same and exact)


def free_disk() -> Outcome:
    """Room for run folders where the command was given."""
    free = shutil.disk_usage(Path.cwd()).free
    least = f"{LEAST_FREE_BYTES / 2**30:.0f} GiB"
    return Outcome(f"at least {least} here", f"{free / 2**30:.1f} GiB", free >= LEAST_FREE_BYTES)


def key_folder() -> Outcome:
    """The folder of id keys can be made or written; nothing is made."""
    from curation_audit.auditing.release import default_id_key

    folder = default_id_key("").parent
    there = next(one for one in (folder, *folder.parents) if one.exists())
    writable = there.is_dir() and os.access(there, os.W_OK | os.X_OK)
    place = str(folder).replace(str(Path.home()), "~")
    found = place if writable else f"no folder that can be written on the way to {place}"
    return Outcome("writable" if there == folder else "can be made", found, writable)


THIS_MACHINE: Final = (
    Check("this machine", "versions", versions),
    Check("this machine", "cores", threads),
    Check("this machine", "torch", torch_arithmetic),
    Check("this machine", "float64 products", repeatable_products),
    Check("this machine", "free disk", free_disk),
    Check("this machine", "folder of id keys", key_folder),
)
