"""DP-SGD and noisy full-batch gradient descent: private forms of ``classifier``."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from curation_audit.checks import SettingError
from curation_audit.dp.calibration import noise_multiplier_for
from curation_audit.dp.events import Event, PoissonGaussian
from curation_audit.pipelines.protection.base import PATH, Budget, ScorerPart, Site
from curation_audit.pipelines.scorers.private_classifier import PrivateClassifier
from curation_audit.releases.public_maps import MeanMap
from curation_audit.training.dp_sgd import DpSgdSettings
from curation_audit.training.spectral import (
    BASE_WIDTH,
    DP_WIDTH_EXPONENT,
    Parametrization,
    dp_rate,
)
from curation_audit.types import Features

IN_COORDINATES = (
    "; gradients are of V, where a layer's weights are s V and s is a public number of its shape"
)
LARGEST_CURVATURE = 0.25  # of the logistic loss, per squared length of a row


@dataclass(frozen=True, slots=True, kw_only=True)
class DpSgd:
    """Settings of DP-SGD: every unit joins a step by its own coin (Poisson sampling).

    ``sampling_rate``: of a unit, per step. ``clip``: the largest length of a unit's gradient.
    ``learning_rate``: by default one over the largest curvature of the loss on the pool.
    ``precondition``: rows are whitened by the pool's covariance first, which is public, so that few
    steps suffice. ``expected_units``: what sums are divided by; by default the sampling rate times
    the number of units where that is public, else it must be given. ``hidden``: widths of hidden
    layers; none is logistic regression. ``parametrization: spectral``: clip and rate hold at every
    width; ``learning_rate`` is then that of ``base_width``, and falls by the ratio of the widest
    layer to it to the power of ``width_exponent``, which was fitted on one public task.
    """

    name: ClassVar[str] = "dp_sgd"
    steps: int = 100
    sampling_rate: float = 0.1
    clip: float = 1.0
    learning_rate: float | None = None
    momentum: float = 0.0
    l2: float = 1e-3
    hidden: tuple[int, ...] = ()
    precondition: bool = True
    public_batch: int | None = None
    expected_units: float | None = None
    average: bool = False
    parametrization: Parametrization = "standard"
    base_width: int = BASE_WIDTH
    width_exponent: float = DP_WIDTH_EXPONENT

    def prepare(self, budget: Budget, beside: Sequence[Event], site: Site) -> ScorerPart:
        """Calibrate the noise multiplier."""
        pool = site.pool.features
        public = MeanMap.of_pool(pool, "inner_product", center=False, whiten=self.precondition)
        name = "dp_gd" if self.sampling_rate == 1 else self.name
        settings, event = self.calibrated(
            budget, beside, site, f"scorer ({name})", public.query(pool)
        )
        scorer = PrivateClassifier(
            settings=settings, adjacency_of_claim=site.adjacency, map=public, device=site.device
        )
        argument = self.argument(self.clip)
        if self.parametrization == "spectral":
            argument += IN_COORDINATES
        return ScorerPart(scorer=scorer, event=event, sensitivity=argument)

    def calibrated(
        self,
        budget: Budget,
        beside: Sequence[Event],
        site: Site,
        what: str,
        pool: Features | None = None,
    ) -> tuple[DpSgdSettings, Event | None]:
        """All public constants, and the event (``None`` without noise).

        ``pool`` (m, p), as the network sees it, gives the learning rate where none is set.
        """
        settings = self._settings(self._noise(budget, beside, site), site, pool)
        if settings.noise_multiplier == 0:
            return settings, None
        return settings, PoissonGaussian(
            settings.noise_multiplier, settings.sampling_rate, settings.steps, what
        )

    @staticmethod
    def argument(clip: float) -> str:
        """Why a step's sensitivity is what it is."""
        return (
            f"a step's sum moves by at most C = {clip:g} in L2 where a unit's clipped gradient "
            "enters or leaves it (by 2 C where one is replaced)"
        )

    def _noise(self, budget: Budget, beside: Sequence[Event], site: Site) -> float:
        if budget.unlimited:
            return 0.0
        try:
            return noise_multiplier_for(
                budget.target(), self.sampling_rate, self.steps, site.adjacency, beside
            )
        except ValueError as error:
            raise SettingError(PATH, str(error).rstrip(".")) from None

    def _settings(
        self, noise_multiplier: float, site: Site, pool: Features | None
    ) -> DpSgdSettings:
        expected = expected_per_step(self.expected_units, self.sampling_rate, site, PATH)
        try:
            return DpSgdSettings(
                steps=self.steps,
                sampling_rate=self.sampling_rate,
                clip=self.clip,
                noise_multiplier=noise_multiplier,
                expected_units=expected,
                learning_rate=self._rate(pool),
                momentum=self.momentum,
                l2=self.l2,
                hidden=self.hidden,
                public_batch=self.public_batch,
                average=self.average,
                parametrization=self.parametrization,
            )
        except ValueError as error:
            raise SettingError(PATH, str(error).rstrip(".")) from None

    def _rate(self, pool: Features | None) -> float:
        if self.parametrization == "standard":
            return _safe_rate(pool, self.l2) if self.learning_rate is None else self.learning_rate
        if self.learning_rate is None:
            raise SettingError(
                f"{PATH}.learning_rate",
                "is missing, and parametrization: spectral has no default",
                "tune it on public rows at base_width: curation-audit tune",
            )
        widest = max(self.hidden, default=self.base_width)
        return dp_rate(self.learning_rate, widest, self.base_width, self.width_exponent)


