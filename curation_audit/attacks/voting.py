"""Voting: what the score of the nearest private row says of each candidate near a pool row."""

from dataclasses import dataclass
from typing import ClassVar, Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from curation_audit.attacks.base import known_candidates, known_pool
from curation_audit.observations import Candidates, Knowledge, Observation, Stage
from curation_audit.streams import ShadowStreams
from curation_audit.types import Evidence, Features, Floats, Inclusion, Indices, Mask, Scores

N_NEAREST: Final = 32
FALSE_VOTES: Final = 1e-6
CERTAIN: Final = -float(np.log(FALSE_VOTES))
POOL_ROWS_PER_BLOCK: Final = 1024
MOST_DECIMALS: Final = 6

Ranks: TypeAlias = NDArray[np.uint8]


@dataclass(frozen=True, slots=True, kw_only=True)
class Voting:
    """Log odds from votes: pool rows name who may be in, and who cannot be.

    A score is the largest similarity to a member. So whoever is more similar is out, and
    somebody exactly as similar is in: surely where that is one candidate, else one of g, who
    each get ``-log(1 - 2^(1 - g))``, the log ratio for "one of g is in" with fair coins.
    Candidates whom any row rules out do not count among the g, and no vote is given where rows
    that are always in explain the score. Sure votes count as independent, each wrong once in a
    million; of a candidate's shared votes the strongest counts.

    A row votes on the 32 candidates that are nearest to it: with fair coins, none of them is in
    once in 2^32. Equal means up to the rounding of single precision, or up to half a step where
    the shadow's scores are rounded to decimals. Nothing is learnt from shadows.
    """

    name: ClassVar[str] = "voting"
    title: ClassVar[str] = "Voting by equal similarity"
    stage: ClassVar[Stage] = "scores"
    needs: ClassVar[frozenset[str]] = frozenset(
        {"algorithm", "candidates", "nearest scorer", "other candidates", "pool", "score values"}
    )
    source: ClassVar[str] = "Wahdany et al. 2026, arXiv:2603.00811; weights this project"
    cost: ClassVar[str] = "m N (p + log N) + about 32 S m"

    def evidence(
        self,
        observation: Observation,
        inclusion: Inclusion,
        knowledge: Knowledge,
        *,
        streams: ShadowStreams,
    ) -> Evidence:
        """Float64 (S, N); of the inclusion only the shape is looked at."""
        pool, candidates = known_pool(knowledge), known_candidates(knowledge)
        nearest = Neighbours.of(pool, candidates)
        places = Places.of(observation.scores, nearest, background(knowledge, candidates))
        against = places.against(nearest, inclusion.shape[1])
        return places.in_favour(nearest, against) - CERTAIN * against


def background(knowledge: Knowledge, candidates: Candidates) -> Scores:
    """The scores (m,) when no candidate is in."""
    if knowledge.score is None:
        raise ValueError("this attack needs to run the scorer.")
    alone: Scores = knowledge.score(np.zeros((1, candidates.n_candidates), dtype=bool))[0]
    return alone


@dataclass(frozen=True, slots=True)
class Neighbours:
    """The K candidates most similar to each pool row, most similar first: both (m, K)."""

    candidate: Indices
    similarity: Features
    complete: bool

    @classmethod
    def of(cls, pool: Features, candidates: Candidates) -> "Neighbours":
        """A candidate of several rows is as similar as its most similar row."""
        order = np.argsort(candidates.unit, kind="stable")
        rows = candidates.features[order]
        starts = np.searchsorted(candidates.unit[order], np.arange(candidates.n_candidates))
        n_kept = min(N_NEAREST, candidates.n_candidates)
        columns, values = [], []
        for start in range(0, pool.shape[0], POOL_ROWS_PER_BLOCK):
            similarity = pool[start : start + POOL_ROWS_PER_BLOCK] @ rows.T
            if len(starts) < len(rows):
                similarity = np.maximum.reduceat(similarity, starts, axis=1)
            top = np.argpartition(-similarity, n_kept - 1, axis=1)[:, :n_kept]
            value = np.take_along_axis(similarity, top, axis=1)
            place = np.argsort(-value, axis=1, kind="stable")
            columns.append(np.take_along_axis(top, place, axis=1))
            values.append(np.take_along_axis(value, place, axis=1))
        complete = n_kept == candidates.n_candidates
        return cls(np.concatenate(columns), np.concatenate(values), complete)


