"""The most telling pool row: the pruned search against looking at every row for every pair."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from curation_audit.attacks.base import OtherPairs
from curation_audit.attacks.best_row import SAME, Changes, best_rows, within_reach
from tests.statistics.evidence import random_coins


def every(inclusion):
    return OtherPairs(np.ones(len(inclusion) // 2, dtype=bool))


def looped(values, inclusion, known, j, n):
    """The first of the best rows over the known pairs other than j, and its values there."""
    rest = [s for s in range(len(values)) if s // 2 != j and known[s // 2]]
    held = inclusion[rest, n]
    inside, outside = values[rest][held], values[rest][~held]
    size = np.abs(inside.sum(axis=0) - outside.sum(axis=0))
    k = int(np.flatnonzero(size >= size.max() * (1 - SAME))[0])
    return k, inside[:, k], outside[:, k]


def check(values, inclusion, known):
    rows = best_rows(values, inclusion, OtherPairs(known))
    n_pairs, n_candidates = len(inclusion) // 2, inclusion.shape[1]
    for j, n in itertools.product(range(n_pairs), range(n_candidates)):
        k, inside, outside = looped(values, inclusion, known, j, n)
        assert rows.column[j, n] == k
        assert rows.tested[j, :, n].tolist() == values[2 * j : 2 * j + 2, k].tolist()
        close = {"rel": 1e-9, "abs": 1e-9}
        assert rows.mean[j, :, n] == pytest.approx([inside.mean(), outside.mean()], **close)
        squares = [(inside**2).mean(), (outside**2).mean()]
        assert rows.square[j, :, n] == pytest.approx(squares, **close)


KINDS = {
    "numbers": lambda rng, shape: rng.standard_normal(shape),
    "picks": lambda rng, shape: (rng.random(shape) < 0.3) * 1.0,
    "rare picks": lambda rng, shape: (rng.random(shape) < 0.02) * 1.0,
    "constant": lambda rng, shape: np.ones(shape),
    "a few that change": lambda rng, shape: (
        rng.integers(0, 3, shape) * (rng.random(shape[1]) < 0.2)
    ),
}


@given(
    st.sampled_from(sorted(KINDS)), st.integers(0, 2**32 - 1), st.integers(2, 9), st.integers(1, 12)
)
@settings(max_examples=60, deadline=None)
def test_the_pruned_search_equals_the_loop(kind, seed, n_pairs, n_pool):
    rng = np.random.default_rng(seed)
    inclusion = random_coins(rng, n_pairs, 4)
    values = KINDS[kind](rng, (2 * n_pairs, n_pool))
    known = np.ones(n_pairs, dtype=bool)
    known[3:] = rng.random(max(0, n_pairs - 3)) < 0.6
    check(values, inclusion, known)


@pytest.mark.parametrize("n_bytes", [1, 8 * 30 * 2, 2**25], ids=["1", "2", "all"])
@pytest.mark.parametrize("kind", ["numbers", "picks"])
def test_blocks_change_nothing(monkeypatch, kind, n_bytes):
    rng = np.random.default_rng(1)
    inclusion = random_coins(rng, 6, 5)
    values = KINDS[kind](rng, (12, 30)) + inclusion @ rng.standard_normal((5, 30)).round()
    monkeypatch.setattr("curation_audit.attacks.best_row.BYTES_PER_BLOCK", n_bytes)
    check(values, inclusion, np.ones(6, dtype=bool))


def test_few_rows_are_in_reach_where_there_are_many_pairs():
    """What the speed rests on; and all rows that ever win are among them."""
    rng = np.random.default_rng(2)
    inclusion = random_coins(rng, 64, 30)
    values = rng.standard_normal((128, 3000))
    changes = Changes.of(values, every(inclusion))
    difference = np.where(inclusion[0::2], 1.0, -1.0).T @ changes.change
    kept = within_reach(difference, changes.largest)
    assert kept.sum(axis=1).max() < 0.05 * 3000
    rows = best_rows(values, inclusion, every(inclusion))
    assert kept[np.arange(30), rows.column].all()
    assert any(len(np.unique(one)) > 1 for one in rows.column.T)


def test_ties_go_to_the_first_row_whatever_the_rounding():
    """Equal rows, and rows that are equal but for the order of sums, are no choice of coins."""
    rng = np.random.default_rng(3)
    inclusion = random_coins(rng, 16, 6)
    values = rng.standard_normal((32, 4)).round(2)
    # every row has a twin that moves by as much, to the other side and about another level
    twins = np.concatenate([values, 0.1 - values], axis=1)
    rows = best_rows(twins, inclusion, every(inclusion), twins.mean(axis=0))
    assert rows.column.max() < 4
