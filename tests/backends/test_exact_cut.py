"""The exact best k of a pool by counts that workers send: the same ids for any number of them."""

from dataclasses import dataclass
from functools import reduce
from operator import add

import numpy as np
import pytest

from curation_audit.backends.base import Placement, Work
from curation_audit.backends.local import Local
from curation_audit.pipelines.rules.cut import Cut, select, tie_hashes
from curation_audit.pipelines.rules.radix import Histogram, Prefix, Ties, order_keys32, score_of
from curation_audit.pipelines.rules.top import TopK

K = 4_321
Rows = tuple[np.ndarray, list[str]]


@dataclass(frozen=True)
class Counts:
    """One pass over one shard."""

    shards: tuple[Rows, ...]
    prefix: Prefix

    def check_here(self) -> None:
        pass

    def run(self, task: int) -> Histogram:
        return Histogram.of(order_keys32(self.shards[task][0]), self.prefix)


@dataclass(frozen=True)
class Tied(Counts):
    """The last pass: the tied rows of one shard that may stay."""

    budget: int = 0

    def run(self, task: int) -> Ties:
        scores, ids = self.shards[task]
        rows = self.prefix.rows(order_keys32(scores))
        return Ties.of(tie_hashes([ids[i] for i in rows], "0"), self.budget)


def summed(job, n_workers):
    """The sum over shards, added in the order in which workers finish."""
    n_shards = len(job.shards)
    work = Work(job=job, tasks=range(n_shards), find=lambda _: None, keep=lambda *_: None)
    results = Local(Placement(n_workers=n_workers)).results(work)
    return reduce(add, (result for _, result in results))


def cut_by_workers(shards: tuple[Rows, ...], n_workers: int) -> Cut:
    prefix, rank = Prefix(32), K
    while not prefix.whole:
        prefix, rank = summed(Counts(shards, prefix), n_workers).narrow(rank)
    bound = summed(Tied(shards, prefix, rank), n_workers).bound()
    return Cut(score_of(prefix.value, 32), bound, "0")


@pytest.mark.parametrize(("n_shards", "n_workers"), [(1, 1), (2, 2), (3, 1), (8, 2), (50, 1)])
def test_any_number_of_workers_picks_the_same_ids(rng, n_shards, n_workers):
    """Two digits of scores, so that some hundred rows are tied at the cut; shards at random."""
    scores = np.round(rng.standard_normal(20_000), 2).astype(np.float32)
    ids = [f"doc {i}" for i in range(20_000)]
    at_random = np.array_split(rng.permutation(20_000), n_shards)
    shards = tuple((scores[rows], [ids[i] for i in rows]) for rows in at_random)
    cut, whole = cut_by_workers(shards, n_workers), select(scores, TopK(k=K), ids)
    picked = [own[i] for values, own in shards for i in cut.indices(values, own)]
    assert (scores == np.float32(cut.score)).sum() > 50
    assert len(picked) == K
    assert sorted(picked) == sorted(ids[i] for i in whole.indices(scores, ids))
