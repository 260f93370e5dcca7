"""Scorers on vectors and controls, for the contract test: plain references, one row at a time."""

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from curation_audit.pipelines.base import PrivateRows, Rows
from curation_audit.pipelines.rules.cut import tie_hashes
from curation_audit.pipelines.scorers.centroid_votes import CentroidVotes
from curation_audit.pipelines.scorers.controls import PublicOnly, PublicScore, Random
from curation_audit.pipelines.scorers.flqmi import Flqmi
from curation_audit.pipelines.scorers.mlp_classifier import MlpClassifier
from curation_audit.streams import Streams
from tests.pipelines import reference

K, ETA = 7, 0.3
NETWORK: dict[str, Any] = {
    "hidden": (4,),
    "epochs": 3,
    "batch_size": 8,
    "learning_rate": 0.05,
    "momentum": 0.9,
    "weight_decay": 1e-3,
}
WORD = 1 << 64


@dataclass(frozen=True)
class SameStream:
    """A scorer that gives all shadows the stream of one, so that a reference has it, too."""

    scorer: Any

    @property
    def name(self) -> str:
        return self.scorer.name

    @property
    def family(self) -> str:
        return self.scorer.family

    def embed(self, features, labels=None):
        return self.scorer.embed(features, labels)

    def fit(self, private: PrivateRows, inclusion, pool: Rows, *, streams):
        same = replace(streams, shadows=streams.shadows[:1] * len(inclusion))
        return self.scorer.fit(private, inclusion, pool, streams=same)

    def linearise(self, private: PrivateRows, pool: Rows):
        return self.scorer.linearise(private, pool)


def stream(purpose: str) -> np.random.Generator:
    """What the contract test's first shadow draws from."""
    return Streams(2).for_shadows("test", [0]).generators(purpose)[0]


def network_scores(private: np.ndarray, pool: np.ndarray) -> list[float]:
    order = sorted(range(len(private)), key=lambda t: private[t].tobytes())
    rows = np.concatenate([private[order], pool]).astype(np.float64)
    found = reference.mlp_model(
        rows,
        np.array([1] * len(private) + [0] * len(pool)),
        2,
        pool.astype(np.float64),
        initial=stream("initial weights"),
        order=stream("row order"),
        **NETWORK,
    )
    return [math.log(p[1] / p[0]) for p in found]


def votes(centroids: np.ndarray, private: np.ndarray, pool: np.ndarray) -> list[float]:
    def nearest(row):
        return max(range(len(centroids)), key=lambda c: reference.inner(row, centroids[c]))

    mine = [nearest(t) for t in private]
    return [float(mine.count(nearest(x))) for x in pool]


def similarities(private: np.ndarray, pool: np.ndarray) -> list[list[float]]:
    mine = [reference.unit_length(t) for t in private]
    return [[max(0.0, reference.inner(reference.unit_length(x), t)) for t in mine] for x in pool]


def mutual_information(near: list[list[float]], chosen: list[int], eta: float) -> float:
    """``I(A; T)`` from similarities (pool rows, private rows), by its definition."""
    if not near[0] or not chosen:
        return 0.0
    covered = math.fsum(max(near[a][t] for a in chosen) for t in range(len(near[0])))
    return covered + eta * math.fsum(max(near[a]) for a in chosen)


def greedy(near: list[list[float]], ranks: list[int], k: int, eta: float) -> list[float]:
    """What every row of a plain greedy set added, and any other would add to it."""
    chosen: list[int] = []
    scores = [0.0] * len(near)

    def gain(row: int) -> float:
        with_it = mutual_information(near, [*chosen, row], eta)
        return with_it - mutual_information(near, chosen, eta)

    for _ in range(k):
        left = [row for row in range(len(near)) if row not in chosen]
        gains = {row: gain(row) for row in left}
        most = max(gains.values())
        best = min((row for row in left if gains[row] > most - 1e-12), key=ranks.__getitem__)
        scores[best] = gains[best]
        chosen.append(best)
    for row in range(len(near)):
        if row not in chosen:
            scores[row] = gain(row)
    return scores


def ranks_of(ids: list[str]) -> list[int]:
    return np.argsort(np.argsort(tie_hashes(ids, "flqmi"))).tolist()


def greedy_scores(private: np.ndarray, pool: np.ndarray) -> list[float]:
    return greedy(similarities(private, pool), ranks_of(list(map(str, range(len(pool))))), K, ETA)


def mixed(z: int) -> int:
    """SplitMix64's finaliser."""
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9 % WORD
    z = (z ^ (z >> 27)) * 0x94D049BB133111EB % WORD
    return z ^ (z >> 31)


def hashes(_private: np.ndarray, pool: np.ndarray) -> list[float]:
    key = int(stream("random scores").integers(1 << 63))
    found = []
    for row in pool:
        words = [int(np.float64(x + 0.0).view(np.uint64)) for x in row.tolist()]
        steps = ((i + 1) * 0x9E3779B97F4A7C15 for i in range(len(words)))
        total = sum(mixed((w + s) % WORD) for w, s in zip(words, steps, strict=True)) % WORD
        found.append((mixed(key ^ total) >> 11) / 2**53)
    return found


def typical(_private: np.ndarray, pool: np.ndarray) -> list[float]:
    mean = [math.fsum(map(float, column)) / len(pool) for column in pool.T]
    return [-math.dist(row.tolist(), mean) for row in pool]


def vector_cases(pool: Rows) -> dict[str, tuple[Any, Any]]:
    """Scorers on a pool, and what each computes for one shadow's rows and the pool."""
    bound: Any = CentroidVotes(clusters=5).bind(pool)
    return {
        "centroid_votes": (
            bound,
            lambda private, asked: votes(bound.map.centroids, private, asked),
        ),
        "flqmi": (Flqmi(k=K, eta=ETA), greedy_scores),
        "mlp_classifier": (SameStream(MlpClassifier(**NETWORK, device="cpu")), network_scores),
        "public_only": (PublicOnly(), typical),
        "public_score": (PublicScore(column=2), lambda private, asked: asked[:, 2].tolist()),
        "random": (SameStream(Random()), hashes),
    }
