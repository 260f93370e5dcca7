"""The bag-of-n-grams model against scikit-learn, which has neither our tokens nor our hash."""

import itertools

import numpy as np
import pytest
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import normalize

from curation_audit.checks import SettingError
from curation_audit.observations import Selection
from curation_audit.pipelines.base import Rows
from curation_audit.pipelines.downstream.ngram_text import NgramText
from curation_audit.pipelines.features.tokens import first_words, ngram_buckets, token_code
from curation_audit.streams import Streams

BUCKETS, LENGTH, L2 = 1024, 12, 0.3
N_POOL, N_ASKED, S = 120, 30, 3


def words_without_collisions() -> list[str]:
    """Five words of which no two, and no two pairs, fall into one bucket."""
    for first in itertools.count(step=5):
        words = [f"w{i}" for i in range(first, first + 5)]
        codes = [token_code(word) for word in words]
        grams = [*itertools.product(codes, repeat=1), *itertools.product(codes, repeat=2)]
        found = [int(ngram_buckets(np.array([g]), [len(g)], BUCKETS)[0, 0]) for g in grams]
        if len(set(found)) == len(grams):
            return words
    raise AssertionError


WORDS = words_without_collisions()


def drawn(rng: np.random.Generator, n: int) -> list[str]:
    """Texts in which the later words are the commoner the later the text is in the list."""
    texts = []
    for i in range(n):
        share = np.linspace(1, 1 + 4 * i / n, 5)
        words = rng.choice(WORDS, rng.integers(1, LENGTH + 1), p=share / share.sum())
        texts.append(" ".join(words))
    return texts


def tokens(texts: list[str]) -> np.ndarray:
    rows = np.zeros((len(texts), LENGTH))
    for row, text in zip(rows, texts, strict=True):
        codes = [token_code(word) for word in first_words(text, LENGTH)]
        row[: len(codes)] = codes
    return rows


def pool_of(texts: list[str], n_classes: int) -> Rows:
    labels = np.arange(len(texts)) * n_classes // len(texts)
    return Rows(tuple(map(str, range(len(texts)))), tokens(texts), labels)


@pytest.mark.parametrize("n_classes", [2, 3])
def test_equal_to_scikit_learn(rng, n_classes):
    """There each n-gram has a column; columns that are always 0 and their order change nothing."""
    texts, asked = drawn(rng, N_POOL), drawn(rng, N_ASKED)
    pool, mask = pool_of(texts, n_classes), rng.random((S, N_POOL)) < 0.5
    streams = Streams(0).for_shadows("test", range(S))
    model = NgramText(n=2, buckets=BUCKETS, l2=L2, device="cpu")
    fitted = model.fit(pool, Selection.from_mask(mask), n_classes, streams=streams)
    found = fitted.predict_proba(tokens(asked))
    assert found.std() > 0.05
    vectoriser = CountVectorizer(token_pattern=r"\w+", ngram_range=(1, 2)).fit(texts + asked)

    def design(of):
        counts = normalize(vectoriser.transform(of).toarray().astype(float))
        return np.hstack([counts, np.ones((len(counts), 1))])

    for s, held in enumerate(mask):
        classifier = LogisticRegression(
            C=1 / L2, fit_intercept=False, solver="newton-cholesky", tol=1e-12, max_iter=1000
        ).fit(design(texts)[held], pool.labels[held])
        np.testing.assert_allclose(found[s], classifier.predict_proba(design(asked)), atol=1e-6)


def test_picks_that_overlap_little_are_solved_alike(rng):
    """All problems share one design; picks apart from one another are the hard case for that."""
    pool = pool_of(drawn(rng, N_POOL), 3)
    mask = np.arange(N_POOL)[None] % S == np.arange(S)[:, None]
    streams = Streams(0).for_shadows("test", range(S))
    model = NgramText(buckets=64, l2=0.01, device="cpu")
    together = model.fit(pool, Selection.from_mask(mask), 3, streams=streams)
    for s in range(S):
        alone = model.fit(pool, Selection.from_mask(mask[s : s + 1]), 3, streams=streams)
        np.testing.assert_allclose(
            together.predict_proba(pool.features)[s],
            alone.predict_proba(pool.features)[0],
            atol=1e-6,
        )


def test_a_text_without_words_gets_what_the_intercept_says(rng):
    pool = pool_of(drawn(rng, N_POOL), 2)
    streams = Streams(0).for_shadows("test", [0])
    selection = Selection.from_mask(np.ones((1, N_POOL), bool))
    fitted = NgramText(buckets=32, device="cpu").fit(pool, selection, 2, streams=streams)
    found = fitted.predict_proba(np.zeros((1, LENGTH)))[0, 0]
    intercept = fitted.models.coefficients[0, -1, 0]
    np.testing.assert_allclose(found[1], 1 / (1 + np.exp(-intercept)), atol=1e-6)


def test_other_numbers_than_codes_are_told():
    pool = Rows(("a", "b"), np.array([[0.5], [1.0]]), np.array([0, 1]))
    streams = Streams(0).for_shadows("test", [0])
    with pytest.raises(SettingError, match="ngram_text reads token codes"):
        NgramText().fit(pool, Selection.from_mask(np.ones((1, 2), bool)), 2, streams=streams)


@pytest.mark.parametrize("settings", [{"n": 0}, {"buckets": 0}, {"l2": 0}])
def test_settings_out_of_range(settings):
    with pytest.raises(ValueError, match=f"{next(iter(settings))} must be positive, got 0"):
        NgramText(**settings)
