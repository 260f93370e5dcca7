"""Small sites for mechanisms, and every mechanism with what is known of it."""

import dataclasses
import functools
import math
from collections.abc import Callable
from typing import Any
from unittest import mock

import numpy as np
import torch

from curation_audit.dp import ledger
from curation_audit.dp.calibration import noise_multiplier_for
from curation_audit.dp.ledger import guarantee_of
from curation_audit.dp.tuning import Grid, RandomStopping
from curation_audit.pipelines.base import PrivateRows, Rows, Scorer
from curation_audit.pipelines.protection import MECHANISMS, SELECTION, dp_sgd
from curation_audit.pipelines.protection.base import Budget, Site
from curation_audit.pipelines.protection.centroid_votes import CentroidVotes
from curation_audit.pipelines.protection.domain_votes import DomainVotes
from curation_audit.pipelines.protection.dp_sgd import DpGd, DpSgd
from curation_audit.pipelines.protection.dsir_histogram import DsirHistogram
from curation_audit.pipelines.protection.gaussian_mean import GaussianMean
from curation_audit.pipelines.protection.less_sums import LessSums
from curation_audit.pipelines.protection.module_sgd import ModuleSgd
from curation_audit.pipelines.protection.noisy_top_k import NoisySelection
from curation_audit.pipelines.protection.protect import (
    Protected,
    ProtectSettings,
    parts_of,
    protect,
)
from curation_audit.pipelines.protection.rff_density import RffDensity
from curation_audit.pipelines.protection.shard_votes import ShardVoting
from curation_audit.pipelines.protection.trak_sum import TrakSum
from curation_audit.pipelines.protection.tuning import PaidTuning
from curation_audit.pipelines.protection.ulsif import Ulsif
from curation_audit.pipelines.rules.top import TopK
from curation_audit.pipelines.scorers.classifier import Classifier
from curation_audit.pipelines.scorers.dsir import Dsir
from curation_audit.pipelines.scorers.less import Less
from curation_audit.pipelines.scorers.mean import Mean
from curation_audit.pipelines.scorers.nearest import Nearest
from curation_audit.pipelines.scorers.trak import Trak
from curation_audit.streams import ShadowStreams, Streams

N, M, D, K, S = 14, 60, 5, 9, 6
DELTA = 1e-5
TIES = np.arange(M)
PATIENTS = (0, 0, 0, *range(1, N - 1), N - 1, N - 1)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Case:
    """A mechanism, its settings, the scorer that it protects, and whether its claim is exact."""

    mechanism: str
    scorer: Scorer
    settings: object = None
    selection: NoisySelection | None = None
    exact: bool = True
    tuning: PaidTuning | None = None
    read: Callable[[np.ndarray], tuple[np.ndarray, np.ndarray | None]] | None = None
    """What rows are to the mechanism, features and labels: made from a row's own numbers."""


