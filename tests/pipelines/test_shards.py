"""Cuts of a pool in shards, by counts alone, against the cut of all rows and a full sort."""

import math
import pickle

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from curation_audit.checks import InputError, SettingError
from curation_audit.pipelines.rules.cut import NOBODY, order_keys, select, tie_hashes
from curation_audit.pipelines.rules.group_cuts import select_groups
from curation_audit.pipelines.rules.levels import ScoreRange
from curation_audit.pipelines.rules.per_group import PerGroup
from curation_audit.pipelines.rules.radix import Histogram, Prefix, Ties, order_keys32, score_of
from curation_audit.pipelines.rules.sampled import Pareto
from curation_audit.pipelines.rules.shards import Shard, cut_of_shards, cuts_of_shards
from curation_audit.pipelines.rules.threshold import Threshold
from curation_audit.pipelines.rules.token_budget import TokenBudget
from curation_audit.pipelines.rules.top import TopFraction, TopK

# ties, both zeros, subnormals, neighbours that differ in the last digit only, no score at all
VALUES = [-math.inf, -1.5, -1e-45, -0.0, 0.0, 1e-45, 1.0, 1.0 + 2**-23, 3e38, math.inf, math.nan]
columns = st.lists(st.sampled_from(VALUES), min_size=1, max_size=30)


def names(n):
    return [f"doc {i}" for i in range(n)]


def plain_order(scores, ids, salt="0"):
    """All rows, the first to be picked first; one hash at a time, Python's own sort."""
    hashes = dict(zip(ids, tie_hashes(ids, salt).tolist(), strict=True))

    def key(row):
        missing = math.isnan(scores[row])
        return (missing, 0.0 if missing else -scores[row], hashes[ids[row]])

    return sorted(range(len(scores)), key=key)


@st.composite
def pools(draw):
    """Scores, sizes and groups of some rows, and shards of them in any layout, some empty."""
    scores = draw(columns)
    m = len(scores)
    sizes = draw(st.lists(st.integers(0, 5), min_size=m, max_size=m))
    groups = draw(st.lists(st.sampled_from("ab"), min_size=m, max_size=m))
    order = draw(st.permutations(range(m)))
    bounds = sorted(draw(st.lists(st.integers(0, m), max_size=3)))
    dtype = draw(st.sampled_from([np.float32, np.float64]))
    column, ids = np.array(scores, dtype=dtype), names(m)
    shards = [
        Shard(
            column[order[a:b]],
            [ids[i] for i in order[a:b]],
            np.array(sizes, dtype=np.int64)[order[a:b]],
            [groups[i] for i in order[a:b]],
        )
        for a, b in zip([0, *bounds], [*bounds, m], strict=True)
    ]
    bits = draw(st.sampled_from([32, 64])) if dtype is np.float32 else 64
    return column, sizes, groups, shards, bits


def kept(shards, cut):
    """The ids that a cut keeps, shard by shard."""
    return {shard.ids[i] for shard in shards for i in cut.indices(shard.scores, shard.ids).tolist()}


@settings(max_examples=300)
@given(pool=pools(), k=st.integers(1, 30), salt=st.sampled_from(["0", "x"]))
def test_the_best_k_are_those_of_a_full_sort(pool, k, salt):
    column, _, _, shards, bits = pool
    ids, k = names(len(column)), min(k, len(column))
    cut = cut_of_shards(lambda: shards, TopK(k=k), salt=salt, bits=bits)
    assert kept(shards, cut) == {ids[row] for row in plain_order(column.tolist(), ids, salt)[:k]}
    whole = select(column, TopK(k=k), ids, salt=salt)
    assert order_keys([cut.score]) == order_keys([whole.score])
    assert (cut.tie_bound, cut.salt) == (whole.tie_bound, salt)


@given(pool=pools(), fraction=st.sampled_from([0.01, 0.3, 0.99]))
def test_a_fraction_is_of_all_shards_together(pool, fraction):
    column, _, _, shards, bits = pool
    ids = names(len(column))
    k = max(1, round(fraction * len(column)))
    cut = cut_of_shards(lambda: shards, TopFraction(fraction=fraction), bits=bits)
    assert kept(shards, cut) == {ids[row] for row in plain_order(column.tolist(), ids)[:k]}


