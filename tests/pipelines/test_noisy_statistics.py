"""Sums of gradients, stacks of subtasks, n-gram histograms and domain votes: what is their own.

The contract of all mechanisms, record and replay included, goes over them by ``CASES``.
"""

import dataclasses
import math

import numpy as np
import pytest

from curation_audit.checks import SettingError
from curation_audit.pipelines.base import bound
from curation_audit.pipelines.protection.base import Budget
from curation_audit.pipelines.protection.dsir_histogram import DsirHistogram
from curation_audit.pipelines.protection.less_sums import LessSums
from curation_audit.pipelines.protection.protect import NATURAL
from curation_audit.pipelines.protection.trak_sum import TrakSum
from curation_audit.pipelines.scorers.dsir import Dsir
from curation_audit.pipelines.scorers.perplexity import Perplexity
from tests.pipelines.neighbours import as_private, replay
from tests.pipelines.protected import (
    CASES,
    N,
    as_read,
    as_tokens,
    coins,
    pool_rows,
    private_rows,
    protected,
    scored,
    site_of,
    streams,
    without_noise,
)

LOOSE = Budget(epsilon=2.0, delta=1e-2)


def own_scores(case, private, inclusion, pool):
    """The scorer that the mechanism stands in for, on what the case reads."""
    rows, read = as_read(case, private), as_read(case, pool)
    fitted = bound(case.scorer, read).fit(rows, inclusion, read, streams=streams())
    return fitted.score(read.features, read.labels)


# --- gradients


@pytest.mark.parametrize("name", ["less_sums", "less_sums, one"])
def test_less_without_noise_is_less(name):
    """No row is longer than its clip: one case at a time, the mean of each subtask comes back."""
    case, private, pool = CASES[name], private_rows(), pool_rows()
    inclusion = coins()
    found = scored(without_noise(case), private, inclusion, pool)
    wanted = own_scores(case, private, inclusion, pool)
    if name == "less_sums, one":  # a sum over the public N, not the mean of what is held
        wanted = wanted * inclusion.sum(axis=1, keepdims=True) / N
    found = found * math.sqrt(case.scorer.epochs)  # gradients have length one together
    np.testing.assert_allclose(found, wanted, rtol=1e-6, atol=1e-9)


def test_trak_without_noise_and_clipping_is_trak():
    case, private, pool = CASES["trak_sum"], private_rows(), pool_rows()
    wide, inclusion = dataclasses.replace(case, settings=TrakSum(clip=1e6)), coins()
    found = scored(without_noise(wide), private, inclusion, pool)
    wanted = own_scores(case, private, inclusion, pool)
    share = inclusion.sum(axis=1, keepdims=True) / N
    np.testing.assert_allclose(found, wanted * share, rtol=1e-6, atol=1e-9)


def test_trak_clips_at_the_median_length_of_the_pool():
    of = protected(CASES["trak_sum"]).scorer
    pool = pool_rows()
    lengths = np.linalg.norm(of.map.contribution(pool.features), axis=1)
    assert of.mechanism.clip == pytest.approx(np.median(lengths))


def test_a_subtask_without_enough_rows_is_left_out():
    """Noise over a count near zero would win the maximum."""
    case, private = CASES["less_sums"], private_rows()
    of = protected(case, epsilon=1.0).scorer
    sigma = of.mechanism.sigma / of.map.count_weight
    assert of.least_count == pytest.approx(2 * sigma)
    fitted = of.fit(private, np.zeros((400, N), dtype=bool), None, streams=streams(range(400)))
    assert (fitted.counts.sum(axis=1) >= 1).all()  # the largest stays
    assert fitted.counts.mean() < 0.5
    means = np.linalg.norm(fitted.means, axis=2)
    p = fitted.means.shape[2]
    assert means.max() < 2 * of.mechanism.sigma * math.sqrt(p) / of.least_count


@pytest.mark.parametrize(
    ("adjacency", "wanted"),
    [("add_remove", math.hypot(1, 0.5)), ("zero_out", math.hypot(1, 0.5)), ("replace_one", None)],
)
def test_the_stack_moves_by_a_row_and_its_counter(adjacency, wanted):
    """A row of the stack has length sqrt(1 + w^2); one that changes its label as well moves the
    stack by sqrt(2 (1 + w^2)), within the stated 2 sqrt(1 + w^2)."""
    case, pool = CASES["less_sums"], pool_rows()
    units = tuple(np.random.default_rng(i).normal(size=(1, 5)) for i in range(5))
    other = -units[0]
    one, two = as_private(units), as_private((other, *units[1:]))
    of = protected(case, one, pool, adjacency=adjacency, budget=LOOSE)
    held = np.ones(5, dtype=bool)
    before = replay(of, one, pool, held).sums[0]
    if adjacency == "replace_one":
        after = replay(of, two, pool, held).sums[0]
        labels = [case.read(rows)[1][0] for rows in (units[0], other)]
        assert labels[0] != labels[1]
        assert np.linalg.norm(before - after) == pytest.approx(math.sqrt(2) * math.hypot(1, 0.5))
        assert of.scorer.mechanism.sum_sensitivity == pytest.approx(2 * math.hypot(1, 0.5))
        return
    after = replay(of, one, pool, np.arange(5) > 0).sums[0]
    assert np.linalg.norm(before - after) == pytest.approx(wanted, rel=1e-9)
    assert of.scorer.mechanism.sum_sensitivity == pytest.approx(wanted)


