"""Settings that are chosen by looking at the private set, and what that costs.

A run of a mechanism releases a scorer and then, under noise of its own, how good that scorer is;
the run of the best noisy quality is kept. Either every run of a fixed grid is spent, or the number
of runs is random and secret (Papernot & Steinke 2022).
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar, Final, Literal, Protocol, TypeAlias, get_args

import numpy as np
from scipy import optimize, stats

from curation_audit.checks import one_of
from curation_audit.dp.calibration import Target, least_noise, mu_for
from curation_audit.dp.events import POISSON, Event, Gaussian, PoissonGaussian, RepeatAndSelect, is_sampled
from curation_audit.dp.ledger import guarantee_of
from curation_audit.results import Adjacency
from curation_audit.training.poisson import UniformSource
from curation_audit.types import Floats, Indices

Number: TypeAlias = Literal["geometric", "poisson", "logarithmic"]
SHAPES: Final[dict[Number, float]] = {"geometric": 1.0, "poisson": POISSON, "logarithmic": 0.0}
LARGEST_MEAN: Final = 1000.0
"""Of the number of runs: what a machine is asked to do. No draw is cut short, so it costs nothing."""
SMALLEST_UNIFORM: Final = 2.0**-53


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """What one run with one choice of settings spends, in order: the scorer, then its quality."""

    scorer: Gaussian | PoissonGaussian
    quality: Gaussian

    def __post_init__(self) -> None:
        """Refuse sampled units: such a run is not one Gaussian release."""
        if is_sampled(self.scorer):
            raise ValueError("a run whose units are sampled has no mu.")


class Runs(Protocol):
    """Which runs are made, and what all of them spend."""

    name: ClassVar[str]

    def drawn(self, n_choices: int, source: UniformSource) -> Indices:
        """The choice of settings of each run, int64 (K,), in [0, n_choices)."""
        ...

    def mu(self, target: Target, n_choices: int, adjacency: Adjacency) -> float:
        """The largest mu of one run, its quality included, with which all meet the target."""
        ...

    def events(self, runs: Sequence[Run]) -> tuple[Event, ...]:
        """What the tuning spends; ``runs`` has one run of every choice."""
        ...

    def line(self, n_choices: int) -> str:
        """In words."""
        ...


@dataclass(frozen=True, slots=True)
class Grid:
    """Every choice once. All runs are composed, so ``mu = sqrt(sum of the runs' mu^2)``."""

    name: ClassVar[str] = "grid"

    def drawn(self, n_choices: int, source: UniformSource) -> Indices:
        """Each once; nothing is drawn."""
        return np.arange(n_choices, dtype=np.int64)

    def mu(self, target: Target, n_choices: int, adjacency: Adjacency) -> float:
        """``mu / sqrt(number of runs)``.

        >>> from curation_audit.dp.calibration import MuTarget
        >>> round(Grid().mu(MuTarget(1.0), 4, "zero_out"), 9)
        0.5
        """
        return mu_for(target) / math.sqrt(n_choices)

    def events(self, runs: Sequence[Run]) -> tuple[Event, ...]:
        """Those of every run."""
        return tuple(
            replace(event, what=f"{event.what}, run {i} of {len(runs)}")
            for i, run in enumerate(runs, start=1)
            for event in (run.scorer, run.quality)
        )

    def line(self, n_choices: int) -> str:
        """How many runs are paid for."""
        return f"all {n_choices} runs of a grid are in the ledger"


@dataclass(frozen=True, slots=True, kw_only=True)
class RandomStopping:
    """A random number of runs, each with a choice drawn afresh; the others are discarded unseen.

    ``number``: how the number of runs is distributed around ``mean``. It is drawn from the whole
    distribution (exact to the 2^-53 of the uniform numbers) and never cut off: with a cap it would
    be another distribution, of which the theorem does not speak. How many runs there were is secret. A Poisson number may be 0: then nothing was
    learnt, and the result is a public constant.
    """

    name: ClassVar[str] = "random_stopping"
    mean: float
    number: Number = "geometric"

    def __post_init__(self) -> None:
        """Check the distribution."""
        one_of("curate.protect.tuning.number", self.number, get_args(Number))
        if not 1 < self.mean <= LARGEST_MEAN:
            raise ValueError(f"mean must be above 1 and at most {LARGEST_MEAN:g}, got {self.mean}.")

    @property
    def shape(self) -> float:
        """Of ``RepeatAndSelect``."""
        return SHAPES[self.number]

    def runs_of(self, uniform: Floats) -> Indices:
        """Numbers of runs from pairs of uniform numbers (n, 2).

        A geometric number by the inverse of its tail; a logarithmic one is geometric with a random
        parameter (Kemp 1981).
        """
        first, second = np.maximum(uniform, SMALLEST_UNIFORM).T
        if self.number == "poisson":
            return np.asarray(stats.poisson(self.mean).ppf(first), dtype=np.int64)
        if self.number == "geometric":
            log_again = np.log1p(-1 / self.mean)
        else:
            log_again = np.log(-np.expm1(second * math.log(logarithmic_gamma(self.mean))))
        return np.asarray(1 + np.floor(np.log(first) / log_again), dtype=np.int64)

    def drawn(self, n_choices: int, source: UniformSource) -> Indices:
        """First how many, then each uniformly and with replacement."""
        number = int(self.runs_of(source.random((1, 2)))[0])
        return np.floor(source.random((number,)) * n_choices).astype(np.int64)

    def mu(self, target: Target, n_choices: int, adjacency: Adjacency) -> float:
        """By search over the Renyi divergences of the whole tuning.

        Raises:
            ValueError: for a target that only Gaussian noise can be held against.
        """

        def spent(mu: float) -> tuple[Event, ...]:
            return (self._event((Gaussian(mu=mu, what="one run"),)),)

        return largest_mu(target, spent, adjacency)

    def events(self, runs: Sequence[Run]) -> tuple[Event, ...]:
        """One event; the run in it spends what the dearest choice does, so it covers each."""
        scorer = max((run.scorer for run in runs), key=_mu_of)
        quality = max((run.quality for run in runs), key=_mu_of)
        return (self._event((scorer, quality)),)

    def line(self, n_choices: int) -> str:
        """How many runs are paid for, on average."""
        return (
            f"best of a secret, {self.number} number of runs, {self.mean:g} on average, among "
            f"{n_choices} choices of settings"
        )

    def _event(self, one_run: tuple[Gaussian | PoissonGaussian, ...]) -> RepeatAndSelect:
        return RepeatAndSelect(one_run, self.mean, self.shape, "tuning")


def logarithmic_gamma(mean: float) -> float:
    """The gamma of the logarithmic distribution: mean = (1 / gamma - 1) / ln(1 / gamma)."""

    def excess(log_odds: float) -> float:
        inverse = 1 + math.exp(log_odds)  # 1 / gamma
        return math.log(math.exp(log_odds) / math.log(inverse)) - math.log(mean)

    log_odds = float(optimize.brentq(excess, -25.0, 25.0, xtol=1e-13))
    return 1 / (1 + math.exp(log_odds))


def largest_mu(
    target: Target, spent: Callable[[float], tuple[Event, ...]], adjacency: Adjacency
) -> float:
    """The largest mu at which what is ``spent`` meets the target, from the safe side."""

    def excess(log_noise: float) -> float:
        return target.excess(guarantee_of(spent(math.exp(-log_noise)), adjacency))

    return 1 / least_noise(excess, -math.log(mu_for(target)))


def _mu_of(event: Gaussian | PoissonGaussian) -> float:
    if isinstance(event, Gaussian):
        return event.mu
    return math.sqrt(event.steps) / event.noise_multiplier