@settings(max_examples=300)
@given(pool=pools(), budget=st.integers(1, 60))
def test_a_budget_of_tokens_ends_where_a_plain_walk_does(pool, budget):
    column, sizes, _, shards, bits = pool
    ids = names(len(column))
    if budget > sum(sizes):
        with pytest.raises(SettingError, match="the sizes of the pool add up to"):
            cut_of_shards(lambda: shards, TokenBudget(budget=budget), bits=bits)
        with pytest.raises(SettingError, match="the sizes of the pool add up to"):
            select(column, TokenBudget(budget=budget), ids, sizes=sizes)
        return
    expected, spent = set(), 0
    for row in plain_order(column.tolist(), ids):
        spent += sizes[row]
        if spent > budget:
            break
        expected.add(ids[row])
    rule = TokenBudget(budget=budget)
    assert kept(shards, cut_of_shards(lambda: shards, rule, bits=bits)) == expected
    whole = select(column, rule, ids, sizes=sizes)
    assert {ids[i] for i in whole.indices(column, ids).tolist()} == expected


@settings(max_examples=200)
@given(pool=pools(), quotas=st.dictionaries(st.sampled_from("ab"), st.integers(0, 12), min_size=1))
def test_quotas_are_cuts_of_every_group_by_itself(pool, quotas):
    column, _, groups, shards, bits = pool
    ids = names(len(column))
    there = {name: groups.count(name) for name in sorted({*groups})}
    quotas = {name: min(n, there[name]) for name, n in quotas.items() if name in there}
    if not sum(quotas.values()):
        return
    rule = PerGroup(by="site", quotas=quotas)
    expected = set()
    for name, quota in quotas.items():
        own = [row for row in plain_order(column.tolist(), ids) if groups[row] == name]
        expected |= {ids[row] for row in own[:quota]}
    for cuts in (
        cuts_of_shards(lambda: shards, rule, bits=bits),
        select_groups(column, rule, groups, ids),
    ):
        found = set()
        for shard in shards:
            mask = cuts.mask(shard.scores, shard.groups, shard.ids)
            found |= {shard.ids[i] for i in np.flatnonzero(mask).tolist()}
        assert found == expected


def test_shards_are_read_once_a_pass_and_hold_no_row_longer():
    """Two digits of float32, four of float64, and one pass over the ties."""
    scores = np.random.default_rng(0).integers(0, 50, 4000).astype(np.float32)
    for bits, n_passes in ((32, 3), (64, 5)):
        passes = []

        def read(passes=passes):
            passes.append(0)
            for at in range(0, 4000, 1000):
                passes[-1] += 1
                yield Shard(scores[at : at + 1000], names(4000)[at : at + 1000])

        cut = cut_of_shards(read, TopK(k=777), bits=bits)
        assert passes == [4] * n_passes
        assert cut == select(scores, TopK(k=777), names(4000))


def test_a_cut_that_is_known_before_reads_nothing():
    def read():
        raise AssertionError("read")

    assert cut_of_shards(read, Threshold(minimum=0.5)) == select([], Threshold(minimum=0.5))
    both = ScoreRange(low=-1.0, high=2.0)
    assert cut_of_shards(read, both) == select([], both)


def test_all_rows_or_more():
    shards = [Shard(np.array([1.0, math.nan]), ["a", "b"]), Shard(np.array([2.0]), ["c"])]
    assert kept(shards, cut_of_shards(lambda: shards, TopK(k=3))) == {"a", "b", "c"}
    with pytest.raises(InputError, match="found k = 4, but the pool has 3 rows"):
        cut_of_shards(lambda: shards, TopK(k=4))
    with pytest.raises(InputError, match="the pool has 0 rows"):
        cut_of_shards(lambda: [], TopK(k=1))


def test_what_shards_are_refused():
    with pytest.raises(SettingError, match="ids: are missing; rows of shards need ids"):
        cut_of_shards(lambda: [Shard(np.zeros(2), None)], TopK(k=1))
    double = [Shard(np.zeros(2), ["a", "b"])]
    with pytest.raises(SettingError, match=r"expected float32 \(m,\) for keys of 32 bits"):
        cut_of_shards(lambda: double, TopK(k=1), bits=32)
    with pytest.raises(SettingError, match="rule: found Pareto; it draws noise"):
        cut_of_shards(lambda: double, Pareto(alpha=1.0))
    with pytest.raises(SettingError, match="sizes: are missing; a token budget needs"):
        cut_of_shards(lambda: double, TokenBudget(budget=1))
    with pytest.raises(SettingError, match=r"rule: found PerGroup; .* use select_groups"):
        cut_of_shards(lambda: double, PerGroup(by="site", k=1))
    same = [Shard(np.zeros(2), ["a", "a"])]
    with pytest.raises(SettingError, match="found one id on several rows"):
        cut_of_shards(lambda: same, TopK(k=1))


