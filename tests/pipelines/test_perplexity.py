"""The language model against numbers worked out by hand, sums to one, and nltk."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from curation_audit.checks import SettingError
from curation_audit.pipelines.base import PrivateRows, Rows
from curation_audit.pipelines.scorers import witten_bell
from curation_audit.pipelines.scorers.perplexity import Perplexity
from curation_audit.pipelines.scorers.witten_bell import Vocabulary, WittenBell
from curation_audit.streams import Streams
from tests.pipelines.test_dsir import pool_rows, private_rows, scored, tokens
from tests.pipelines.text_cases import perplexities
from tests.pipelines.text_cases import witten_bell as plain

A, B, C = 5, 6, 7
STRANGE = 99


def models(private, vocabulary, order=3, held=None) -> WittenBell:
    rows = tokens(private)
    held = np.ones((1, len(rows)), bool) if held is None else held
    words = Vocabulary.of(np.array([vocabulary]))
    return WittenBell.of(rows, np.arange(len(rows)), held, order, words)


def probability(model: WittenBell, word: int, before: tuple[int, ...] = ()) -> float:
    """P(word | before), from the means of a text with the word and without it."""
    longer = model.mean_log10(tokens([[*before, word]]))[0, 0] * (len(before) + 1)
    shorter = model.mean_log10(tokens([before]))[0, 0] * len(before) if before else 0.0
    return float(10 ** (longer - shorter))


def test_words_by_hand():
    """Private "a b a": 3 words of 2 kinds, and 3 words to share a uniform part among."""
    model = models([[A, B, A]], [A, B], order=2)
    assert probability(model, A) == pytest.approx((2 + 2 / 3) / 5)
    assert probability(model, B) == pytest.approx((1 + 2 / 3) / 5)
    assert probability(model, STRANGE) == pytest.approx((0 + 2 / 3) / 5)


def test_pairs_by_hand():
    """After a comes b, once; after b comes a, once; the last word is a context of nothing."""
    model = models([[A, B, A]], [A, B], order=2)
    assert probability(model, B, (A,)) == pytest.approx((1 + 1 / 3) / 2)
    assert probability(model, A, (A,)) == pytest.approx((0 + 8 / 15) / 2)
    assert probability(model, A, (B,)) == pytest.approx((1 + 8 / 15) / 2)
    assert probability(model, A, (STRANGE,)) == pytest.approx(8 / 15)  # never gone on from


def test_the_score_is_minus_the_log_of_the_perplexity():
    """ "a b" has probability 8/15 * 2/3; its perplexity is the inverse geometric mean."""
    found = scored(Perplexity(order=2), [[A, B, A]], [[A, B], []])[0]
    assert found[0] == pytest.approx(-np.log10((8 / 15 * 2 / 3) ** -0.5))
    assert found[1] == pytest.approx(-np.log10(3))  # no word: as if nothing were known


def test_strange_words_are_one_word_in_private_texts_too():
    """Only the pool's words are told apart: "x y" is "unknown unknown"."""
    model = models([[STRANGE, 98]], [A], order=2)
    assert probability(model, 42) == pytest.approx((2 + 1 / 2) / 3)
    assert probability(model, 43, (42,)) == pytest.approx((1 + 5 / 6) / 2)


some_texts = st.lists(st.lists(st.integers(1, 4), max_size=12), min_size=1, max_size=5)


@given(some_texts, st.lists(st.integers(1, 5), max_size=3), st.integers(2, 5))
def test_probabilities_sum_to_one_over_the_vocabulary_and_unknown(private, before, order):
    model = models(private, [1, 2, 3], order)
    total = sum(probability(model, word, tuple(before)) for word in (1, 2, 3, STRANGE))
    assert total == pytest.approx(1, abs=1e-9)


@given(some_texts, some_texts, st.integers(2, 5))
def test_equal_to_the_definition(private, pool, order):
    """The pool's words are all the vocabulary, so private texts are cut down to them first."""
    words = {word for t in pool for word in t}
    known = [[word if word in words else STRANGE for word in t] for t in private]
    found = scored(Perplexity(order=order), private, pool)[0]
    np.testing.assert_allclose(found, perplexities(known, pool, order), rtol=0, atol=1e-10)


def drawn(seed: int, n: int, longest: int = 12) -> list[list[int]]:
    rng = np.random.default_rng(seed)
    return [rng.integers(1, 7, rng.integers(0, longest + 1)).tolist() for _ in range(n)]


def test_against_the_pool_is_the_difference_of_two_models():
    private, pool = drawn(0, 6), drawn(1, 20)
    mine = np.array(perplexities(private, pool, 3))
    theirs = np.array(perplexities(pool, pool, 3))
    found = scored(Perplexity(order=3, against_pool=True), private, pool)[0]
    np.testing.assert_allclose(found, mine - theirs, rtol=0, atol=1e-10)


