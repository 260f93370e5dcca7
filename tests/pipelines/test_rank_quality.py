"""How good a run is: a sum that one unit moves by no more than is stated, whatever it is."""

import dataclasses
import math
from unittest import mock

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score

from curation_audit.dp.gaussian_sum import GaussianSum
from curation_audit.dp.noise import SecureNoise
from curation_audit.pipelines.base import PrivateRows, Rows
from curation_audit.pipelines.protection.releasing_tuned import RowsAlone
from curation_audit.pipelines.scorers import rank_quality
from curation_audit.pipelines.scorers.linear import LinearScorers
from curation_audit.pipelines.scorers.noisy_sum import NoisySum
from curation_audit.pipelines.scorers.rank_quality import HALF, RankQuality, auc_of_rows, unit_means
from curation_audit.releases.public_maps import MeanMap, row_products
from tests.pipelines.neighbours import Neighbours, neighbours, private_sets, worst_case
from tests.pipelines.protected import PATIENTS, D, N, pool_rows, private_rows

ADJACENCIES = ("add_remove", "zero_out", "replace_one")
POOL = pool_rows()


def quality(adjacency="zero_out", mu=math.inf, n_public=60) -> RankQuality:
    return RankQuality(mu=mu, adjacency=adjacency, n_public=n_public, seed=3)


def frozen(seed=0, n=2) -> LinearScorers:
    """Scorers that hang on no private row."""
    weights = np.random.default_rng(seed).normal(size=(n, D))
    return LinearScorers(weights, lambda features, labels=None: features)


def moved(of: Neighbours, adjacency, seed=0) -> np.ndarray:
    """How far the sums of two scorers move between D and D'."""
    sums = []
    for i, private in enumerate(private_sets(of, adjacency)):
        held = np.ones((2, private.n_units), dtype=bool)
        if adjacency == "zero_out" and i:
            held[:, of.changed] = False
        sums.append(quality(adjacency).exact(frozen(seed), private, held, POOL))
    return np.abs(sums[0] - sums[1])


@given(of=neighbours(POOL), adjacency=st.sampled_from(ADJACENCIES), seed=st.integers(0, 9))
@settings(max_examples=150, deadline=None)
def test_one_unit_moves_the_sum_by_no_more_than_is_stated(of, adjacency, seed):
    allowed = quality(adjacency).mechanism.sum_sensitivity
    assert (moved(of, adjacency, seed) <= allowed + 1e-12).all()


@pytest.mark.parametrize("adjacency", ADJACENCIES)
def test_the_worst_case_uses_the_sensitivity_up(adjacency):
    """A patient far above the whole pool, who goes, or is replaced by one far below."""
    allowed = 1.0 if adjacency == "replace_one" else 0.5
    assert quality(adjacency).mechanism.sum_sensitivity == allowed
    far = np.full((12, D), 9.0) * 1e3 * frozen().weights[0]
    of = dataclasses.replace(worst_case(), units=(far, *worst_case().units[1:]), other=-far)
    assert moved(of, adjacency)[0] == pytest.approx(allowed, abs=1e-12)