# the parts


def test_keys_of_32_bits_are_in_the_order_of_the_scores():
    values = np.array(sorted(VALUES[:-1]), dtype=np.float32)
    keys = order_keys32(values)
    assert keys.dtype == np.uint32
    for a, b in zip(range(len(values) - 1), range(1, len(values)), strict=True):
        assert (keys[a] < keys[b]) == (values[a] < values[b])
    assert order_keys32(np.array([math.nan, -math.inf], dtype=np.float32))[0] == 0
    assert order_keys32(np.array([1.5], dtype=np.float16)) == order_keys32(np.float32([1.5]))
    for wrong in (np.zeros(2), np.zeros((2, 2), dtype=np.float32), np.zeros(2, dtype=np.int32)):
        with pytest.raises(SettingError, match="for keys of 32 bits"):
            order_keys32(wrong)


@given(value=st.floats(width=32))
def test_a_score_comes_back_from_its_key(value):
    for keys, bits in ((order_keys32, 32), (order_keys, 64)):
        found = score_of(int(keys(np.array([value], dtype=np.float32))[0]), bits)
        assert found == value or (math.isnan(found) and math.isnan(value))


def test_a_histogram_by_hand():
    keys = np.array([0x0001_0000, 0x0001_0002, 0x0001_0002, 0xFFFF_0000], dtype=np.uint32)
    high = Histogram.of(keys[:3], Prefix(32)) + Histogram.of(keys[3:], Prefix(32))
    assert high.total == 4
    assert high.counts.dtype == np.int64
    assert high.counts.nbytes == 512 * 1024
    assert np.flatnonzero(high.counts).tolist() == [1, 0xFFFF]
    prefix, rank = high.narrow(2)  # the second best begins with 1, and is the best of these
    assert (prefix, rank) == (Prefix(32, 1, 1), 1)
    low = Histogram.of(keys, prefix, np.array([5, 1 << 53, 1, 9]))
    assert low.counts[[0, 2]].tolist() == [5, (1 << 53) + 1]  # sizes add up as whole numbers
    assert low.narrow((1 << 53) + 2) == (Prefix(32, 2, 0x0001_0000), 1)
    assert low.narrow(1)[0].whole
    for rank in (0, 5):
        with pytest.raises(ValueError, match=f"rank must be in 1 to 4, got {rank}"):
            high.narrow(rank)
    with pytest.raises(ValueError, match="only where they count the same digit"):
        high + low
    with pytest.raises(ValueError, match="expected keys of 64 bits"):
        Histogram.of(keys, Prefix(64))


def test_a_histogram_travels_without_digits_that_no_row_has(rng):
    keys = order_keys(rng.standard_normal(100_000))
    counted = Histogram.of(keys, Prefix(64))
    sent = pickle.dumps(counted)
    assert len(sent) < 10_000
    got = pickle.loads(sent)
    assert got.prefix == counted.prefix
    assert got.counts.dtype == np.int64
    np.testing.assert_array_equal(got.counts, counted.counts)


def test_ties_hold_no_more_than_fit_and_one():
    hashes = np.array([9, 3, 7, 1], dtype=np.uint64)
    first, second = Ties.of(hashes[:2], 2), Ties.of(hashes[2:], 2)
    both = first + second
    assert both.hashes.tolist() == [1, 3, 7]
    assert both.bound() == (second + first).bound() == 3
    sized = Ties.of(hashes, 4, np.array([1, 5, 1, 2]))
    assert sized.bound() == 1  # 2 of 4 are spent, 5 do not fit, and nothing after it is tried
    assert Ties.of(hashes, 1, np.array([1, 5, 1, 2])).bound() == NOBODY
    with pytest.raises(ValueError, match="only where their budget is the same"):
        first + Ties.of(hashes, 3)