def test_count_weight_shapes_the_clip():
    case = dataclasses.replace(CASES["less_sums"], settings=LessSums(count_weight=2.0))
    assert protected(case).scorer.mechanism.clip == pytest.approx(math.sqrt(5))
    with pytest.raises(ValueError, match="count_weight"):
        LessSums(count_weight=0.0)


@pytest.mark.parametrize("epsilon", [1.0, 8.0, 1e4])
@pytest.mark.parametrize("name", ["domain_votes", "trak_sum", "less_sums", "dsir_histogram"])
def test_first_order_is_what_coins_and_noise_do(name, epsilon):
    """Means, spreads and influences of 2,000 shadows of 400 units: what attacks go by."""
    n, n_shadows, case = 400, 2000, CASES[name]
    private, pool = as_read(case, private_rows(tuple(range(n)))), as_read(case, pool_rows())
    budget = Budget(epsilon=epsilon, delta=1e-3)
    of = case.settings.prepare(budget, (), site_of(case, private, pool)).scorer
    found = of.linearise(private, pool)
    embedded = found.read(of.embed(pool.features, pool.labels))
    inclusion = np.random.default_rng(0).random((n_shadows, n)) < 0.5
    fitted = of.fit(private, inclusion, pool, streams=streams(range(n_shadows)))
    scores = fitted.score(pool.features, pool.labels).astype(np.float64)

    predicted = embedded @ found.reference
    assert np.corrcoef(scores.mean(axis=0), predicted)[0, 1] > 0.98
    assert slope(scores.mean(axis=0), predicted) == pytest.approx(1, abs=0.05)
    spread = np.sqrt(np.einsum("ij,jk,ik->i", embedded, found.covariance, embedded))
    assert 0.75 < np.median(scores.std(axis=0) / spread) < 1.15
    some = np.arange(100)
    held = inclusion[:, some]
    moved = np.stack([scores[held[:, i]].mean(0) - scores[~held[:, i]].mean(0) for i in some])
    assert slope(moved.ravel(), (found.influence[some] @ embedded.T).ravel()) == pytest.approx(
        1, abs=0.25
    )


def slope(y, x):
    return np.polyfit(x, y, 1)[0]


def test_the_largest_subtask_is_read_where_all_are_small():
    case, private, pool = CASES["less_sums"], private_rows(), pool_rows()
    private, pool = as_read(case, private), as_read(case, pool)
    budget = Budget(epsilon=0.2, delta=1e-2)
    of = case.settings.prepare(budget, (), site_of(case, private, pool)).scorer
    assert of.least_count > N
    blocks = of.linearise(private, pool).blocks
    largest = np.argmax(np.bincount(private.labels, minlength=3))
    assert np.flatnonzero(blocks.any(axis=1)).tolist() == [largest]


# --- n-grams


def test_the_histogram_is_read_by_shares_and_logarithms():
    """A plain reference of everything behind the noise."""
    case, private, pool = CASES["dsir_histogram"], private_rows(), pool_rows()
    of, inclusion = protected(case, epsilon=4.0), coins()
    released = of.scorer.histogram.released(private, inclusion, streams())
    counts = Dsir(buckets=16).counts(as_tokens(pool.features)[0]).toarray()
    log_pool = np.log(counts.sum(axis=0) / counts.sum() + 1e-8)
    texts = of.scorer.mechanism.vectors(of.scorer.map.contribution(pool.features))
    smoothing = 0.1 * texts.sum(axis=1).mean() + of.scorer.mechanism.sigma
    for s, noisy in enumerate(released):
        shares = np.array([max(0.0, h) + smoothing for h in noisy])
        weights = np.log(shares / shares.sum() + 1e-8) - log_pool
        found = scored(of, private, inclusion, pool)[s]
        np.testing.assert_allclose(found, counts @ weights, rtol=1e-6)


def test_one_text_weighs_the_same_whatever_its_length():
    of = protected(CASES["dsir_histogram"]).scorer.map.map  # behind the tests' reading
    long, short = np.array([[1.0, 2, 3, 4, 5, 6]]), np.array([[3.0, 0, 0, 0, 0, 0]])
    for text in (long, short):
        assert of.contribution(text).sum() == pytest.approx(1)
    assert of.contribution(np.zeros((1, 6))).sum() == 0


@pytest.mark.parametrize(
    ("buckets", "n", "ratio"),
    [(10_000, 10_000, 6.0), (10_000, 10**6, 0.06), (500, 1000, 3.0), (500, 10**5, 0.03)],
)
def test_noise_beside_an_average_bucket(buckets, n, ratio):
    """Replaced texts of length one at epsilon 1, delta 1e-6."""
    case = dataclasses.replace(
        CASES["dsir_histogram"], settings=DsirHistogram(buckets=buckets, clip=1.0)
    )
    budget = Budget(epsilon=1.0, delta=1e-6)
    of = protected(case, adjacency="replace_one", budget=budget).scorer
    assert of.mechanism.sigma * buckets / n == pytest.approx(ratio, rel=0.01)


