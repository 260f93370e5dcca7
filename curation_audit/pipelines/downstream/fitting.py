"""What a downstream model may be asked before anything is trained."""

from typing import Protocol, runtime_checkable

from curation_audit.pipelines.base import Downstream, Rows


@runtime_checkable
class Fitting(Protocol):
    """A downstream model that can tell beforehand whether it fits the pool."""

    def check(self, pool: Rows) -> None:
        """Raise ``SettingError`` if it does not."""
        ...


def check_fits(model: Downstream, pool: Rows) -> None:
    """Raise ``SettingError`` for a model that says that it does not fit the pool."""
    if isinstance(model, Fitting):
        model.check(pool)
