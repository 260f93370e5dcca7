"""Scorers of the user's own."""

import functools

import numpy as np
import pytest

from curation_audit.checks import InputError
from curation_audit.pipelines.base import PrivateRows, Rows
from curation_audit.pipelines.scorers.callable import CallableScorer
from curation_audit.pipelines.scorers.nearest import Nearest
from curation_audit.streams import Streams

PRIVATE_VALUE = 91735.53125
STREAMS = Streams(0).for_shadows("test", range(4))


def nearest(private: np.ndarray, rows: np.ndarray) -> list[float]:
    """The user's version of the built-in scorer, as a list of Python floats."""
    found = []
    for row in rows:
        cosines = [row @ t / np.linalg.norm(row) / np.linalg.norm(t) for t in private]
        found.append(float(max(cosines, default=-1.0)))
    return found


@pytest.fixture
def private(rng) -> PrivateRows:
    features = rng.normal(size=(10, 3))
    features[2, 1] = PRIVATE_VALUE
    unit = np.array([0, 0, 1, 2, 3, -1, 4, 5, 5, 6])
    return PrivateRows(tuple("abcdefghij"), features, unit, tuple("tuvwxyz"))


@pytest.fixture
def pool(rng) -> Rows:
    return Rows(tuple(map(str, range(20))), rng.normal(size=(20, 3)))


@pytest.fixture
def inclusion(rng) -> np.ndarray:
    drawn = rng.integers(0, 2, (4, 7)).astype(bool)
    drawn[3] = False  # only the row that is always in
    return drawn


def scored(function, private, inclusion, pool):
    fitted = CallableScorer(function=function).fit(private, inclusion, pool, streams=STREAMS)
    return fitted.score(pool.features)


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_a_function_equals_the_built_in_that_computes_the_same(private, pool, inclusion, dtype):
    private = PrivateRows(
        private.ids, private.features.astype(dtype), private.unit, private.unit_ids
    )
    pool = Rows(pool.ids, pool.features.astype(dtype))
    found = scored(nearest, private, inclusion, pool)
    built_in = Nearest().fit(private, inclusion, pool, streams=STREAMS).score(pool.features)
    assert found.shape == (4, 20)
    assert found.dtype == built_in.dtype == dtype
    np.testing.assert_allclose(found, built_in, atol=1e-12 if dtype == np.float64 else 1e-6)


def test_the_function_sees_the_rows_of_its_shadow_and_nothing_else(private, pool, inclusion):
    seen = []

    def record(mine, rows):
        seen.append(mine.copy())
        return np.zeros(len(rows))

    scored(record, private, inclusion, pool)
    assert len(seen) == 4
    for held, mine in zip(inclusion, seen, strict=True):
        rows = [i for i, u in enumerate(private.unit) if u == -1 or held[u]]
        np.testing.assert_array_equal(mine, private.features[rows])


def quotes_a_row(mine, rows):
    raise RuntimeError(f"bad row {mine}")


BROKEN = {
    "raises": (quotes_a_row, r"raised RuntimeError for a shadow of \d+ private rows; call it"),
    "too few scores": (lambda mine, rows: rows[1:, 0], r"shape \(19,\); expected one .* 20 rows"),
    "a matrix": (lambda mine, rows: rows, r"gave an array of shape \(20, 3\)"),
    "one number": (lambda mine, rows: mine.sum(), r"gave an array of shape \(\)"),
    "nothing": (lambda mine, rows: None, r"gave an array of shape \(\)|raised TypeError"),
    "text": (lambda mine, rows: [str(mine[0])] * 20, "raised ValueError for a shadow"),
    "ragged": (lambda mine, rows: [[1], [1, 2]], "raised ValueError for a shadow"),
    "changes its rows": (lambda mine, rows: rows.sort(axis=0), "raised ValueError"),
}


@pytest.mark.parametrize(("function", "message"), BROKEN.values(), ids=BROKEN)
def test_a_broken_function_is_one_line_without_private_values(
    private, pool, inclusion, function, message
):
    pool.features.setflags(write=False)
    with pytest.raises(InputError, match=message) as error:
        scored(function, private, inclusion, pool)
    assert str(error.value).startswith("curate.scorer callable: ")
    assert "91735" not in str(error.value)
    assert "\n" not in str(error.value)


class Named:
    """A function with settings, as an object."""

    def __call__(self, mine, rows):
        return nearest(mine, rows)


@pytest.mark.parametrize(
    ("function", "name"),
    [
        (nearest, f"{__name__}.nearest"),
        (functools.partial(nearest), "functools.partial"),
        (Named(), f"{__name__}.Named"),
    ],
)
def test_any_callable_can_be_described(function, name):
    described = CallableScorer(function=function, version="3").describe()
    assert described == {"function": name, "version": "3"}


def test_nothing_is_assumed_about_a_function(private, pool):
    scorer = CallableScorer(function=nearest)
    assert scorer.linearise(private, pool) is None
    expected = np.concatenate([pool.features, np.ones((20, 1))], axis=1)
    np.testing.assert_array_equal(scorer.embed(pool.features), expected)