def test_it_is_told_when_there_are_too_few_texts():
    case = CASES["dsir_histogram"]
    notes = protected(case, epsilon=0.5).protection.notes
    assert any(note.startswith("N is too small") for note in notes)
    secret = protected(case, epsilon=0.5, adjacency="add_remove").protection.notes
    assert any(note.startswith("it takes") for note in secret)
    few = protected(case, private_rows(seed=1), epsilon=0.5, adjacency="add_remove")
    assert few.protection.notes == secret  # N is not in it
    # thousands of texts, and no note
    many = as_read(case, private_rows(tuple(range(4000))))
    site = site_of(case, many, as_read(case, pool_rows()))
    assert case.settings.prepare(Budget(epsilon=4.0, delta=1e-5), (), site).notes == ()


def one_word(features):
    """The first number alone."""
    codes, _ = as_tokens(features)
    codes[:, 1:] = 0
    return codes, None


def test_texts_of_different_words_use_the_sensitivity_up():
    case = dataclasses.replace(
        CASES["dsir_histogram"], settings=DsirHistogram(buckets=512, clip=1.0), read=one_word
    )
    word, another = np.full((1, 5), 0.3), np.full((1, 5), 0.6)
    assert one_word(word)[0][0, 0] != one_word(another)[0][0, 0]
    one, two = (as_private((row, *[word] * 4)) for row in (word, another))
    of = protected(case, one, adjacency="replace_one", budget=LOOSE)
    everyone = np.ones(5, dtype=bool)
    sums = [replay(of, rows, pool_rows(), everyone).sums[0] for rows in (one, two)]
    moved = np.linalg.norm(sums[0] - sums[1])
    assert moved == pytest.approx(of.scorer.mechanism.sum_sensitivity) == math.sqrt(2)


# --- domains


def test_domain_votes_by_hand():
    case, private, pool = CASES["domain_votes"], private_rows(), pool_rows()
    found = scored(without_noise(case), private, np.ones((6, N), dtype=bool), pool)[0]
    mine, theirs = as_read(case, private).labels, as_read(case, pool).labels
    wanted = [np.sum(mine == label) / N / np.sum(theirs == label) for label in theirs]
    np.testing.assert_allclose(found, wanted)


def test_a_vote_that_moves_uses_the_sensitivity_up():
    case, pool = CASES["domain_votes"], pool_rows()
    rows = tuple(np.full((1, 5), 1.0) for _ in range(5))
    one, two = as_private(rows), as_private((-rows[0], *rows[1:]))
    of = protected(case, one, pool, adjacency="replace_one", budget=LOOSE)
    sums = [replay(of, rows, pool, np.ones(5, dtype=bool)).sums[0] for rows in (one, two)]
    moved = np.linalg.norm(sums[0] - sums[1])
    assert moved == pytest.approx(of.scorer.mechanism.sum_sensitivity) == math.sqrt(2)


# --- refusals


@pytest.mark.parametrize(
    ("name", "missing"),
    [("domain_votes", "public"), ("trak_sum", "public"), ("less_sums", "public")],
)
def test_a_pool_without_labels_is_refused(name, missing):
    site = site_of(CASES[name], private_rows(), pool_rows())
    with pytest.raises(SettingError, match=rf"{missing}\.columns\.label"):
        CASES[name].settings.prepare(LOOSE, (), site)


def test_an_adversary_may_know_no_labels():
    """Candidates show nothing then, and nothing breaks."""
    of = protected(CASES["domain_votes"]).scorer.map.map
    assert not of.query(pool_rows().features, None).any()


def test_votes_need_labels_of_private_rows():
    case = CASES["domain_votes"]
    site = site_of(case, private_rows(), as_read(case, pool_rows()))
    with pytest.raises(SettingError, match=r"private\.columns\.label"):
        case.settings.prepare(LOOSE, (), site)


@pytest.mark.parametrize("scorer", [Dsir(), Perplexity()])
@pytest.mark.parametrize("mechanism", ["gaussian_mean", "ulsif", "trak_sum"])
def test_token_codes_are_no_numbers(scorer, mechanism):
    case = dataclasses.replace(
        CASES["gaussian_mean"], scorer=scorer, mechanism=mechanism, read=as_tokens
    )
    with pytest.raises(SettingError, match="reads numbers"):
        protected(case)


def test_other_numbers_are_no_token_codes():
    with pytest.raises(SettingError, match="token codes"):
        protected(dataclasses.replace(CASES["dsir_histogram"], read=None))


def test_scorers_have_these_as_their_private_forms():
    assert NATURAL["dsir"] == "dsir_histogram"
    assert NATURAL["trak"] == "trak_sum"
    assert NATURAL["less"] == "less_sums"
