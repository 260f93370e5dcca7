"""Cuts against a plain sort, on shards, and against the picks of an audit."""

import hashlib
import math
import struct

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from curation_audit.checks import InputError, SettingError
from curation_audit.pipelines.rules.cut import (
    LARGEST,
    Cut,
    order_keys,
    select,
    tie_hashes,
    tie_order,
)
from curation_audit.pipelines.rules.levels import Nonnegative, OccupiedClusters, ScoreRange
from curation_audit.pipelines.rules.sampled import GumbelTopK
from curation_audit.pipelines.rules.threshold import Threshold
from curation_audit.pipelines.rules.top import Greedy, TopFraction, TopK, best_rows

# few different values, so that most rows are tied
VALUES = [-math.inf, -1.5, -5e-324, -0.0, 0.0, 5e-324, 1.0, 1.0 + 2**-52, math.inf, math.nan]
columns = st.lists(st.sampled_from(VALUES), min_size=1, max_size=40)
salts = st.sampled_from(["0", "7", "a word"])


def plain_hash(one: str, salt: str) -> int:
    """As the release notes of a cut state it, with hashlib alone."""
    key = hashlib.sha256(f"ties {salt}".encode()).digest()
    return int.from_bytes(hashlib.blake2b(one.encode(), digest_size=8, key=key).digest(), "big")


def plain_order(scores: list[float], ids: list[str], salt: str) -> list[int]:
    """All rows, the first to be picked first: by score downwards, then by hash upwards."""

    def key(row: int) -> tuple[int, float, int]:
        missing = math.isnan(scores[row])
        return (missing, 0.0 if missing else -scores[row], plain_hash(ids[row], salt))

    return sorted(range(len(scores)), key=key)


def names(n: int) -> list[str]:
    return [f"doc {i}" for i in range(n)]


# the picked rows


@given(scores=columns, k=st.integers(1, 40), salt=salts, wide=st.booleans())
def test_the_best_k_are_those_of_a_plain_sort(scores, k, salt, wide):
    k, ids = min(k, len(scores)), names(len(scores))
    if not wide:  # in float32 what is too small for it is zero
        scores = np.array(scores, dtype=np.float32).tolist()
    column = np.array(scores, dtype=np.float64 if wide else np.float32)
    column.setflags(write=False)
    cut = select(column, TopK(k=k), ids, salt=salt)
    assert cut.salt == salt
    found = cut.indices(column, ids)
    assert found.dtype == np.int64
    assert found.tolist() == sorted(plain_order(scores, ids, salt)[:k])
    assert np.flatnonzero(cut.mask(column, ids)).tolist() == found.tolist()


@given(scores=columns, fraction=st.sampled_from([0.01, 0.3, 0.5, 0.99]))
def test_a_fraction_is_its_number_of_rows(scores, fraction):
    ids, k = names(len(scores)), max(1, round(fraction * len(scores)))
    found = select(scores, TopFraction(fraction=fraction), ids).indices(scores, ids)
    assert found.tolist() == sorted(plain_order(scores, ids, "0")[:k])


@given(scores=columns, minimum=st.sampled_from([-1.5, -0.0, 0.0, 5e-324, 1.0, 9.0]))
def test_a_threshold_keeps_what_reaches_it(scores, minimum):
    cut = select(scores, Threshold(minimum=minimum))
    assert cut == Cut(minimum, LARGEST, "0")
    assert cut.mask(scores).tolist() == [score >= minimum for score in scores]


@given(scores=columns, ends=st.tuples(*[st.sampled_from([-1.5, -0.0, 5e-324, 1.0, 9.0])] * 2))
def test_a_range_keeps_what_lies_within(scores, ends):
    low, high = sorted(ends)
    cut = select(scores, ScoreRange(low=low, high=high))
    assert cut.mask(scores).tolist() == [low <= score <= high for score in scores]


def test_other_rules_of_one_level_are_thresholds():
    assert select([], Nonnegative()) == select([], Threshold(minimum=0.0))
    assert select([], OccupiedClusters(least=2.0)) == select([], Threshold(minimum=2.0))
    scores = [3.0, 1.0, 2.0]
    assert select(scores, Greedy(k=2)) == select(scores, TopK(k=2))


