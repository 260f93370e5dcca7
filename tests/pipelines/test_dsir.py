"""DSIR against numbers worked out by hand, plain counting, and the published package."""

import json

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from curation_audit.checks import SettingError
from curation_audit.pipelines.base import PrivateRows, Rows
from curation_audit.pipelines.features.tokens import first_words, ngram_buckets, token_code
from curation_audit.pipelines.scorers.dsir import Dsir
from curation_audit.streams import Streams
from tests.pipelines.text_cases import dsir_scores, ngrams, text

A, B, C = 5, 6, 7
LENGTH = 12


def tokens(texts, length=LENGTH) -> np.ndarray:
    rows = np.zeros((len(texts), length))
    for row, codes in zip(rows, texts, strict=True):
        row[: len(codes)] = codes
    return rows


def coded(texts) -> list[list[int]]:
    return [[token_code(word) for word in first_words(one, LENGTH)] for one in texts]


def private_rows(texts, unit=None) -> PrivateRows:
    units = np.arange(len(texts)) if unit is None else np.array(unit)
    names = tuple(f"u{i}" for i in range(units.max() + 1))
    return PrivateRows(tuple(map(str, range(len(texts)))), tokens(texts), units, names)


def pool_rows(texts) -> Rows:
    return Rows(tuple(map(str, range(len(texts)))), tokens(texts))


def scored(scorer, private, pool, inclusion=None) -> np.ndarray:
    rows, public = private_rows(private), pool_rows(pool)
    inclusion = np.ones((1, len(private)), bool) if inclusion is None else inclusion
    streams = Streams(0).for_shadows("test", range(len(inclusion)))
    return scorer.fit(rows, inclusion, public, streams=streams).score(public.features)


def test_words_by_hand():
    """Private "a a", pool "a b" and "a c": p_T = (1, 0, 0), p_X = (1/2, 1/4, 1/4)."""
    assert len({*ngram_buckets(np.array([[A, B, C]]), [1], 16)[0].tolist()}) == 3
    found = scored(Dsir(n=1, buckets=16), [[A, A]], [[A, B], [A, C]])[0]
    a = np.log(1 + 1e-8) - np.log(0.5 + 1e-8)  # .6931
    b = np.log(1e-8) - np.log(0.25 + 1e-8)  # -17.0344
    assert (a, b) == pytest.approx((0.6931472, -17.0343864), abs=1e-6)
    np.testing.assert_allclose(found, [a + b, a + b], atol=1e-12)


def test_smoothing_is_added_to_every_bucket_of_the_private_texts_only():
    """With one more in each of 16 buckets p_T = 3/18, 1/18, 1/18; the pool stays as it is."""
    found = scored(Dsir(n=1, buckets=16, smoothing=1.0), [[A, A]], [[A, B], [A, C]])[0]
    wanted = np.log((3 / 18 + 1e-8) / (0.5 + 1e-8)) + np.log((1 / 18 + 1e-8) / (0.25 + 1e-8))
    np.testing.assert_allclose(found, wanted, atol=1e-12)


def test_pairs_by_hand():
    """Private "a b", pool "a b" and "b a": of 3 n-grams each p_T = 1/3, p_X = 2/6, 2/6, 1/6."""
    grams = ngram_buckets(np.array([[A, B, A]]), [1, 2], 64)[0]
    assert len({*grams.tolist()} - {-1}) == 4  # a, b, ab, ba
    found = scored(Dsir(n=2, buckets=64), [[A, B]], [[A, B], [B, A]])[0]
    ab = np.log((1 / 3 + 1e-8) / (1 / 6 + 1e-8))
    ba = np.log(1e-8 / (1 / 6 + 1e-8))
    np.testing.assert_allclose(found, [ab, ba], atol=1e-7)  # a and b cancel


