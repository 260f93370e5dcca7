"""Where released scores fall among the similarities of the candidates nearest to each pool row."""

from dataclasses import dataclass
from typing import Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from curation_audit.attacks.base import known_candidates, known_pool
from curation_audit.observations import Candidates, Knowledge, Observation
from curation_audit.types import Features, Floats, Scores

N_NEAREST: Final = 32
POOL_ROWS_PER_BLOCK: Final = 1024
MOST_DECIMALS: Final = 6

Ranks: TypeAlias = NDArray[np.uint8]
Columns: TypeAlias = NDArray[np.int32]


def neighbours(observation: Observation, knowledge: Knowledge, n: int = N_NEAREST) -> "Neighbours":
    """The n candidates most similar to each pool row, found once for all who ask."""
    pool, candidates = known_pool(knowledge), known_candidates(knowledge)
    return observation.derived(
        f"{n} neighbours", (pool, candidates), lambda: Neighbours.of(pool, candidates, n)
    )


def scores_of_nobody(observation: Observation, knowledge: Knowledge) -> Scores:
    """The scores (m,) when no candidate is in."""
    score, candidates = knowledge.score, known_candidates(knowledge)
    if score is None:
        raise ValueError("this attack needs to run the scorer.")
    nobody = np.zeros((1, candidates.n_candidates), dtype=bool)
    return observation.derived("scores of nobody", (score, candidates), lambda: score(nobody)[0])


@dataclass(frozen=True, slots=True)
class Neighbours:
    """The K candidates most similar to each pool row, most similar first: both (m, K).

    ``complete``: those are all candidates.
    """

    candidate: Columns
    similarity: Features
    complete: bool

    @classmethod
    def of(cls, pool: Features, candidates: Candidates, n: int) -> "Neighbours":
        """A candidate of several rows is as similar as its most similar row."""
        order = np.argsort(candidates.unit, kind="stable")
        rows = candidates.features[order]
        starts = np.searchsorted(candidates.unit[order], np.arange(candidates.n_candidates))
        n_kept = min(n, candidates.n_candidates)
        columns, values = [], []
        for start in range(0, pool.shape[0], POOL_ROWS_PER_BLOCK):
            similarity = pool[start : start + POOL_ROWS_PER_BLOCK] @ rows.T
            if len(starts) < len(rows):
                similarity = np.maximum.reduceat(similarity, starts, axis=1)
            top = np.argpartition(-similarity, n_kept - 1, axis=1)[:, :n_kept]
            value = np.take_along_axis(similarity, top, axis=1)
            place = np.argsort(-value, axis=1, kind="stable")
            columns.append(np.take_along_axis(top, place, axis=1).astype(np.int32))
            values.append(np.take_along_axis(value, place, axis=1))
        complete = n_kept == candidates.n_candidates
        return cls(np.concatenate(columns), np.concatenate(values), complete)


@dataclass(frozen=True, slots=True)
class Places:
    """Where each shadow's scores fall among the similarities of each pool row.

    The first ``above`` of the row's neighbours are more similar than the score, those up to
    ``upto`` are as similar: uint8 (S, m). ``slack`` (S, 1): differences that are none.
    """

    above: Ranks
    upto: Ranks
    slack: Features

    @classmethod
    def of(cls, scores: Scores, nearest: Neighbours) -> "Places":
        """Locate scores (S, m)."""
        slack = tolerance(scores).astype(scores.dtype)[:, None]
        above = np.zeros(scores.shape, dtype=np.uint8)
        upto = np.zeros(scores.shape, dtype=np.uint8)
        for start in range(0, scores.shape[1], POOL_ROWS_PER_BLOCK):
            block = slice(start, start + POOL_ROWS_PER_BLOCK)
            above[:, block], upto[:, block] = _located(
                scores[:, block], slack, nearest.similarity[block]
            )
        return cls(above, upto, slack)

    def against(self, nearest: Neighbours, n_candidates: int) -> Floats:
        """How many rows say that a candidate is out, (S, N)."""
        return _counted(np.zeros_like(self.above), self.above, nearest, n_candidates)

    def equal(self, nearest: Neighbours, n_candidates: int) -> Floats:
        """How many rows have a score that is the candidate's similarity, (S, N)."""
        return _counted(self.above, self.upto, nearest, n_candidates)


def _counted(first: Ranks, beyond: Ranks, nearest: Neighbours, n_candidates: int) -> Floats:
    """In how many rows a candidate's rank is at least ``first`` and below ``beyond``: (S, N)."""
    votes = np.zeros(first.shape[0] * n_candidates)
    shadow, row = np.nonzero(first < beyond)
    rank, end = first[shadow, row], beyond[shadow, row]
    while len(shadow) > 0:  # the entries that go on halve with every rank
        at = shadow * n_candidates + nearest.candidate[row, rank]
        votes += np.bincount(at, minlength=len(votes))
        more = rank + 1 < end
        shadow, row, rank, end = shadow[more], row[more], rank[more] + 1, end[more]
    return votes.reshape(-1, n_candidates)


def _located(scores: Scores, slack: Features, nearest: Features) -> tuple[Ranks, Ranks]:
    """``above`` and ``upto`` of ``Places`` for a block of rows, nearest (rows, K)."""
    high, low = scores + slack, scores - slack
    above = np.zeros(scores.shape, dtype=np.uint8)
    upto = np.zeros(scores.shape, dtype=np.uint8)
    for similarity in nearest.T:  # one rank of all rows and shadows
        as_similar = similarity >= low
        if not as_similar.any():
            break
        upto += as_similar.view(np.uint8)
        above += (similarity > high).view(np.uint8)
    return above, upto


def tolerance(scores: Scores) -> Floats:
    """Differences that are no differences in each shadow's scores (S, m), from them alone: (S,).

    Rounding of single precision, and half a step where all scores of the shadow are multiples of
    a power of ten.
    """
    size = np.abs(scores).max(axis=1, initial=0)
    rounding = 8 * np.finfo(np.float32).eps * size.astype(np.float64)
    step, left = np.zeros(len(scores)), np.arange(len(scores))
    for decimals in reversed(range(MOST_DECIMALS + 1)):
        told = 10.0**decimals * rounding[left]
        units = scores[left] * 10.0**decimals
        error = np.abs(units - np.rint(units)).max(axis=1, initial=0)
        rounded = (error <= told) | (told >= 0.1)  # or too fine to be told
        left = left[rounded]
        step[left[told[rounded] < 0.1]] = 10.0**-decimals
    slack: Floats = rounding + step / 2
    return slack
