"""Planted rows against brute force and closed forms, and what fingerprints make of them."""

import dataclasses

import numpy as np
import pytest
from scipy import stats

from curation_audit.attacks.fingerprint import Fingerprint
from curation_audit.attacks.gaussian import gaussian_evidence
from curation_audit.attacks.planting import absurd_labels, along_influence, between, near_one
from curation_audit.observations import Knowledge, Linearisation, Observation, Planted, Selection
from curation_audit.statistics import PairedEvidence, clustered_auc
from curation_audit.streams import Streams
from tests.statistics.evidence import random_coins


def unit_rows(rows):
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def on_the_circle(rng, target, similarity, n):
    """Random unit rows at a given cosine to the target."""
    across = rng.standard_normal((n, len(target)))
    across = unit_rows(across - np.outer(across @ target, target))
    return similarity * target + np.sqrt(1 - similarity**2) * across


class TestNearestTarget:
    def test_in_the_plane_it_turns_away_from_the_neighbour(self):
        candidates = np.array([[1.0, 0.0], [np.cos(0.3), np.sin(0.3)]])
        row = near_one(candidates[:1], candidates, np.eye(2, dtype=bool)[:1], 0.8)
        np.testing.assert_allclose(row, [[0.8, -0.6]], atol=1e-9)

    @pytest.mark.parametrize("similarity", [0.6, 0.9])
    def test_no_row_at_that_cosine_is_farther_from_all_others(self, rng, similarity):
        candidates = unit_rows(rng.standard_normal((30, 4)) + 1.0)
        targets = [3, 17, 20]
        rows = near_one(
            candidates[targets], candidates, np.arange(30) == np.array(targets)[:, None], similarity
        )
        np.testing.assert_allclose(np.linalg.norm(rows, axis=1), 1)
        for row, t in zip(rows, targets, strict=True):
            assert row @ candidates[t] == pytest.approx(similarity)
            others = np.delete(candidates, t, axis=0)
            tried = on_the_circle(rng, candidates[t], similarity, 5000)
            # the maximum is smoothed, fifty steps are taken, and there are many hollows
            assert (row @ others.T).max() < (tried @ others.T).max(axis=1).min() + 0.05

    def test_in_one_dimension_it_is_the_target(self):
        candidates = np.array([[1.0], [-1.0]])
        rows = near_one(candidates, candidates, np.eye(2, dtype=bool), 0.5)
        np.testing.assert_allclose(rows, candidates)

    def test_the_target_alone_lifts_the_row_over_the_threshold(self, rng):
        candidates = unit_rows(rng.standard_normal((40, 8)) + 0.7)
        is_target = np.eye(40, dtype=bool)
        rows = between(candidates, candidates, is_target, 0.75, 0.8)
        cosines = rows @ candidates.T
        assert (cosines[is_target] >= 0.8 - 1e-9).all()
        missed = np.where(is_target, -1, cosines).max(axis=1) < 0.75
        assert missed.mean() > 0.8
        # the targets themselves would not do
        there = np.where(is_target, -1, candidates @ candidates.T).max(axis=1) < 0.75
        assert there.mean() < 0.6

    def test_rows_of_the_same_unit_are_no_others(self):
        candidates = np.array([[1.0, 0.0], [np.cos(0.3), np.sin(0.3)], [0.0, -1.0]])
        mine = np.array([[True, True, False]])
        row = near_one(candidates[:1], candidates, mine, 0.8)
        np.testing.assert_allclose(row, [[0.8, 0.6]], atol=1e-9)


@pytest.fixture
def linearised(rng) -> Linearisation:
    p, n = 6, 12
    mixing = rng.standard_normal((p, p))
    slopes = np.arange(p) < p - 1
    covariance = mixing @ mixing.T
    return Linearisation(rng.standard_normal(p), rng.standard_normal((n, p)), covariance, slopes)


class TestAlongInfluence:
    TARGETS = np.array([2, 7])

    def rows(self, linearised, margin=(0.0, 0.0), radius=9.0):
        centre = np.append(np.full(5, 0.2), 1.0)
        rows = along_influence(linearised, self.TARGETS, centre, np.array(margin), radius)
        return rows, rows - centre

    def test_margin_length_and_intercept(self, linearised):
        rows, deviation = self.rows(linearised, margin=(0.0, -0.4))
        np.testing.assert_allclose(deviation @ linearised.reference, [0, -0.4], atol=1e-9)
        np.testing.assert_allclose(np.linalg.norm(rows[:, :-1], axis=1), 9)
        np.testing.assert_array_equal(rows[:, -1], 1)

    def test_members_raise_their_row(self, linearised):
        _, deviation = self.rows(linearised)
        moved = np.einsum("tp,tp->t", deviation, linearised.influence[self.TARGETS])
        assert (moved > 0).all()

    def test_no_direction_at_the_threshold_tells_more(self, linearised, rng):
        _, deviation = self.rows(linearised)
        w = linearised.reference[:-1]
        tried = rng.standard_normal((20000, 5))
        tried -= np.outer(tried @ w, w) / (w @ w)

        def ratio(directions, t):
            noise = np.einsum(
                "rp,pq,rq->r", directions, linearised.covariance[:-1, :-1], directions
            )
            return (directions @ linearised.influence[t, :-1]) ** 2 / noise

        for mine, t in zip(deviation, self.TARGETS, strict=True):
            best = ratio(tried, t).max()
            assert best <= ratio(mine[None, :-1], t)[0] < 1.1 * best

    def test_a_margin_out_of_reach_keeps_the_row_as_short_as_it_can_be(self, linearised):
        rows, _ = self.rows(linearised, margin=(500.0, 500.0), radius=0.5)
        assert np.isfinite(rows).all()


