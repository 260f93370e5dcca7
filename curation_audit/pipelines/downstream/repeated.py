"""Several models a shadow, and the mean of what they say."""

from dataclasses import dataclass, replace

import numpy as np

from curation_audit.checks import SettingError
from curation_audit.observations import Selection
from curation_audit.pipelines.base import Downstream, FittedModels, Rows
from curation_audit.pipelines.downstream.fitting import check_fits
from curation_audit.streams import ShadowStreams
from curation_audit.types import Features, Floats, Probabilities


@dataclass(frozen=True, slots=True, kw_only=True)
class Repeated:
    """``repeats`` models per shadow from independent streams, observed as their mean.

    An ensemble; or an adversary who sees the model trained again and again, whose chance averages
    out. The first model is the one that ``repeats: 1`` gives.
    """

    model: Downstream
    repeats: int

    def __post_init__(self) -> None:
        """Check that repeats make a difference."""
        if self.repeats < 1:
            raise SettingError("train.repeats", f"found {self.repeats}", "expected 1 or more")
        if self.repeats > 1 and getattr(self.model, "deterministic", False):
            raise SettingError(
                "train.repeats",
                f"found {self.repeats}, but {self.model.name!r} draws nothing at random",
                "leave it out: all repeats would be the same model",
            )

    @property
    def name(self) -> str:
        """The model's, and how many there are."""
        return f"{self.model.name} x {self.repeats}"

    def check(self, pool: Rows) -> None:
        """Raise ``SettingError`` where the model does not fit the pool."""
        check_fits(self.model, pool)

    def fit(
        self, pool: Rows, selection: Selection, n_classes: int, *, streams: ShadowStreams
    ) -> FittedModels:
        """All models, one repeat after the other."""
        return RepeatedModels(
            [
                self.model.fit(pool, selection, n_classes, streams=_of_repeat(streams, r))
                for r in range(self.repeats)
            ]
        )


def _of_repeat(streams: ShadowStreams, repeat: int) -> ShadowStreams:
    """The streams of one repeat; those of the first are the shadow's own."""
    return replace(streams, scope=f"{streams.scope}/repeat {repeat}") if repeat else streams


@dataclass(frozen=True, slots=True)
class RepeatedModels:
    """What each repeat gave."""

    models: list[FittedModels]

    def predict_proba(self, features: Features) -> Probabilities:
        """The mean over the repeats, (rows, d) -> float32 (S, rows, C)."""
        total: Floats | None = None
        for model in self.models:
            found = model.predict_proba(features).astype(np.float64)
            total = found if total is None else total + found
        if total is None:
            raise ValueError("there is no model.")
        return (total / len(self.models)).astype(np.float32)
