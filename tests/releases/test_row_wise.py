"""A row's score is the same to the last bit, whatever batch, order, slice or memory it comes in.

Where a job is retried on another shard, or rows arrive in other batches, equal rows have equal
scores: else a cut by score would keep one copy of a row and drop the other.
"""

from dataclasses import replace
from functools import cache

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from curation_audit.releases.public_maps import MeanMap, VotesMap, unit_rows
from curation_audit.releases.release import Release

CLUSTERS = 12
KINDS = ("inner_product", "cosine", "centred", "whitened", "cosine, whitened", "votes", "intercept")
WIDTHS = (*range(1, 71), 384, 768)
ROWS = 700  # more than one block of every width


def public_map(kind: str, d: int, rng: np.random.Generator):
    if kind == "votes":
        return VotesMap(unit_rows(rng.normal(size=(CLUSTERS, d))), rng.integers(0, 40, CLUSTERS))
    metric = "cosine" if kind.startswith("cosine") else "inner_product"
    if kind in ("inner_product", "cosine"):
        return MeanMap(metric)
    center = rng.normal(size=d) / 10
    if kind == "centred":
        return MeanMap("cosine", center)
    p = max(1, min(d - 1, 800))  # a whitening drops directions that the pool lacks
    return MeanMap(metric, center, rng.normal(size=(d, p)) / np.sqrt(d))