@given(scores=columns, k=st.integers(1, 40), data=st.data())
def test_shards_in_any_layout_and_order_keep_the_same_rows(scores, k, data):
    """The cut is made once on all scores; each worker applies it to the rows that it holds."""
    k, ids = min(k, len(scores)), names(len(scores))
    whole = select(scores, TopK(k=k), ids)
    expected = {ids[row] for row in plain_order(scores, ids, "0")[:k]}
    order = data.draw(st.permutations(range(len(scores))))
    bounds = sorted(data.draw(st.lists(st.integers(0, len(scores)), max_size=4)))
    moved = [scores[row] for row in order]
    again = select(moved, TopK(k=k), [ids[row] for row in order])
    assert order_keys([again.score]) == order_keys([whole.score])
    assert again.tie_bound == whole.tie_bound
    kept: list[str] = []
    for a, b in zip([0, *bounds], [*bounds, len(scores)], strict=True):
        own = [ids[row] for row in order[a:b]]
        kept += [own[i] for i in again.indices(np.array(moved[a:b]), own)]
    assert len(kept) == k
    assert {*kept} == expected


@settings(max_examples=50)
@given(scores=columns, k=st.integers(1, 40), seed=st.integers(0, 2**40))
def test_an_audit_with_the_same_seed_picks_the_same_rows(scores, k, seed):
    scores = [0.5 if math.isnan(score) else score for score in scores]  # audits have none
    k, ids = min(k, len(scores)), names(len(scores))
    audited = best_rows(np.array([scores]), tie_order(ids, seed), k).indices
    cut = select(scores, TopK(k=k), ids, salt=str(seed))
    assert cut.indices(scores, ids).tolist() == audited.tolist()


def test_another_salt_picks_other_ties():
    """Of 200 equal rows half are kept; two salts agree on half of those (sd 3.5)."""
    ids, scores = names(200), np.zeros(200)
    one, two = ({*select(scores, TopK(k=100), ids, salt=s).indices(scores, ids)} for s in "ab")
    assert 35 < len(one & two) < 65


def test_as_many_as_there_are_keeps_every_row_of_any_shard():
    for scores in ([math.nan, -math.inf, 0.0], [2.0, 1.0, 1.0]):
        cut = select(scores, TopK(k=3), ["a", "b", "c"])
        assert cut.mask(scores, ["a", "b", "c"]).all()
        assert cut.mask([math.nan, -math.inf, 9.0], ["d", "e", "f"]).all()


def test_rows_without_a_score_are_kept_only_where_the_rest_is_too_few():
    scores, ids = [math.nan, 1.0, math.nan, -math.inf], names(4)
    assert select(scores, TopK(k=2), ids).indices(scores, ids).tolist() == [1, 3]
    three = select(scores, TopK(k=3), ids)
    assert math.isnan(three.score)
    first = min((0, 2), key=lambda row: plain_hash(ids[row], "0"))
    assert three.indices(scores, ids).tolist() == sorted([1, 3, first])


def test_without_ids_rows_are_named_by_number_as_a_pool_without_ids_is():
    scores = np.zeros(50)
    ids = [f"row-{i + 1}" for i in range(50)]
    cut = select(scores, TopK(k=20))
    assert cut == select(scores, TopK(k=20), ids)
    np.testing.assert_array_equal(cut.mask(scores), cut.mask(scores, ids))


TYPES = {
    "list": list,
    "tuple": tuple,
    "numpy text": np.array,
    "numpy objects": lambda ids: np.array(ids, dtype=object),
    "arrow": pa.array,
    "large arrow": lambda ids: pa.array(ids, pa.large_string()),
    "chunks": lambda ids: pa.chunked_array([pa.array(ids[:5]), pa.array(ids[5:])]),
    "dictionary": lambda ids: pa.array(ids).dictionary_encode(),
    "series": lambda ids: pd.Series(ids, index=range(100, 100 + len(ids))),
    "index": pd.Index,
}


@pytest.mark.parametrize("name", TYPES)
def test_ids_of_any_library_pick_the_same_rows(name):
    scores, ids = np.repeat([1.0, 0.0], 15), names(30)
    made = TYPES[name](ids)
    cut = select(scores, TopK(k=21), made)
    assert cut == select(scores, TopK(k=21), ids)
    np.testing.assert_array_equal(cut.indices(scores, made), cut.indices(scores, ids))


@pytest.mark.parametrize("name", ["list", "numpy text", "arrow", "chunks", "series", "index"])
def test_whole_numbers_are_ids_as_their_text_is(name):
    scores, numbers = np.zeros(30), list(range(30))
    expected = select(scores, TopK(k=11), [str(i) for i in numbers])
    assert select(scores, TopK(k=11), TYPES[name](numbers)) == expected


SCORES = {
    "list": list,
    "arrow": pa.array,
    "chunks": lambda scores: pa.chunked_array([scores[:4], scores[4:]]),
    "series": lambda scores: pd.Series(scores, index=range(7, 7 + len(scores))),
}