@dataclass(frozen=True, slots=True)
class Places:
    """Where each shadow's scores fall among the similarities of each pool row.

    The first ``above`` of the row's neighbours are more similar than the score, those up to
    ``upto`` are as similar: uint8 (S, m). ``explained`` bool (S, m): nobody has to be in.
    """

    above: Ranks
    upto: Ranks
    explained: Mask

    @classmethod
    def of(cls, scores: Scores, nearest: Neighbours, alone: Scores) -> "Places":
        """Locate scores (S, m), with the scores (m,) of nobody."""
        slack = tolerance(scores).astype(scores.dtype)[:, None]
        above = np.zeros(scores.shape, dtype=np.uint8)
        upto = np.zeros(scores.shape, dtype=np.uint8)
        explained = alone >= scores - slack
        n_kept = nearest.similarity.shape[1]
        for start in range(0, scores.shape[1], POOL_ROWS_PER_BLOCK):
            block = slice(start, start + POOL_ROWS_PER_BLOCK)
            above[:, block], upto[:, block] = _located(
                scores[:, block], slack, nearest.similarity[block]
            )
        if not nearest.complete:  # somebody further down may be as similar
            explained |= upto == n_kept
        return cls(above, upto, explained)

    def against(self, nearest: Neighbours, n_candidates: int) -> Floats:
        """How many rows say that a candidate is out, (S, N)."""
        votes = np.zeros(self.above.shape[0] * n_candidates)
        shadow, row = np.nonzero(self.above)
        left = self.above[shadow, row]
        rank = 0
        while len(shadow) > 0:  # the entries that go on halve with every rank
            at = shadow * n_candidates + nearest.candidate[row, rank]
            votes += np.bincount(at, minlength=len(votes))
            rank += 1
            more = left > rank
            shadow, row, left = shadow[more], row[more], left[more]
        return votes.reshape(-1, n_candidates)

    def in_favour(self, nearest: Neighbours, against: Floats) -> Floats:
        """The votes for each candidate, weighed by how many others could explain the score.

        Only candidates whom no row rules out share a vote; who stands alone always has it. Of
        shared votes the strongest counts, as rows near each other say the same.
        """
        n_candidates = against.shape[1]
        size = self.upto - self.above
        size[self.explained] = 0
        shadow, row = np.nonzero(size == 1)
        at = shadow * n_candidates + nearest.candidate[row, self.above[shadow, row]]
        votes = CERTAIN * np.bincount(at, minlength=against.size)
        shadow, row = np.nonzero(size > 1)
        first = self.above[shadow, row].astype(np.int64)
        beyond = self.upto[shadow, row].astype(np.int64)
        sharing = []
        n_sharing = np.zeros(len(shadow), dtype=np.int64)
        for step in range(int(size.max(initial=0)) if len(shadow) else 0):
            group = np.flatnonzero(first + step < beyond)
            at = nearest.candidate[row[group], first[group] + step] + shadow[group] * n_candidates
            possible = against.ravel()[at] == 0
            sharing.append((group[possible], at[possible]))
            n_sharing[group[possible]] += 1
        shared = np.zeros(against.size)
        for group, at in sharing:
            np.maximum.at(shared, at, vote_for(n_sharing[group]))
        favour: Floats = (votes + shared).reshape(against.shape)
        return favour


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


def vote_for(n_possible: Indices) -> Floats:
    """``-log P(one of g is in | a given one of them is out)``, at least a false vote."""
    none_of_others = 0.5 ** (n_possible - 1.0)
    votes: Floats = -np.log1p(-none_of_others * (1 - FALSE_VOTES))
    return votes


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