def test_a_length_normalised_score_does_not_grow_with_the_row():
    private, pool = [[A, B]], [[A, C], [A, C, A, C, A, C], []]
    summed = scored(Dsir(n=1, buckets=16), private, pool)[0]
    mean = scored(Dsir(n=1, buckets=16, normalise="length"), private, pool)[0]
    assert summed[1] == pytest.approx(3 * summed[0])
    np.testing.assert_allclose(mean, [summed[0] / 2, summed[0] / 2, 0])


short_texts = st.lists(st.lists(st.integers(1, 5), max_size=LENGTH), min_size=1, max_size=6)


@given(short_texts, short_texts, st.integers(1, 3))
def test_equal_to_counting_where_no_bucket_is_shared(private, pool, n):
    """Where each n-gram has a bucket of its own the hash is out of the definition."""
    texts = [*private, *pool]
    grams = sorted({gram for t in texts for size in range(1, n + 1) for gram in ngrams(t, size)})
    buckets = 1 << 17
    used = {int(ngram_buckets(np.array([gram]), [len(gram)], buckets)[0, 0]) for gram in grams}
    assume(len(used) == len(grams))
    wanted = dsir_scores(private, pool, n, lambda gram: gram, grams, 0.0)
    found = scored(Dsir(n=n, buckets=buckets), private, pool)[0]
    np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-8)


@given(st.permutations(range(LENGTH)))
def test_the_order_of_words_counts_in_pairs_only(order):
    row = [1, 2, 3, 1, 2, 3, 4, 4, 4, 5, 5, 1]
    moved = [row[i] for i in order]
    one = scored(Dsir(n=1, buckets=64), [row], [row, moved])[0]
    assert one[0] == pytest.approx(one[1], abs=1e-10)
    pairs = scored(Dsir(n=2, buckets=1 << 20), [row], [row, moved])[0]
    assert (pairs[1] < pairs[0] - 1) == any(g not in ngrams(row, 2) for g in ngrams(moved, 2))


def test_many_shadows_are_what_each_is_alone():
    rng = np.random.default_rng(0)
    private, pool = (
        [rng.integers(1, 9, rng.integers(0, LENGTH + 1)).tolist() for _ in range(n)]
        for n in (9, 5000)  # more than a block
    )
    inclusion = np.concatenate([rng.random((4, 9)) < 0.5, [[False] * 9]])
    together = scored(Dsir(buckets=128), private, pool, inclusion)
    assert np.isfinite(together).all()
    for held, found in zip(inclusion, together, strict=True):
        mine = [t for t, there in zip(private, held, strict=True) if there]
        alone = scored(Dsir(buckets=128), mine or [[]], pool)[0]
        np.testing.assert_allclose(found, alone, atol=1e-9)


def test_one_occurrence_of_a_word_that_nobody_else_has_moves_a_score_by_4_6():
    """The reference's figure for a million private tokens: log(1e-6 / 1e-8) = 4.6 nats."""
    scorer = Dsir(n=1, buckets=64)
    counts = np.zeros((2, 64))
    counts[:, 0] = 1e6
    counts[1, 1] = 1
    weights = scorer._weights(counts, np.full(64, 1.0))
    assert weights[1, 1] - weights[0, 1] == pytest.approx(4.6, abs=0.02)


def test_it_is_linear_in_counts_of_2048_buckets_at_most():
    pool = pool_rows([[A, B, C], [A, A], []])
    small, large = Dsir(buckets=2048), Dsir()
    assert (small.family, large.family) == ("linear", "other")
    for scorer, width in ((small, 2048), (large, 2048), (Dsir(buckets=20), 20)):
        embedded = scorer.embed(pool.features)
        assert embedded.shape == (3, width)
        assert embedded.sum(axis=1).tolist() == [5, 3, 0]
    private = private_rows([[A, B], [B], [C], [A]])
    assert large.linearise(private, pool) is None
    found = small.fit(
        private,
        np.array([[True, False, True, True]]),
        pool,
        streams=Streams(0).for_shadows("x", [0]),
    )
    np.testing.assert_allclose(
        found.score(pool.features), found.weights @ small.embed(pool.features).T, atol=1e-12
    )