class TestAbsurdLabels:
    POOL = np.concatenate([np.zeros((30, 2)), np.full((30, 2), 10.0)])
    LABELS = np.repeat([0, 1], 30)
    EVERY = np.ones(60)

    def test_the_class_that_is_not_at_home(self):
        rows = np.array([[0.1, 0.0], [9.0, 9.9]])
        found = absurd_labels(rows, self.POOL, self.LABELS, self.EVERY, 2)
        np.testing.assert_array_equal(found, [1, 0])

    def test_of_classes_that_are_equally_absent_the_rarest(self):
        labels = np.concatenate([self.LABELS, [2]])
        pool = np.concatenate([self.POOL, [[99.0, 99.0]]])
        found = absurd_labels(np.zeros((1, 2)), pool, labels, np.ones(61), 3)
        assert found.tolist() == [2]
        assert found.dtype == np.int64

    def test_rows_that_are_never_picked_say_nothing(self):
        pool, labels = np.zeros((40, 2)), np.repeat([0, 1], 20)
        for kept in (0, 1):
            found = absurd_labels(np.zeros((1, 2)), pool, labels, 1.0 * (labels == kept), 2)
            assert found.tolist() == [1 - kept]


def seen(margin, inclusion, target):
    """An observation whose margins for label 1 at the planted rows are given."""
    second = 1 / (1 + np.exp(-margin))
    planted = np.stack([1 - second, second], axis=2).astype(np.float32)
    nothing = np.zeros((len(inclusion), 0, 0), dtype=np.float32)
    selection = Selection.from_mask(np.zeros((len(inclusion), 3), dtype=bool))
    observation = Observation(np.zeros((len(inclusion), 3)), selection, nothing, planted=planted)
    labels = np.ones(len(target), dtype=np.int64)
    return observation, Knowledge(planted=Planted(np.array(target), labels))


def evidence(margin, inclusion, target):
    observation, knowledge = seen(margin, inclusion, target)
    streams = Streams(0).for_shadows("test", range(len(inclusion)))
    return Fingerprint().evidence(observation, inclusion, knowledge, streams=streams)


class TestEvidence:
    def test_it_is_the_ratio_of_the_mean_margin_over_the_targets_rows(self, rng):
        inclusion = random_coins(rng, 20, 6)
        margin = rng.standard_normal((40, 5))
        found = evidence(margin, inclusion, [4, 1, 4, 0, 4])
        means = np.stack([margin[:, 3], margin[:, 1], margin[:, [0, 2, 4]].mean(axis=1)], axis=1)
        wanted = gaussian_evidence(means, inclusion[:, [0, 1, 4]])
        np.testing.assert_allclose(found[:, [0, 1, 4]], wanted, rtol=1e-3, atol=1e-3)  # float32

    def test_of_candidates_without_a_row_nothing_is_known(self, rng):
        inclusion = random_coins(rng, 10, 6)
        found = evidence(rng.standard_normal((20, 2)), inclusion, [3, 5])
        np.testing.assert_array_equal(found[:, [0, 1, 2, 4]], 0)
        assert (found[:, [3, 5]] != 0).all()

    def test_a_shift_of_two_standard_deviations(self, rng):
        inclusion = random_coins(rng, 100, 30)
        margin = rng.standard_normal((200, 30)) + 2.0 * inclusion
        paired = PairedEvidence.split(evidence(margin, inclusion, np.arange(30)), inclusion)
        found = clustered_auc(paired)
        error = np.sqrt(2 * found.variance_by_pair)
        assert abs(found.auc - stats.norm.cdf(np.sqrt(2))) < 4 * error < 0.05

    @pytest.mark.parametrize("rows_per_target", [0, -1])
    def test_fewer_rows_than_one_are_refused(self, rows_per_target):
        with pytest.raises(ValueError, match="rows_per_target must be positive"):
            Fingerprint(rows_per_target=rows_per_target)

    @pytest.mark.parametrize("gap", ["knowledge", "observation"])
    def test_without_planted_rows_it_cannot_run(self, rng, gap):
        inclusion = random_coins(rng, 5, 4)
        observation, knowledge = seen(rng.standard_normal((10, 1)), inclusion, [0])
        if gap == "knowledge":
            knowledge = Knowledge()
        else:
            observation = dataclasses.replace(observation, planted=None)
        with pytest.raises(ValueError, match="needs planted rows"):
            Fingerprint().evidence(
                observation, inclusion, knowledge, streams=Streams(0).for_shadows("test", range(10))
            )