def with_labels(features: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Three classes by the first two columns."""
    return features, (features[:, 0] > 0).astype(np.int64) + (features[:, 1] > 0.5)


def as_tokens(features: np.ndarray) -> tuple[np.ndarray, None]:
    """Codes from 0 (nothing) to 6; a row that is not finite is an empty text."""
    bounded = np.where(np.isfinite(features), np.clip(np.abs(features), 0, 100), 0)
    return np.floor(4 * bounded) % 7, None


@dataclasses.dataclass(frozen=True)
class ReadMap:
    """A map behind the reading of a case, so that tests may hand plain numbers in."""

    map: Any
    read: Callable

    @property
    def name(self) -> str:
        return self.map.name

    @property
    def nonnegative(self) -> bool:
        return self.map.nonnegative

    def contribution(self, features, labels=None):
        return self.map.contribution(*self.read(features))

    def query(self, features, labels=None):
        return self.map.query(*self.read(features))

    def phi(self, features):
        return self.map.phi(self.read(features)[0])

    def describe(self):
        return self.map.describe()

    def __getattr__(self, name):
        if name.startswith("__"):
            raise AttributeError(name)
        return getattr(self.map, name)


MEAN, LOGIT, NEAREST = Mean(), Classifier(device="cpu"), Nearest()
SGD = DpSgd(steps=2, sampling_rate=0.5, expected_units=5.0)
GD = DpGd(steps=3, expected_units=11.0)
VOTES = CentroidVotes(clusters=4)
DENSITY, RATIO = RffDensity(frequencies=6), Ulsif(centers=8)


def linear_module(d: int) -> torch.nn.Module:
    return torch.nn.Linear(d, 1, dtype=torch.float64)


MODULE = ModuleSgd(module=linear_module, steps=2, sampling_rate=0.5, expected_units=5.0)
NOISES = ("gumbel", "gaussian", "exponential", "permute_and_flip")
CASES = {
    "gaussian_mean": Case(mechanism="gaussian_mean", scorer=MEAN),
    "gaussian_mean of logits": Case(mechanism="gaussian_mean", scorer=LOGIT),
    "gaussian_mean, centred": Case(
        mechanism="gaussian_mean", scorer=MEAN, settings=GaussianMean(clip=0.7, center=True)
    ),
    "centroid_votes": Case(mechanism="centroid_votes", scorer=NEAREST, settings=VOTES),
    "centroid_votes, three": Case(
        mechanism="centroid_votes", scorer=NEAREST, settings=CentroidVotes(clusters=7, votes=3)
    ),
    "rff_density": Case(mechanism="rff_density", scorer=NEAREST, settings=DENSITY),
    "ulsif": Case(mechanism="ulsif", scorer=LOGIT, settings=RATIO),
    "ulsif, clipped": Case(
        mechanism="ulsif", scorer=LOGIT, settings=Ulsif(centers=7, clip=0.4, bandwidth=2.0)
    ),
    "shard_votes": Case(
        mechanism="shard_votes", scorer=NEAREST, settings=ShardVoting(shards=4, picks=5)
    ),
    "shard_votes of logits": Case(
        mechanism="shard_votes", scorer=LOGIT, settings=ShardVoting(shards=3, picks=5)
    ),
    "domain_votes": Case(
        mechanism="domain_votes", scorer=MEAN, settings=DomainVotes(), read=with_labels
    ),
    "trak_sum": Case(
        mechanism="trak_sum",
        scorer=Trak(models=2, projection=7, device="cpu"),
        settings=TrakSum(),
        read=with_labels,
    ),
    "less_sums": Case(
        mechanism="less_sums",
        scorer=Less(epochs=2, projection=7, device="cpu"),
        settings=LessSums(),
        read=with_labels,
    ),
    "less_sums, one": Case(
        mechanism="less_sums",
        scorer=Less(epochs=2, projection=7, subtasks="one", device="cpu"),
        settings=LessSums(),
        read=with_labels,
    ),
    "dsir_histogram": Case(
        mechanism="dsir_histogram",
        scorer=Dsir(),
        settings=DsirHistogram(buckets=16),
        read=as_tokens,
    ),
    "dp_gd": Case(mechanism="dp_gd", scorer=LOGIT, settings=GD),
    "dp_sgd": Case(mechanism="dp_sgd", scorer=LOGIT, settings=SGD, exact=False),
    "tuned gaussian_mean, grid": Case(
        mechanism="gaussian_mean",
        scorer=MEAN,
        tuning=PaidTuning(over={"clip": (0.5, 1.0), "center": (True, False)}, runs=Grid()),
    ),
    "tuned ulsif, random": Case(
        mechanism="ulsif",
        scorer=LOGIT,
        settings=RATIO,
        exact=False,
        tuning=PaidTuning(over={"bandwidth": (1.0, 2.0)}, runs=RandomStopping(mean=3)),
    ),
    "tuned dp_gd, random": Case(
        mechanism="dp_gd",
        scorer=LOGIT,
        settings=GD,
        exact=False,
        tuning=PaidTuning(
            over={"steps": (2, 4), "clip": (0.5, 1.0)},
            runs=RandomStopping(mean=2, number="logarithmic"),
        ),
    ),
    "module_sgd": Case(mechanism="module_sgd", scorer=LOGIT, settings=MODULE, exact=False),
    **{
        f"noisy_top_k, {noise}": Case(
            mechanism=SELECTION,
            scorer=MEAN,
            selection=NoisySelection(noise=noise),
            exact=noise == "gaussian",
        )
        for noise in NOISES
    },
    "noisy_top_k of logits": Case(mechanism=SELECTION, scorer=LOGIT, exact=False),
    "noisy_top_k of nearest": Case(
        mechanism=SELECTION, scorer=NEAREST, selection=NoisySelection(force=True), exact=False
    ),
    "gaussian_mean + noisy_top_k": Case(
        mechanism=f"gaussian_mean + {SELECTION}", scorer=MEAN, exact=False
    ),
    "centroid_votes + noisy_top_k": Case(
        mechanism=f"centroid_votes + {SELECTION}",
        scorer=NEAREST,
        settings=VOTES,
        selection=NoisySelection(noise="gaussian", split=0.3),
    ),
    "dp_gd + noisy_top_k": Case(
        mechanism=f"dp_gd + {SELECTION}", scorer=LOGIT, settings=GD, exact=False
    ),
}
ALL_NAMES = {*MECHANISMS, SELECTION, f"gaussian_mean + {SELECTION}"}


def private_rows(unit=tuple(range(N)), seed=0, dtype=np.float64, always=()) -> PrivateRows:
    """Rows of units; units in ``always`` are no candidates, and are in every shadow."""
    features = np.random.default_rng(seed).normal(0.3, 1, (len(unit), D)).astype(dtype)
    owner = np.array(unit, dtype=np.int64)
    candidates = [u for u in range(owner.max() + 1) if u not in always]
    column = np.full(owner.max() + 1, -1)
    column[candidates] = np.arange(len(candidates))
    return PrivateRows(
        ids=tuple(map(str, range(len(unit)))),
        features=features,
        unit=column[owner],
        unit_ids=tuple(f"u{i}" for i in candidates),
        owner=owner,
    )


def pool_rows(dtype=np.float64, m=M) -> Rows:
    features = np.random.default_rng(1).normal(size=(m, D)).astype(dtype)
    return Rows(tuple(map(str, range(m))), features)


def site_of(case: Case, private: PrivateRows, pool: Rows, adjacency="zero_out") -> Site:
    return Site(
        private=private, pool=pool, scorer=case.scorer, adjacency=adjacency, seed=3, device="cpu"
    )


def pool_makes_the_map(case: Case) -> bool:
    """Whether rows pass a map that is learnt from the pool."""
    of_rows = ("module_sgd", "shard_votes")
    return case.mechanism not in of_rows and (case.settings is not None or case.scorer is LOGIT)


def protected(
    case: Case,
    private: PrivateRows | None = None,
    pool: Rows | None = None,
    *,
    adjacency="zero_out",
    budget: Budget | None = None,
    epsilon: float = 2.0,
    rule=None,
    unit: str = "row",
    stated_unit: str | None = None,
    **words,
) -> Protected:
    """The mechanism of a case at a small site."""
    settings = ProtectSettings(
        mechanism=case.mechanism,
        adjacency=adjacency,
        budget=budget or Budget(epsilon=epsilon, delta=DELTA),
        scorer=case.settings,
        selection=case.selection,
        unit=stated_unit,
        tuning=case.tuning,
        **words,
    )
    private = private_rows() if private is None else private
    pool = pool_rows() if pool is None else pool
    site = site_of(case, as_read(case, private), as_read(case, pool), adjacency)
    with (
        mock.patch.object(dp_sgd, "noise_multiplier_for", _calibrated),
        mock.patch.object(ledger, "guarantee_of", _composed),
    ):
        made = protect(settings, site, rule or TopK(k=K), unit)
    if case.read is None:
        return made
    return dataclasses.replace(made, scorer=_reading(made.scorer, case.read))


def as_read(case: Case, rows):
    """Private rows or a pool as the mechanism of a case is to see them."""
    if case.read is None:
        return rows
    features, labels = case.read(rows.features)
    return dataclasses.replace(rows, features=features, labels=labels)


def _reading(scorer, read):
    """The scorer with the reading in front of its map, and of the sum that it wraps."""
    names = {field.name for field in dataclasses.fields(scorer)}
    inner = {n: _reading(getattr(scorer, n), read) for n in names & {"sums", "histogram"}}
    return dataclasses.replace(scorer, map=ReadMap(scorer.map, read), **inner)


# both take seconds where units are sampled
_calibrated = functools.cache(noise_multiplier_for)
_composed = functools.cache(guarantee_of)


def without_noise(case: Case, **changes) -> Protected:
    return protected(case, epsilon=math.inf, **changes)


def noisy_scorer(case: Case) -> bool:
    return parts_of(case.mechanism)[0] is not None


def streams(shadows=range(S), seed=2) -> ShadowStreams:
    return Streams(seed).for_shadows("shadow", shadows)


def coins(n=N, n_shadows=S) -> np.ndarray:
    drawn = np.random.default_rng(7).integers(0, 2, (n_shadows, n)).astype(bool)
    drawn.setflags(write=False)
    return drawn


def scored(of: Protected, private, inclusion, pool, shadows=range(S)) -> np.ndarray:
    fitted = of.scorer.fit(private, inclusion, pool, streams=streams(shadows))
    return fitted.score(pool.features)


def picked(of: Protected, scores: np.ndarray, shadows=range(S), ties=TIES) -> np.ndarray:
    return of.rule.select(scores, ties, streams(shadows)).mask()
