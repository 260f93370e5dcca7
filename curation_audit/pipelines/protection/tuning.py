"""Settings of a mechanism that are chosen by the private set, within the same budget."""

import itertools
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, TypeAlias

from curation_audit.checks import SettingError, did_you_mean
from curation_audit.dp.events import Gaussian, PoissonGaussian
from curation_audit.dp.tuning import Run, Runs, SampledRun
from curation_audit.pipelines.protection.base import (
    PATH,
    Budget,
    ScorerMechanism,
    ScorerPart,
    Site,
    known_settings,
)
from curation_audit.pipelines.protection.dp_sgd import DpSgd
from curation_audit.pipelines.scorers.noisy_sum import NoisySum
from curation_audit.pipelines.scorers.private_classifier import PrivateClassifier
from curation_audit.pipelines.scorers.rank_quality import RankQuality
from curation_audit.pipelines.scorers.tuned import TunedScorer

Over: TypeAlias = Mapping[str, tuple[Any, ...]]
TUNING: Final = f"{PATH}.tuning"
PUBLIC_ROWS: Final = 1000
"""Rows of the pool that private rows are compared with; more tell hardly better choices apart."""
SHARE: Final = 0.1
"""Of a run's budget, for its quality."""
MOST_CHOICES: Final = 256
TUNABLE: Final = ("centroid_votes", "dp_gd", "dp_sgd", "gaussian_mean", "rff_density", "ulsif")
UNTUNABLE: Final[Mapping[str, str]] = {
    "shard_votes": "its counts are of pool rows, so that no private row has a score to compare",
    "module_sgd": "it trains one module at a time; tune it on public rows",
    "domain_votes": "all rows of a domain have one score; tune it on public rows",
    "dsir_histogram": "its scores are no products with a sum; tune it on public rows",
    "less_sums": "its scores are no products with a sum; tune it on public rows",
    "trak_sum": "it compares gradients by label, not rows alone; tune it on public rows",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class PaidTuning:
    """Settings ``over`` which a mechanism is tuned, by name, and how.

    ``runs``: which combinations are run. ``share``: of a run's budget (its mu squared) that is
    spent on telling how good the run is.
    """

    over: Over
    runs: Runs
    share: float = SHARE

    def __post_init__(self) -> None:
        """Check that there is something to choose, and the share."""
        check_over(self.over)
        if not 0 < self.share < 1:
            raise SettingError(f"{TUNING}.share", f"found {self.share}", "expected one in (0, 1)")

    @property
    def n_choices(self) -> int:
        """How many combinations of settings there are."""
        return n_choices(self.over)

    def choices(self) -> tuple[dict[str, Any], ...]:
        """All combinations of settings."""
        return choices_of(self.over)

    def line(self) -> str:
        """What was chosen from, and what all of it costs, in words."""
        return f"{', '.join(self.over)}: {self.runs.line(self.n_choices)}"

    def prepare(self, mechanism: ScorerMechanism, budget: Budget, site: Site) -> ScorerPart:
        """Calibrate all runs, so that the budget holds for the whole tuning.

        Raises:
            SettingError: for a mechanism that cannot be tuned, or what cannot be kept.
        """
        _check_tunable(mechanism)
        made = candidates(mechanism, self.choices())
        parts, mu = self._calibrated(made, budget, site)
        quality = RankQuality(
            mu=mu,
            adjacency=site.adjacency,
            n_public=min(PUBLIC_ROWS, len(site.pool)),
            seed=site.seed,
        )
        events = () if budget.unlimited else self.runs.events([_run(p, quality) for p in parts])
        return ScorerPart(
            scorer=TunedScorer(
                candidates=tuple(_scorer(part) for part in parts),
                settings=tuple(map(in_words, self.choices())),
                quality=quality,
                runs=self.runs,
            ),
            event=events[0] if events else None,
            more=events[1:],
            sensitivity=f"{_arguments(parts)}; the quality of a run: {_argument(quality)}",
            notes=(*_notes(parts), *_seen(quality)),
        )

    def _calibrated(
        self, made: Sequence[ScorerMechanism], budget: Budget, site: Site
    ) -> tuple[list[ScorerPart], float]:
        """A run of every choice, and the mu of its quality."""
        if budget.unlimited:
            return [one.prepare(budget, (), site) for one in made], math.inf
        try:
            if any(isinstance(one, DpSgd) and one.sampling_rate < 1 for one in made):
                return self._sampled(made, budget, site)
            mu = self.runs.mu(budget.target(), self.n_choices, site.adjacency)
        except ValueError as error:
            raise SettingError(TUNING, str(error).rstrip(".")) from None
        own = Budget(mu=mu * math.sqrt(1 - self.share), delta=budget.delta)
        return [one.prepare(own, (), site) for one in made], mu * math.sqrt(self.share)

    def _sampled(
        self, made: Sequence[ScorerMechanism], budget: Budget, site: Site
    ) -> tuple[list[ScorerPart], float]:
        """The same of DP-SGD, whose runs all have one noise multiplier."""
        run = sampled_run(made, self.share)
        found = self.runs.sampled(budget.target(), run, self.n_choices, site.adjacency)
        unlimited = Budget(epsilon=math.inf, delta=budget.delta)
        parts = [with_noise(one.prepare(unlimited, (), site), found) for one in made]
        return parts, found.quality.mu


@dataclass(frozen=True, slots=True, kw_only=True)
class PublicTuning:
    """Settings ``over`` which a mechanism is tuned on a public stand-in: free of charge.

    ``repeats``: runs of every combination, each with noise of its own. ``result``: the file that
    tells what was chosen, and ``sha256`` its hash; ``None`` where nothing was tuned yet.
    """

    over: Over
    repeats: int = 8
    result: str | None = None
    sha256: str | None = None

    def __post_init__(self) -> None:
        """Check that there is something to choose."""
        check_over(self.over)
        if (self.result is None) != (self.sha256 is None):
            raise SettingError(TUNING, "found result or sha256 alone", "paste both lines of 'tune'")
        if self.repeats < 2:
            raise SettingError(f"{TUNING}.repeats", f"found {self.repeats}", "expected 2 or more")

    @property
    def evidence(self) -> str | None:
        """The file that tells what was chosen, in words."""
        return None if self.result is None else f"{self.result}, sha256 {self.sha256}"


def check_over(over: Over) -> None:
    """Raise ``SettingError`` unless there are several combinations, and not too many."""
    if not over:
        raise SettingError(f"{TUNING}.over", "found nothing", "name settings and their values")
    for name, values in over.items():
        if not values or any(values.count(value) > 1 for value in values):
            hint = "expected a list of different values"
            raise SettingError(f"{TUNING}.over.{name}", f"found {list(values)}", hint)
    if not 2 <= n_choices(over) <= MOST_CHOICES:
        hint = f"expected 2 to {MOST_CHOICES}"
        raise SettingError(f"{TUNING}.over", f"has {n_choices(over)} combinations", hint)


def n_choices(over: Over) -> int:
    """How many combinations of settings there are."""
    return math.prod(len(values) for values in over.values())


def choices_of(over: Over) -> tuple[dict[str, Any], ...]:
    """All combinations of settings; the last setting changes first."""
    combined = itertools.product(*over.values())
    return tuple(dict(zip(over, values, strict=True)) for values in combined)


def in_words(choice: Mapping[str, Any]) -> str:
    """A choice of settings, as a file would say it."""
    return ", ".join(f"{name}: {json.dumps(value)}" for name, value in choice.items())


def candidates(
    mechanism: ScorerMechanism, choices: Sequence[Mapping[str, Any]]
) -> tuple[ScorerMechanism, ...]:
    """The mechanism with each choice of settings.

    Raises:
        SettingError: for a setting that it does not have, or a value that it refuses.
    """
    known = known_settings(type(mechanism))
    made = []
    for choice in choices:
        for name in choice:
            if name not in known:
                hint = did_you_mean(name, known)
                problem = f"is no setting of {mechanism.name}"
                raise SettingError(f"{TUNING}.over.{name}", problem, hint)
        try:
            made.append(replace(mechanism, **choice))  # type: ignore[type-var]
        except (TypeError, ValueError) as error:
            if isinstance(error, SettingError):
                raise
            raise SettingError(f"{TUNING}.over", str(error).rstrip(".")) from None
    return tuple(made)


def sampled_run(made: Sequence[ScorerMechanism], share: float) -> SampledRun:
    """What all choices of DP-SGD have in common.

    Raises:
        SettingError: where they sample otherwise, or take another number of steps.
    """
    rates = {(one.sampling_rate, one.steps) for one in made if isinstance(one, DpSgd)}
    if len(rates) > 1:
        hint = "runs whose units are sampled must spend alike: tune clip, learning_rate and others"
        raise SettingError(f"{TUNING}.over", "tunes sampling_rate or steps of dp_sgd", hint)
    ((rate, steps),) = rates
    return SampledRun(sampling_rate=rate, steps=steps, share=share, what=f"scorer ({DpSgd.name})")


def with_noise(part: ScorerPart, run: Run) -> ScorerPart:
    """A part of DP-SGD that was prepared without noise, with that of a run."""
    scorer, event = part.scorer, run.scorer
    if not isinstance(scorer, PrivateClassifier) or not isinstance(event, PoissonGaussian):
        raise TypeError(f"{type(scorer).__name__} has no noise multiplier.")
    noisy = replace(scorer.settings, noise_multiplier=event.noise_multiplier)
    return replace(part, scorer=replace(scorer, settings=noisy), event=event)


def _check_tunable(mechanism: ScorerMechanism) -> None:
    if mechanism.name not in TUNABLE:
        why = UNTUNABLE.get(mechanism.name, "nobody has said what its runs spend together")
        hint = f"{why} (expected one of {', '.join(TUNABLE)})"
        raise SettingError(TUNING, f"found {mechanism.name}, which cannot be tuned", hint)


def _scorer(part: ScorerPart) -> NoisySum | PrivateClassifier:
    if not isinstance(part.scorer, NoisySum | PrivateClassifier):
        raise TypeError(f"{type(part.scorer).__name__} cannot be tuned.")
    return part.scorer


def _run(part: ScorerPart, quality: RankQuality) -> Run:
    if not isinstance(part.event, Gaussian | PoissonGaussian):
        raise TypeError(f"{type(part.event).__name__} is not the event of a run.")
    return Run(scorer=part.event, quality=quality.mechanism.event("quality"))


def _arguments(parts: Sequence[ScorerPart]) -> str:
    """Of the mechanism, once for each choice that has another."""
    return "; or ".join(dict.fromkeys(part.sensitivity for part in parts))


def _argument(quality: RankQuality) -> str:
    return (
        f"sensitivity {quality.mechanism.sum_sensitivity:g}, as each unit adds its AUC less 1/2, "
        "whatever else is there"
    )


def _notes(parts: Sequence[ScorerPart]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(note for part in parts for note in part.notes))


def _seen(quality: RankQuality) -> tuple[str, ...]:
    """What differences the noise hides; without the number of units, which may be secret."""
    sigma = quality.mechanism.sigma
    if sigma == 0:
        return ()
    return (
        f"The noise on the quality of a run is {sigma:.3g} units: settings whose AUC differs by "
        "less than about that over the number of units are not told apart.",
    )