def expected_per_step(given: float | None, sampling_rate: float, site: Site, path: str) -> float:
    """What a step's sum is divided by: as set, or the public number of units that join on average.

    Raises:
        SettingError: where nothing is set and the number of units is secret.
    """
    if given is not None:
        return given
    if site.public_units is None:
        raise SettingError(
            f"{path}.expected_units",
            "is missing, and under add_remove the number of units is secret",
            "give a public number of units per step, or use adjacency: zero_out",
        )
    return sampling_rate * site.public_units


@dataclass(frozen=True, slots=True, kw_only=True)
class DpGd:
    """Settings of noisy gradient descent: all units in every step, no sampling; see ``DpSgd``.

    ``T`` steps are one Gaussian release of ``mu = sqrt(T) / noise multiplier``. For linear scorers
    and up to some ten thousand units usually the better choice.
    """

    name: ClassVar[str] = "dp_gd"
    steps: int = 20
    clip: float = 1.0
    learning_rate: float | None = None
    momentum: float = 0.0
    l2: float = 1e-3
    hidden: tuple[int, ...] = ()
    precondition: bool = True
    expected_units: float | None = None
    average: bool = False
    parametrization: Parametrization = "standard"
    base_width: int = BASE_WIDTH
    width_exponent: float = DP_WIDTH_EXPONENT

    def prepare(self, budget: Budget, beside: Sequence[Event], site: Site) -> ScorerPart:
        """As ``DpSgd`` at a sampling rate of one."""
        same = {name: getattr(self, name) for name in self.__slots__}
        return DpSgd(sampling_rate=1.0, **same).prepare(budget, beside, site)


def _safe_rate(pool: Features | None, l2: float) -> float:
    """One over the largest curvature of the objective, if private rows were like the pool's (m, p).

    Both sides weigh one, so the objective is twice as curved as the pool's side alone.
    """
    if pool is None:
        raise SettingError(f"{PATH}.learning_rate", "is missing", "give a public number")
    rows = np.concatenate([pool, np.ones((len(pool), 1))], axis=1).astype(np.float64)
    largest = float(np.linalg.eigvalsh(rows.T @ rows / len(rows))[-1])
    rate = 1 / (2 * LARGEST_CURVATURE * largest + l2)
    return rate if math.isfinite(rate) else 1.0