@cache
def case(kind: str, d: int, m: int = ROWS) -> tuple[Release, np.ndarray, np.ndarray]:
    """A release, rows that float32 holds exactly, and their scores in one call."""
    rng = np.random.default_rng([KINDS.index(kind), d])
    public = public_map(kind, d, rng)
    p = public.query(np.zeros((1, d))).shape[1] + (kind == "intercept")
    release = Release(
        map=public,
        weights=rng.normal(size=p),
        facts={},
        shift=rng.normal(size=d),
        scale=rng.uniform(0.5, 2, d),
        intercept=kind == "intercept",
        columns=("emb",),
    )
    rows = rng.normal(size=(m, d)).astype(np.float32).astype(np.float64)
    rows[m // 2] = rows[0]  # equal rows at two places
    rows.setflags(write=False)
    return release, rows, release.score(rows)


def strided(rows: np.ndarray) -> np.ndarray:
    """The same rows in every second place of a larger array, in both directions."""
    larger = np.full((2 * rows.shape[0], 3 * rows.shape[1]), np.nan, dtype=rows.dtype)
    view = larger[::2, 1::3]
    view[:] = rows
    return view


LAYOUTS = {
    "C": np.ascontiguousarray,
    "F": np.asfortranarray,
    "strided": strided,
    "backwards": lambda rows: np.ascontiguousarray(rows[::-1, ::-1])[::-1, ::-1],
    "other byte order": lambda rows: rows.astype(rows.dtype.newbyteorder(">")),
}
layouts = st.sampled_from(sorted(LAYOUTS))
dtypes = st.sampled_from([np.float32, np.float64])
orders = st.integers(0, 2**32 - 1)


def same_bits(found: np.ndarray, expected: np.ndarray) -> None:
    assert found.dtype == expected.dtype == np.float64
    np.testing.assert_array_equal(found.view(np.uint64), expected.view(np.uint64))


@settings(max_examples=500)
@given(
    kind=st.sampled_from(KINDS),
    d=st.sampled_from(WIDTHS),
    dtype=dtypes,
    layout=layouts,
    order=orders,
    start=st.integers(0, ROWS - 1),
    size=st.integers(1, 300),
    seen=st.integers(1, 5),
)
def test_any_part_in_any_order_and_memory_has_the_same_bits(
    kind, d, dtype, layout, order, start, size, seen
):
    release, rows, scores = case(kind, d)
    part = np.random.default_rng(order).permutation(ROWS)[start : start + size]
    given_rows = LAYOUTS[layout](rows[part].astype(dtype))
    same_bits(release.score(given_rows), scores[part])
    # a row repeated, and alone
    same_bits(release.score(rows[[part[0]] * seen]), scores[[part[0]] * seen])


@pytest.mark.parametrize("kind", KINDS)
def test_every_width_in_every_layout_and_batch(kind):
    """Without luck: all widths, all layouts, and batches of 1, 2, 3, ... rows."""
    for d in WIDTHS:
        release, rows, scores = case(kind, d)
        for make in LAYOUTS.values():
            same_bits(release.score(make(rows[:97])), scores[:97])
        assert scores[0] == scores[ROWS // 2]
        bounds = np.cumsum([0, *range(1, 12), 100, 255, 256])
        parts = [rows[a:b] for a, b in zip(bounds, [*bounds[1:], ROWS], strict=True)]
        same_bits(np.concatenate([release.score(part) for part in parts]), scores)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("d", [4095, 4096, 4097, 9000])
def test_rows_wider_than_a_buffer_of_numpy(kind, d):
    m = 24
    release, rows, scores = case(kind, d, m)
    for make in LAYOUTS.values():
        same_bits(release.score(make(rows)), scores)
    same_bits(np.concatenate([release.score(row[None]) for row in rows]), scores)
    same_bits(release.score(rows[::-1]), scores[::-1])
    case.cache_clear()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("d", [1, 2, 3, 9, 70, 384])
def test_scores_are_those_of_the_query_and_the_weights(kind, d):
    """The map is applied to the weights where that is cheaper; the answer is that of the rows."""
    release, rows, scores = case(kind, d)
    scaled = (rows - release.shift) / release.scale
    mapped = release.map.query(scaled)
    slopes = release.weights[: mapped.shape[1]]
    expected = mapped @ slopes + release.weights[mapped.shape[1] :].sum()
    size = np.abs(mapped) @ np.abs(slopes)
    assert (np.abs(scores - expected) <= 1e-12 * (1 + size)).all()
    if d > 1 and kind != "votes":  # and the limit is a strict one
        moved = release.score(rows * (1 + 1e-7 * np.arange(d)))
        assert (np.abs(moved - expected) > 1e-12 * (1 + size)).any()


@pytest.mark.parametrize("kind", KINDS)
def test_tables_in_any_batches_have_the_bits_of_the_matrix(kind):
    release, rows, scores = case(kind, 70)
    flat = pa.array(rows.astype(np.float32).ravel())
    column = pa.FixedSizeListArray.from_arrays(flat, 70)
    table = pa.table({"emb": pa.chunked_array([column.slice(0, 100), column.slice(100)])})
    same_bits(release(table)["dp_score"].to_numpy(), scores)
    for size in (1, 33, 512):
        parts = [release(table.slice(at, size)) for at in range(0, ROWS, size)]
        same_bits(pa.concat_tables(parts)["dp_score"].to_numpy(), scores)


@pytest.mark.parametrize("kind", KINDS)
def test_rows_beside_nan_and_infinity_keep_their_bits(kind):
    release, rows, scores = case(kind, 33)
    dirty = rows.copy()
    dirty[1::2, ::5] = np.nan
    dirty[1::4, 3] = np.inf
    found = release.score(dirty)
    same_bits(found[::2], scores[::2])
    assert np.isnan(found[1::2]).all()


def test_a_row_on_the_border_of_two_clusters_has_one_score_wherever_it_stands():
    """Sums that are equal but for rounding are where an order of summation would show."""
    d = 48
    rng = np.random.default_rng(5)
    base = rng.normal(size=d)
    centroids = unit_rows(np.stack([base, *(np.roll(base, 7 * i) for i in range(1, 6))]))
    # rows of equal numbers are as near to every permutation of one centroid
    rows = np.outer(rng.uniform(0.1, 10, 600), np.ones(d))
    release = Release(
        map=VotesMap(centroids, np.ones(6, dtype=np.int64)),
        weights=np.arange(6.0),
        facts={},
        shift=np.zeros(d),
        scale=np.ones(d),
    )
    alone = np.concatenate([release.score(row[None]) for row in rows])
    assert len({*alone.tolist()}) > 1  # rounding does decide here
    same_bits(release.score(rows), alone)
    for size in (7, 255, 257):
        parts = [release.score(rows[at : at + size]) for at in range(0, 600, size)]
        same_bits(np.concatenate(parts), alone)


def test_another_summation_would_be_found():
    """A product by BLAS, which sums by where a row stands, fails what is asked for above."""
    release, rows, _ = case("inner_product", 70)

    class ByBlas(MeanMap):
        def scores(self, rows, weights):
            return rows @ weights

    careless = replace(release, map=ByBlas("inner_product"))
    whole = careless.score(rows)
    alone = np.concatenate([careless.score(row[None]) for row in rows])
    np.testing.assert_allclose(whole, alone, rtol=0, atol=1e-11)
    assert (whole != alone).any()
