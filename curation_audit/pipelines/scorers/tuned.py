"""The best of several runs of a private scorer, each with settings of its own, by noisy quality."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np

from curation_audit.dp.tuning import Runs
from curation_audit.observations import Linearisation
from curation_audit.pipelines.base import Family, FittedScorers, PrivateRows, Rows
from curation_audit.pipelines.scorers.linear import LinearScorers
from curation_audit.pipelines.scorers.noisy_sum import NoisySum
from curation_audit.pipelines.scorers.private_classifier import NetworkScorers, PrivateClassifier
from curation_audit.pipelines.scorers.rank_quality import RankQuality
from curation_audit.results import Adjacency
from curation_audit.streams import ShadowStreams
from curation_audit.training.mlp import Layer
from curation_audit.types import Features, Floats, Inclusion, Indices, Labels, Scores

QUALITY_STREAM = "tuning/quality"
RUNS_STREAM = "tuning/runs"
SCORES_AT_ONCE = 1 << 24
NOTHING = -1
"""The choice of a shadow that made no run."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TunedScorer:
    """Runs of ``candidates``, one for each choice of settings; of each shadow's the best is kept.

    Every run draws noise of its own, and its quality more. What the runs spend together, and how
    they are drawn, is ``runs``. A shadow with no run scores every row 0. ``settings`` tell each
    choice in words.
    """

    family: ClassVar[Family] = "other"
    candidates: tuple[NoisySum | PrivateClassifier, ...]
    settings: tuple[str, ...]
    quality: RankQuality
    runs: Runs

    @property
    def name(self) -> str:
        """The mechanism's."""
        return self.candidates[0].name

    @property
    def adjacency(self) -> Adjacency:
        """The game that a coin plays: that of the mechanism."""
        return self.candidates[0].adjacency

    def describe(self) -> dict[str, Any]:
        """What results are told apart by; all of it is public."""
        return {
            "tuning": repr(self.runs),
            "quality": self.quality.describe(),
            "candidates": [one.describe() for one in self.candidates],
        }

    def embed(self, features: Features, labels: Labels | None = None) -> Features:
        """As the first candidate: what a surrogate of the scorer sees."""
        return self.candidates[0].embed(features, labels)

    def linearise(self, private: PrivateRows, pool: Rows) -> Linearisation | None:
        """The best of several is not linear in the coins."""
        return None

    def fit(
        self, private: PrivateRows, inclusion: Inclusion, pool: Rows, *, streams: ShadowStreams
    ) -> "TunedScorers":
        """All runs of a candidate at once, as if each were a shadow; candidate after candidate."""
        made = self._schedule(streams)
        fitted: list[FittedScorers | None] = []
        quality = np.empty(len(made.place))
        for choice, candidate in enumerate(self.candidates):
            mine = np.flatnonzero(made.choice == choice)
            if not len(mine):
                fitted.append(None)
                continue
            place = made.place[mine]
            own = streams.of_runs(place.tolist(), made.run[mine].tolist())
            scorers = candidate.fit(private, inclusion[place], pool, streams=own)
            exact = self._exact(scorers, private, inclusion[place], pool)
            quality[mine] = self.quality.noisy(exact, own.generators(QUALITY_STREAM))
            fitted.append(scorers)
        return _kept(fitted, made, quality, len(inclusion))

    def _exact(
        self, scorers: FittedScorers, private: PrivateRows, inclusion: Inclusion, pool: Rows
    ) -> Floats:
        """The qualities of R runs without noise (R,); so many at once that scores stay small."""
        n_scores = len(private) + self.quality.n_public
        at_once = max(1, SCORES_AT_ONCE // n_scores)
        blocks = np.split(np.arange(len(inclusion)), range(at_once, len(inclusion), at_once))
        held = private.unit_inclusion(inclusion)
        return np.concatenate(
            [self.quality.exact(only(scorers, one), private, held[one], pool) for one in blocks]
        )

    def _schedule(self, streams: ShadowStreams) -> "Schedule":
        sources = streams.generators(RUNS_STREAM)
        return Schedule.of_shadows([self.runs.drawn(len(self.candidates), one) for one in sources])


@dataclass(frozen=True, slots=True)
class Schedule:
    """The runs of all shadows, flat (R,) int64: at which place the shadow is, number, choice."""

    place: Indices
    run: Indices
    choice: Indices

    @classmethod
    def of_shadows(cls, choices: Sequence[Indices]) -> "Schedule":
        """From the choices of each shadow's runs, (K_s,) each."""
        counts = np.array([len(one) for one in choices], dtype=np.int64)
        place = np.repeat(np.arange(len(choices)), counts)
        run = np.arange(len(place)) - np.repeat(np.cumsum(counts) - counts, counts)
        return cls(place, run, np.concatenate([np.empty(0, dtype=np.int64), *choices]))

    def best(self, quality: Floats, n_shadows: int) -> Indices:
        """The run of the best quality (R,) of each shadow, int64 (S,); ``NOTHING`` without one."""
        order = np.lexsort((-quality, self.place))
        shadows, first = np.unique(self.place[order], return_index=True)
        best = np.full(n_shadows, NOTHING, dtype=np.int64)
        best[shadows] = order[first]
        return best


@dataclass(frozen=True, slots=True)
class Kept:
    """The scorers of some shadows, at ``places`` int64 (n,)."""

    places: Indices
    scorers: FittedScorers


@dataclass(frozen=True, slots=True)
class TunedScorers:
    """S scorers, the best run of each shadow; ``choice`` int64 (S,) says of which candidate."""

    parts: tuple[Kept, ...]
    choice: Indices

    def score(self, features: Features, labels: Labels | None = None) -> Scores:
        """(rows, d) -> (S, rows)."""
        scored = [one.scorers.score(features, labels) for one in self.parts]
        kind = np.result_type(*scored) if scored else features.dtype
        scores = np.zeros((len(self.choice), len(features)), dtype=kind)
        for part, of_part in zip(self.parts, scored, strict=True):
            scores[part.places] = of_part
        return scores


def _kept(
    fitted: Sequence[FittedScorers | None], made: Schedule, quality: Floats, n_shadows: int
) -> TunedScorers:
    """Of every candidate's scorers those that are the best of their shadow."""
    best = made.best(quality, n_shadows)
    choice = np.where(best == NOTHING, NOTHING, np.append(made.choice, NOTHING)[best])
    parts = []
    for one, scorers in enumerate(fitted):
        places = np.flatnonzero(choice == one)
        if scorers is not None and len(places):
            mine = np.flatnonzero(made.choice == one)
            parts.append(Kept(places, only(scorers, np.searchsorted(mine, best[places]))))
    return TunedScorers(tuple(parts), choice)


def only(fitted: FittedScorers, which: Indices) -> FittedScorers:
    """Some of the fitted scorers, int64 (n,)."""
    if isinstance(fitted, LinearScorers):
        return replace(fitted, weights=fitted.weights[which])
    if isinstance(fitted, NetworkScorers):
        layers = [Layer(one.weight[which], one.bias[which]) for one in fitted.layers]
        return replace(fitted, layers=layers)
    raise TypeError(f"{type(fitted).__name__} cannot be taken apart.")