@pytest.mark.parametrize("name", SCORES)
def test_columns_of_scores_of_any_library(name, rng):
    scores = rng.integers(0, 4, 30).astype(float)
    made = SCORES[name](scores)
    cut = select(made, TopK(k=9), names(30))
    assert cut == select(scores, TopK(k=9), names(30))
    np.testing.assert_array_equal(cut.mask(made, names(30)), cut.mask(scores, names(30)))


# what is refused


def test_one_id_on_several_rows_is_refused_where_it_would_change_their_number():
    scores = [1.0, 1.0, 1.0, 0.0]
    with pytest.raises(SettingError, match="one id on several rows; give every row its own id"):
        select(scores, TopK(k=1), ["a", "a", "a", "b"])
    # all of them, or none, is no question
    assert select(scores, TopK(k=3), ["a", "a", "a", "b"]).indices(scores, ["a"] * 4).size == 3


def test_more_rows_than_there_are_is_refused():
    with pytest.raises(InputError, match=r"curate\.select: found k = 4, but the pool has 3 rows"):
        select(np.zeros(3), TopK(k=4))
    with pytest.raises(InputError, match="the pool has 0 rows"):
        select(np.zeros(0), TopFraction(fraction=0.5))


@pytest.mark.parametrize(
    ("scores", "expected"),
    [
        (np.zeros((2, 2)), r"scores: found float64 \(2, 2\); expected numbers"),
        (["a", "b"], "scores: found <U1"),
        (np.zeros(2, dtype=complex), "scores: found complex128"),
        (np.array(1.0), "expected numbers"),
    ],
)
def test_what_is_no_column_of_numbers_is_refused(scores, expected):
    with pytest.raises(SettingError, match=expected):
        select(scores, TopK(k=1))
    with pytest.raises(SettingError, match=expected):
        Cut(0.0, LARGEST).mask(scores)


def test_ids_of_other_rows_are_refused():
    with pytest.raises(SettingError, match="ids: found 2 for 3 rows; expected one per row"):
        select(np.zeros(3), TopK(k=1), ["a", "b"])
    with pytest.raises(SettingError, match="ids: found 2 for 3 rows"):
        Cut(0.0, LARGEST).mask(np.zeros(3), ["a", "b"])


def test_a_rule_that_is_no_cut_is_refused():
    with pytest.raises(SettingError, match="rule: found int; expected TopK, TopFraction or Thr"):
        select(np.zeros(3), 2)
    with pytest.raises(SettingError, match="rule: found GumbelTopK; it draws noise, so that the"):
        select(np.zeros(3), GumbelTopK(k=1))


# keys and hashes

finite = st.floats(allow_nan=False, width=64)


@settings(max_examples=500)
@given(a=finite, b=finite)
def test_keys_are_in_the_order_of_the_scores(a, b):
    one, two = (int(key) for key in order_keys(np.array([a, b])))
    assert (one < two, one == two) == (a < b, a == b)
    assert int(order_keys([math.nan])[0]) < one


@settings(max_examples=300)
@given(bits=st.integers(1, 0x7FEF_FFFF_FFFF_FFFF))
def test_neighbours_in_float64_have_neighbouring_keys(bits):
    """Subnormals and the largest too: from one number to the next the key moves by one."""
    value = struct.unpack("<d", struct.pack("<Q", bits))[0]
    up = math.nextafter(value, math.inf)
    keys = order_keys(np.array([value, up, -value, -up])).astype(object)
    assert keys[1] - keys[0] == 1
    assert keys[2] - keys[3] == 1


def test_known_keys():
    quiet = struct.unpack("<d", struct.pack("<Q", 0xFFF8000000000001))[0]  # NaN with a sign
    values = [math.nan, quiet, -math.inf, -5e-324, -0.0, 0.0, 5e-324, math.inf]
    keys = [int(key) for key in order_keys(values)]
    zero = 1 << 63
    assert keys[:2] == [0, 0]
    assert keys[3:7] == [zero - 1 - 1, zero, zero, zero + 1]
    assert keys == sorted(keys)
    assert order_keys(np.array([2, -3, 0])).tolist() == order_keys([2.0, -3.0, 0.0]).tolist()
    assert order_keys(np.array([], dtype=np.float32)).shape == (0,)


def test_known_hashes():
    ids = ["a", "row-1", "", "Zürich", "7"]
    expected = [plain_hash(one, "5") for one in ids]
    found = tie_hashes(ids, "5")
    assert found.dtype == np.uint64
    assert [int(one) for one in found] == expected
    # written out once, so that no release of the tool can change it unseen
    assert expected[0] == 0x62DB_A39D_A23C_5A57
    assert len({*expected}) == 5
    assert tie_hashes([], "5").shape == (0,)