BROKEN = {
    "rows in place of units": (
        "unit_means",
        lambda terms, private: np.stack(
            [terms[:, private.owners == u].sum(axis=1) for u in range(private.n_units)], axis=1
        ),
    ),
    "scores in place of ranks": ("auc_of_rows", lambda own, others: own),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_quality_is_noticed(name):
    target, wrong = BROKEN[name]
    far = np.full((12, D), 9.0) * frozen().weights[0]
    of = dataclasses.replace(worst_case(0.01), units=(far, *worst_case(0.01).units[1:]), other=-far)
    with mock.patch.object(rank_quality, target, wrong):
        assert moved(of, "replace_one").max() > 1 + 1e-9


@pytest.mark.parametrize("decimals", [9, 0], ids=["distinct", "with ties"])
def test_a_rows_share_is_its_auc(decimals):
    """A library's AUC of one row against the public ones; ties count half."""
    rng = np.random.default_rng(1)
    own, others = rng.normal(size=(3, 7)).round(decimals), rng.normal(size=(3, 40)).round(decimals)
    shares = auc_of_rows(own, others)
    for s in range(3):
        for i in range(7):
            both = [own[s, i], *others[s]]
            assert shares[s, i] == pytest.approx(roc_auc_score([1] + [0] * 40, both))
        whole = roc_auc_score([1] * 7 + [0] * 40, [*own[s], *others[s]])
        assert shares[s].mean() == pytest.approx(whole)


def test_scores_that_are_none_lie_below_all():
    shares = auc_of_rows(np.array([[np.nan, 1.0, np.inf]]), np.array([[0.0, np.nan]]))
    np.testing.assert_array_equal(shares, [[0.25, 1.0, 1.0]])


def test_units_weigh_alike_and_only_who_is_held_counts():
    """A plain loop; rows without numbers add nothing."""
    private, fitted = private_rows(PATIENTS), frozen()
    private.features[5] = np.nan
    held = np.random.default_rng(2).integers(0, 2, (2, N)).astype(bool)
    found = quality().exact(fitted, private, held, POOL)
    pool_scores = fitted.weights @ POOL.features.T
    for s in range(2):
        total = 0.0
        for unit in np.flatnonzero(held[s]):
            rows = private.features[private.owners == unit]
            terms = [
                (pool_scores[s] < fitted.weights[s] @ row).mean() - 0.5
                for row in rows
                if np.isfinite(row).all()
            ]
            total += sum(terms) / len(rows)
        assert found[s] == pytest.approx(total)


def test_means_of_units():
    private = private_rows((0, 0, 1))
    terms = np.array([[1.0, 2.0, 5.0]])
    np.testing.assert_allclose(unit_means(terms, private), [[1.5, 5.0]])


def test_the_public_rows_hang_on_ids_and_not_on_places():
    order = np.random.default_rng(4).permutation(len(POOL))
    moved_pool = Rows(tuple(POOL.ids[i] for i in order), POOL.features[order])
    of = quality(n_public=7)
    assert of.public(POOL).ids == of.public(moved_pool).ids
    assert len(of.public(POOL)) == 7
    assert dataclasses.replace(of, seed=4).public(POOL).ids != of.public(POOL).ids


@pytest.mark.parametrize("adjacency", ADJACENCIES)
def test_the_noise_is_what_the_claim_needs(adjacency):
    """40,000 draws: the standard deviation within 2 % (5.6 standard errors)."""
    of = quality(adjacency, mu=0.25)
    sigma = (1.0 if adjacency == "replace_one" else 0.5) / 0.25
    sources = [np.random.default_rng(i) for i in range(40_000)]
    noisy = of.noisy(np.full(40_000, 3.0), sources)
    assert noisy.std() == pytest.approx(sigma, rel=0.02)
    assert noisy.mean() == pytest.approx(3.0, abs=5 * sigma / 200)
    assert of.noisy(np.zeros(1), [SecureNoise()])[0] != of.noisy(np.zeros(1), [SecureNoise()])[0]
    np.testing.assert_array_equal(quality(adjacency).noisy(np.ones(3), sources[:3]), np.ones(3))


def as_rows(features) -> PrivateRows:
    n = len(features)
    return PrivateRows(tuple(map(str, range(n))), features, np.arange(n), tuple(map(str, range(n))))


def test_a_better_scorer_has_the_larger_sum():
    rng = np.random.default_rng(5)
    private = as_rows(rng.normal(1, 1, (50, D)))
    weights = np.stack([np.ones(D), [1.0, 0, 0, 0, 0], -np.ones(D)])
    fitted = LinearScorers(weights, lambda features, labels=None: features)
    sums = quality().exact(fitted, private, np.ones((3, 50), dtype=bool), POOL)
    assert sums[0] > sums[1] > 0 > sums[2]
    assert sums[2] == pytest.approx(-sums[0])


def coded(n: int, d: int = 64, kinds: int = 3) -> np.ndarray:
    """Rows of a coded table: few different ones, again and again, float64 (n, d)."""
    values = np.random.default_rng(0).normal(size=(kinds, d))
    return values[np.random.default_rng(1).integers(kinds, size=n)]


def summed(scorer, rows: np.ndarray, pool: Rows) -> float:
    private = as_rows(rows)
    everyone = np.ones((1, len(rows)), dtype=bool)
    return float(quality("add_remove", n_public=1000).exact(scorer, private, everyone, pool)[0])


@pytest.mark.parametrize("n", [5_000, 20_000])
def test_ties_do_not_break_by_who_else_is_there(n):
    """Equal rows in one product have other last bits by their place, which moves with a unit."""
    rows = coded(n + 1)
    pool = Rows(tuple(map(str, range(2000))), coded(2000))
    weights = np.random.default_rng(2).normal(size=64)
    public = MeanMap("inner_product")
    mechanism = GaussianSum(clip=1.0, mu=1.0, adjacency="add_remove")
    alone = RowsAlone(NoisySum(map=public, mechanism=mechanism), weights)
    for left_out in (0, n // 2, n):
        moved = summed(alone, rows, pool) - summed(alone, np.delete(rows, left_out, axis=0), pool)
        assert abs(moved) <= HALF + 1e-9
    # what is guarded against: scores of equal rows that differ by where they stand
    ragged = summed(Ragged(weights), rows, pool) - summed(Ragged(weights), rows[1:], pool)
    assert abs(ragged) > HALF


@dataclasses.dataclass(frozen=True)
class Ragged:
    """Every other row's score is a last bit higher, as a product of many rows may have it."""

    weights: np.ndarray

    def score(self, features, labels=None):
        found = row_products(features, self.weights)
        found[::2] = np.nextafter(found[::2], np.inf)
        return found[None]
