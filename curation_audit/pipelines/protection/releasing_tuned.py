"""One real tuning: all its runs, of which the best leaves and the others are forgotten."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TypeAlias

import numpy as np

from curation_audit.dp.noise import SecureNoise
from curation_audit.pipelines.base import CurationData, Scorer
from curation_audit.pipelines.protection.protect import Protected
from curation_audit.pipelines.scorers.noisy_sum import NoisySum
from curation_audit.pipelines.scorers.private_classifier import PrivateClassifier
from curation_audit.pipelines.scorers.tuned import TunedScorer
from curation_audit.releases.maps_file import has_file
from curation_audit.training.device import one_thread
from curation_audit.types import Features, Floats, Labels, Scores

OneRun: TypeAlias = Callable[[Scorer, CurationData], Floats]


@dataclass(frozen=True, slots=True)
class BestRun:
    """What a tuning releases: a candidate, its noisy weights (p,), and its settings in words."""

    scorer: NoisySum | PrivateClassifier
    weights: Floats
    settings: str

    def told(self, protected: Protected) -> Protected:
        """The same with the chosen settings beside how they were chosen."""
        told = f"{protected.protection.tuning}; chosen: {self.settings}"
        return replace(protected, protection=replace(protected.protection, tuning=told))


@dataclass(frozen=True, slots=True)
class RowsAlone:
    """One run's scorer, by which a row's score hangs on the row alone, to the last bit.

    In one product of many rows it hangs on how many there are, and where: equal rows then differ,
    and a unit that leaves would turn ties of all others with public rows into wins and losses.
    """

    scorer: NoisySum | PrivateClassifier
    weights: Floats

    def score(self, features: Features, labels: Labels | None = None) -> Scores:
        """(rows, d) -> float64 (1, rows)."""
        public = self.scorer.map
        if not has_file(public):
            raise TypeError(f"{public.name} scores no row alone.")
        intercept = isinstance(self.scorer, PrivateClassifier)
        slopes = self.weights[: len(self.weights) - intercept]
        scores: Scores = public.scores(np.asarray(features, dtype=np.float64), slopes)
        moved: Scores = scores[None] + self.weights[len(slopes) :].sum()
        return moved


@one_thread()
def best_run(tuned: TunedScorer, data: CurationData, one_run: OneRun) -> BestRun:
    """Make the runs and keep the best; which runs, and all noise, come from the operating system.

    How many runs there were, and what the others gave, is never told: the guarantee of a random
    number of runs is that of the best one alone.
    """
    choices = tuned.runs.drawn(len(tuned.candidates), SecureNoise())
    best, highest = _nothing(tuned, data), -np.inf
    everyone = np.ones((1, data.private.n_units), dtype=bool)
    for choice in choices.tolist():
        scorer = tuned.candidates[choice]
        weights = one_run(scorer, data)
        exact = tuned.quality.exact(RowsAlone(scorer, weights), data.private, everyone, data.pool)
        quality = float(tuned.quality.noisy(exact, [SecureNoise()])[0])
        if quality > highest:
            best, highest = BestRun(scorer, weights, tuned.settings[choice]), quality
    return best


def _nothing(tuned: TunedScorer, data: CurationData) -> BestRun:
    """What no run at all releases: every row scores 0."""
    scorer = tuned.candidates[0]
    width = scorer.embed(data.pool.features[:1]).shape[1]
    return BestRun(scorer, np.zeros(width), "none, as no run was made: every score is 0")
