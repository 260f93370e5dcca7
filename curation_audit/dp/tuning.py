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
from curation_audit.dp.calibration import Target, least_noise, mu_for, noise_multiplier_for
from curation_audit.dp.events import (
    POISSON,
    Event,
    Gaussian,
    PoissonGaussian,
    RepeatAndSelect,
    is_sampled,
    limit_mu,
)
from curation_audit.dp.ledger import guarantee_of
from curation_audit.results import Adjacency
from curation_audit.training.poisson import UniformSource
from curation_audit.types import Floats, Indices

Number: TypeAlias = Literal["geometric", "poisson", "logarithmic"]
SHAPES: Final[dict[Number, float]] = {"geometric": 1.0, "poisson": POISSON, "logarithmic": 0.0}
LARGEST_MEAN: Final = 1000.0
"""Of the number of runs: what a machine is asked to do. No draw is cut off, so it is no cap."""
SMALLEST_UNIFORM: Final = 2.0**-53


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """What one run with one choice of settings spends, in order: the scorer, then its quality."""

    scorer: Gaussian | PoissonGaussian
    quality: Gaussian


@dataclass(frozen=True, slots=True, kw_only=True)
class SampledRun:
    """DP-SGD that is to be tuned: what all choices have in common, and the share of the quality.

    A run is not one Gaussian release, so choices that differ in what they spend are not compared.
    """

    sampling_rate: float
    steps: int
    share: float
    what: str

    def with_noise(self, noise_multiplier: float, mu_of_quality: float) -> Run:
        """The run with this much noise."""
        event = PoissonGaussian(noise_multiplier, self.sampling_rate, self.steps, self.what)
        return Run(scorer=event, quality=Gaussian(mu_of_quality, "quality"))


class Runs(Protocol):
    """Which runs are made, and what all of them spend."""

    name: ClassVar[str]

    def drawn(self, n_choices: int, source: UniformSource) -> Indices:
        """The choice of settings of each run, int64 (K,), in [0, n_choices)."""
        ...

    def mu(self, target: Target, n_choices: int, adjacency: Adjacency) -> float:
        """The largest mu of one run, its quality included, with which all meet the target."""
        ...

    def sampled(self, target: Target, run: SampledRun, n_choices: int, adjacency: Adjacency) -> Run:
        """The run of DP-SGD with the least noise with which all meet the target."""
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

    def sampled(self, target: Target, run: SampledRun, n_choices: int, adjacency: Adjacency) -> Run:
        """All runs are as many steps of one; the qualities take their share of the mu first.

        Raises:
            ValueError: for a target that sampled units cannot be held against.
        """
        qualities = Gaussian(mu=mu_for(target) * math.sqrt(run.share), what="quality")
        noise = noise_multiplier_for(
            target, run.sampling_rate, n_choices * run.steps, adjacency, (qualities,)
        )
        return run.with_noise(noise, qualities.mu / math.sqrt(n_choices))

    def events(self, runs: Sequence[Run]) -> tuple[Event, ...]:
        """Those of every run; sampled steps of equal runs are booked together."""
        first = runs[0].scorer
        if is_sampled(first) and all(run.scorer == first for run in runs):
            what = f"{first.what}, all {len(runs)} runs"
            together = replace(first, steps=len(runs) * first.steps, what=what)
            return (together, *(replace(r.quality, what="quality of a run") for r in runs))
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
    be another distribution, of which the theorem does not speak. How many runs there were is
    secret. A Poisson number may be 0: then nothing was learnt, and the result is a public constant.
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

    def sampled(self, target: Target, run: SampledRun, n_choices: int, adjacency: Adjacency) -> Run:
        """By search over the noise multiplier; the quality goes with it.

        It spends its share of about what a run does (``limit_mu``), whatever that is exactly.

        Raises:
            ValueError: for a target that sampled units cannot be held against.
            SettingError: where units are replaced, which no Renyi accountant knows of.
        """
        of_quality = math.sqrt(run.share / (1 - run.share))

        def with_noise(noise: float) -> Run:
            event = PoissonGaussian(noise, run.sampling_rate, run.steps, run.what)
            return run.with_noise(noise, of_quality * limit_mu(event, adjacency))

        def excess(log_noise: float) -> float:
            spent = self.events([with_noise(math.exp(log_noise))])
            return target.excess(guarantee_of(spent, adjacency))

        return with_noise(least_noise(excess, 0.0))

    def events(self, runs: Sequence[Run]) -> tuple[Event, ...]:
        """One event; the run in it spends what the dearest choice does, so it covers each."""
        quality = max((run.quality for run in runs), key=_mu_of)
        return (self._event((_dearest([run.scorer for run in runs]), quality)),)

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


def _dearest(events: Sequence[Gaussian | PoissonGaussian]) -> Gaussian | PoissonGaussian:
    """The event that spends most; of sampled units only where all are the same."""
    if all(event == events[0] for event in events):
        return events[0]
    return max(events, key=_mu_of)


def _mu_of(event: Gaussian | PoissonGaussian) -> float:
    """In units that hang on no adjacency, as all events are of one mechanism."""
    if isinstance(event, Gaussian):
        return event.mu
    if is_sampled(event):
        raise ValueError("runs whose units are sampled must spend alike.")
    return math.sqrt(event.steps) / event.noise_multiplier