@pytest.mark.parametrize("normalise", ["none", "length"])
def test_the_influence_is_the_difference_a_whole_candidate_makes(normalise):
    """Shares do not change when all counts double: half of everybody is everybody once."""
    texts = [[A, B], [B, B, C], [C], [A, 9, 9]]
    unit = [0, 1, 1, 2]
    pool = pool_rows([[A, B, C], [A, 9], [B]])
    scorer = Dsir(buckets=32, normalise=normalise)
    found = scorer.linearise(private_rows(texts, unit), pool)

    def weights(times):
        rows = [t for t, u in zip(texts, unit, strict=True) for _ in range(times[u])]
        private = private_rows(rows)
        held = np.ones((1, len(rows)), bool)
        streams = Streams(0).for_shadows("test", [0])
        return scorer.fit(private, held, pool, streams=streams).weights[0]

    np.testing.assert_allclose(found.reference, weights([1, 1, 1]), atol=1e-12)
    for n in range(3):
        others = [1, 1, 1]
        with_it, without = [*others], [*others]
        with_it[n], without[n] = 2, 0
        wanted = weights(with_it) - weights(without)
        np.testing.assert_allclose(found.influence[n], wanted, atol=1e-12)
    assert np.abs(found.influence).max() > 15  # 9 is in one text alone
    assert np.linalg.eigvalsh(found.covariance).min() > -1e-9


def test_other_numbers_than_codes_are_told():
    rows = Rows(("a", "b"), np.array([[1.0, 2.5], [3.0, 0.0]]))
    private = PrivateRows(("p",), rows.features, np.array([0]), ("p",))
    for features in (np.array([[0.5]]), np.array([[-1.0]]), np.array([[float(1 << 24)]])):
        with pytest.raises(SettingError, match=r"dsir reads token codes, but these are other num"):
            Dsir().embed(features)
    with pytest.raises(SettingError, match=r"features: .*set features: \{steps: \[\{kind: to"):
        Dsir().fit(private, np.ones((1, 1), bool), rows, streams=Streams(0).for_shadows("x", [0]))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"n": 0}, "n must be positive, got 0"),
        ({"buckets": 0}, "buckets must be positive, got 0"),
        ({"smoothing": -0.1}, "smoothing must be 0 or more and finite, got -0.1"),
        ({"normalise": "row"}, "curate.scorer.normalise: found 'row'"),
    ],
)
def test_settings_out_of_range(settings, message):
    with pytest.raises((ValueError, SettingError), match=message):
        Dsir(**settings)


@pytest.mark.peers
@pytest.mark.filterwarnings("ignore")  # the package's and its dependencies' own
def test_equal_to_the_published_package(tmp_path):
    """`data-selection` 1.0.3 with so many buckets that neither hash makes two n-grams one."""
    published = pytest.importorskip("data_selection")
    private = ["The patient was seen.", "seen in clinic; the patient left", "no fever"]
    pool = ["The patient left.", "a soup of the day", "fever, fever and no clinic", "seen", "day"]
    for name, texts in (("private", private), ("pool", pool)):
        lines = "".join(json.dumps({"text": one}) + "\n" for one in texts)
        (tmp_path / f"{name}.jsonl").write_text(lines)
    model = published.HashedNgramDSIR(
        [str(tmp_path / "pool.jsonl")],
        [str(tmp_path / "private.jsonl")],
        cache_dir=str(tmp_path / "cache"),
        num_proc=1,
        num_buckets=1 << 22,
    )
    model.fit_importance_estimator()
    wanted = [model.importance_estimator(model.featurizer(one)) for one in pool]
    found = scored(Dsir(buckets=1 << 22), coded(private), coded(pool))[0]
    np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-9)
    assert text(tokens(coded(["The end."]))[0]) == coded(["the END."])[0]