def test_neither_blocks_nor_groups_of_models_change_anything(monkeypatch):
    private, pool = drawn(2, 9), drawn(3, 50)
    inclusion = np.concatenate([np.random.default_rng(4).random((5, 9)) < 0.5, [[False] * 9]])
    at_once = scored(Perplexity(), private, pool, inclusion)
    assert np.ptp(at_once[-1]) < 1e-12  # a model of nothing likes all words alike
    assert at_once[-1, 0] == pytest.approx(-np.log10(7))
    monkeypatch.setattr(witten_bell, "ROWS_PER_BLOCK", 7)
    monkeypatch.setattr(witten_bell, "BYTES_PER_BLOCK", 400)
    monkeypatch.setattr(witten_bell, "BYTES_OF_STATISTICS", 1)
    np.testing.assert_allclose(scored(Perplexity(), private, pool, inclusion), at_once, atol=1e-12)


def test_rows_of_a_unit_come_and_go_together():
    texts, pool = drawn(5, 6), drawn(6, 10)
    private = private_rows(texts, unit=[0, 0, -1, 1, 1, 1])
    inclusion = np.array([[True, False], [False, False]])
    streams = Streams(0).for_shadows("test", range(2))
    public = pool_rows(pool)
    found = Perplexity().fit(private, inclusion, public, streams=streams).score(public.features)
    np.testing.assert_allclose(found[0], perplexities(texts[:3], pool, 3), atol=1e-10)
    np.testing.assert_allclose(found[1], perplexities(texts[2:3], pool, 3), atol=1e-10)


def test_rows_that_are_no_pool_rows_can_be_scored():
    texts, pool, others = drawn(7, 5), drawn(8, 30), [[1, STRANGE, 2], [STRANGE]]
    fitted = Perplexity().fit(
        private_rows(texts),
        np.ones((1, 5), bool),
        pool_rows(pool),
        streams=Streams(0).for_shadows("test", [0]),
    )
    logs = [
        np.log10(plain(word, before, texts, 7))
        for word, before in ((1, ()), (STRANGE, (1,)), (2, (1, STRANGE)))
    ]
    wanted = [np.mean(logs), np.log10(plain(STRANGE, (), texts, 7))]
    np.testing.assert_allclose(fitted.score(tokens(others))[0], wanted, atol=1e-10)
    assert fitted.score(tokens(others)[:0]).shape == (1, 0)


def test_a_text_in_the_private_set_fits_better():
    """Of 40 shadows the likelier for a pool text that is also private is one that holds it."""
    private, pool = drawn(9, 8, longest=12), drawn(10, 5)
    private[0] = [3, 1, 4, 1, 5, 2, 6, 5, 3, 5]
    inclusion = np.random.default_rng(0).random((40, 8)) < 0.5
    found = scored(Perplexity(), private, [private[0], *pool], inclusion)[:, 0]
    assert found[inclusion[:, 0]].min() > found[~inclusion[:, 0]].max()


def test_what_attacks_see_are_shares_of_words_and_pairs():
    embedded = Perplexity().embed(tokens([[A, B, C], []]))
    assert embedded.shape == (2, 2048)
    assert sorted(embedded[0][embedded[0] > 0]) == pytest.approx([0.2] * 5)
    assert not embedded[1].any()
    assert Perplexity().family == "other"
    assert Perplexity().linearise(private_rows([[A]]), pool_rows([[A]])) is None


@pytest.mark.parametrize("order", [1, 6])
def test_orders_out_of_range(order):
    with pytest.raises(ValueError, match=f"order must be 2 to 5, got {order}"):
        Perplexity(order=order)


def test_other_numbers_than_codes_are_told():
    rows = Rows(("a",), np.array([[0.5, 2.0]]))
    private = PrivateRows(("p",), rows.features, np.array([0]), ("p",))
    with pytest.raises(SettingError, match="perplexity reads token codes"):
        Perplexity().fit(
            private, np.ones((1, 1), bool), rows, streams=Streams(0).for_shadows("x", [0])
        )


@pytest.mark.peers
@pytest.mark.filterwarnings("ignore")  # nltk's and its dependencies' own
def test_equal_to_nltk_above_single_words():
    """nltk.lm's WittenBellInterpolated; its single words are not smoothed, so they are ours."""
    lm = pytest.importorskip("nltk.lm")
    util = pytest.importorskip("nltk.util")
    private, words = drawn(11, 8), list("123456")
    model = models(private, [1, 2, 3, 4, 5, 6], order=3)
    theirs = lm.WittenBellInterpolated(3)
    texts = [[str(word) for word in t] for t in private]
    theirs.fit([util.everygrams(t, max_len=3) for t in texts], words)
    theirs.estimator.unigram_score = lambda word: probability(model, int(word))
    for before in ((), (1,), (2, 3), (4, 4), (6, 1)):
        for word in words:
            wanted = theirs.score(word, [str(one) for one in before])
            assert probability(model, int(word), before) == pytest.approx(wanted, abs=1e-12)
