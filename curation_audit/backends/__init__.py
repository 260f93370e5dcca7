"""Where the tasks of an audit are computed: here, on a Ray cluster, or by a batch scheduler.

A backend changes no number. Its contract test is ``tests/backends/test_contract.py``.
"""

from collections.abc import Callable, Mapping
from typing import Any, Final

from curation_audit.backends.base import Backend, Placement
from curation_audit.backends.local import Local
from curation_audit.backends.ray import RayCore
from curation_audit.backends.slurm import Slurm

BACKENDS: Final[Mapping[str, Callable[[Placement], Backend[Any, Any]]]] = {
    "local": Local,
    "ray": RayCore,
    "slurm": Slurm,
}
