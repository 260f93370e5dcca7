"""Decontamination: what is shared, by hand and by sets, and what is kept."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from curation_audit.checks import SettingError
from curation_audit.pipelines.base import PrivateRows, Rows
from curation_audit.pipelines.rules.threshold import Threshold
from curation_audit.pipelines.scorers import decontaminate
from curation_audit.pipelines.scorers.decontaminate import Decontaminate
from curation_audit.streams import Streams
from tests.pipelines.test_dsir import pool_rows, private_rows, scored, tokens
from tests.pipelines.text_cases import overlaps

STREAMS = Streams(0).for_shadows("test", [0])


def test_shares_by_hand():
    """Pairs of "1 2 3" are 12 and 23; "2 3 4 1 2" has the pairs 23, 34, 41, 12: two of four."""
    pool = [[2, 3, 4, 1, 2], [3, 2, 1], [1, 2, 3], [1], []]
    found = scored(Decontaminate(n=2), [[1, 2, 3]], pool)[0]
    assert found.tolist() == [-0.5, 0, -1, 0, 0]


def test_twelve_words_in_a_row_drop_a_row_and_eleven_do_not():
    private = [list(range(1, 13))]
    eleven = [*range(1, 12), 50]
    found = scored(Decontaminate(), private, [eleven, [*range(1, 13)], [50, *range(2, 13)]])[0]
    assert found.tolist() == [0, -1, 0]


def test_an_ngram_does_not_run_from_one_text_into_the_next():
    found = scored(Decontaminate(n=2), [[1, 2], [3, 4]], [[2, 3], [4, 3], [3, 4]])[0]
    assert found.tolist() == [0, 0, -1]


@given(st.data(), st.integers(1, 4))
def test_equal_to_sets_of_ngrams(data, n):
    texts = st.lists(st.lists(st.integers(1, 3), max_size=8), min_size=1, max_size=5)
    private, pool = data.draw(texts), data.draw(texts)
    found = scored(Decontaminate(n=n), private, pool)[0]
    np.testing.assert_allclose(found, overlaps(private, pool, n), atol=1e-12)


def test_many_shadows_in_blocks_are_what_each_is_alone(monkeypatch):
    rng = np.random.default_rng(0)
    private, pool = (
        [rng.integers(1, 4, rng.integers(0, 12)).tolist() for _ in range(n)] for n in (8, 60)
    )
    inclusion = np.concatenate([rng.random((5, 8)) < 0.4, [[False] * 8]])
    at_once = scored(Decontaminate(n=4), private, pool, inclusion)
    monkeypatch.setattr(decontaminate, "BYTES_PER_BLOCK", 1)  # a row at a time
    np.testing.assert_array_equal(scored(Decontaminate(n=4), private, pool, inclusion), at_once)
    for held, found in zip(inclusion, at_once, strict=True):
        mine = [t for t, there in zip(private, held, strict=True) if there]
        np.testing.assert_allclose(found, overlaps(mine, pool, 4), atol=1e-12)
    assert not at_once[-1].any()
    assert 0.1 < (at_once < 0).mean() < 0.9


def test_a_threshold_of_zero_keeps_exactly_what_is_clean():
    pool = [[1, 2, 9, 9, 9], [9, 8, 7], [2, 1], []]
    scores = scored(Decontaminate(n=2), [[1, 2]], pool)
    kept = Threshold(minimum=0).select(scores, np.arange(4))
    assert kept.indices.tolist() == [1, 2, 3]


def vectors(rows) -> np.ndarray:
    return np.array(rows, dtype=np.float64)


def cosine_scores(scorer, private, pool, inclusion) -> np.ndarray:
    rows = PrivateRows(
        tuple(map(str, range(len(private)))), private, np.arange(len(private)), ("a", "b")
    )
    public = Rows(tuple(map(str, range(len(pool)))), pool)
    return scorer.fit(rows, inclusion, public, streams=STREAMS).score(public.features)


def test_cosines_by_hand():
    """Cosines with (1, 0) of (3, 4), (4, 3), (1, 0), 0 and (-1, 0): .6, .8, 1, 0, -1."""
    pool = vectors([[3, 4], [4, 3], [1, 0], [0, 0], [-1, 0]])
    private = vectors([[2, 0], [0, 5]])
    inclusion = np.array([[True, False], [True, True], [False, False]])
    found = cosine_scores(Decontaminate(by="cosine", eps=0.25), private, pool, inclusion)
    wanted = [[0, -0.8, -1, 0, 0], [-0.8, -0.8, -1, 0, 0], [0] * 5]
    np.testing.assert_allclose(found, wanted, atol=1e-12)
    kept = Threshold(minimum=0).select(found, np.arange(5))
    assert kept.mask().tolist() == [
        [True, False, False, True, True],
        [False, False, False, True, True],
        [True] * 5,
    ]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_an_equal_vector_is_found_whatever_its_length(rng, dtype):
    private = rng.normal(size=(2, 30)).astype(dtype)
    pool = np.concatenate([private * 7, rng.normal(size=(3, 30))]).astype(dtype)
    scorer = Decontaminate(by="cosine", eps=1e-3)
    found = cosine_scores(scorer, private, pool, np.ones((1, 2), bool))[0]
    np.testing.assert_allclose(found, [-1, -1, 0, 0, 0], atol=1e-6)
    assert found.dtype == dtype


def test_what_attacks_see_has_length_one():
    embedded = Decontaminate().embed(tokens([[1, 2, 1], []]))
    np.testing.assert_allclose(np.linalg.norm(embedded, axis=1), [1, 0])
    embedded = Decontaminate(by="cosine").embed(vectors([[3, 4], [0, 0]]))
    np.testing.assert_allclose(embedded, [[0.6, 0.8], [0, 0]])
    assert Decontaminate().linearise(private_rows([[1]]), pool_rows([[1]])) is None


def test_other_numbers_than_codes_are_told_unless_vectors_are_meant():
    half = np.array([[0.5, 2.0]])
    with pytest.raises(SettingError, match="decontaminate reads token codes"):
        Decontaminate().embed(half)
    assert Decontaminate(by="cosine").embed(half).shape == (1, 2)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"by": "words"}, "curate.scorer.by: found 'words'"),
        ({"n": 0}, "n must be positive, got 0"),
        ({"eps": 0.0}, r"eps must be in \(0, 1\), got 0.0"),
        ({"eps": 1.0}, r"eps must be in \(0, 1\), got 1.0"),
    ],
)
def test_settings_out_of_range(settings, message):
    with pytest.raises((ValueError, SettingError), match=message):
        Decontaminate(**settings)
