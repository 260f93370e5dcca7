"""Voting against a loop over shadows, pool rows and candidates, and on data with known answers."""

import dataclasses

import numpy as np
import pytest

from curation_audit.attacks.voting import CERTAIN, FALSE_VOTES, N_NEAREST, Voting, tolerance
from curation_audit.observations import KNOWABLE, Candidates, Knowledge, Observation, Selection
from curation_audit.streams import Streams
from tests.statistics.evidence import random_coins


def unit_rows(rng, n, d):
    rows = rng.standard_normal((n, d))
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


@dataclasses.dataclass(frozen=True)
class Near:
    """Rows, the unit of each, rows that are always in, a pool and coins."""

    rows: np.ndarray
    unit: np.ndarray
    fixed: np.ndarray
    pool: np.ndarray
    inclusion: np.ndarray

    @classmethod
    def make(cls, seed=0, n=12, d=4, m=40, n_pairs=5, n_fixed=0):
        rng = np.random.default_rng(seed)
        unit = np.append(np.arange(n), [0, 1])
        return cls(
            unit_rows(rng, n + 2, d),
            unit,
            unit_rows(rng, n_fixed, d),
            unit_rows(rng, m, d),
            random_coins(rng, n_pairs, n),
        )

    def score(self, inclusion):
        similarity = np.concatenate([self.pool @ self.rows.T, self.pool @ self.fixed.T], axis=1)
        always = np.ones((len(inclusion), len(self.fixed)), dtype=bool)
        held = np.concatenate([inclusion[:, self.unit], always], axis=1)
        return np.where(held[:, None], similarity, -1).max(axis=2).astype(np.float32)

    def similarity(self):
        """Of every candidate, (m, N)."""
        alike = self.pool @ self.rows.T
        return np.stack(
            [alike[:, self.unit == n].max(axis=1) for n in range(self.unit.max() + 1)]
        ).T

    def attacked(self, scores):
        n = self.inclusion.shape[1]
        seen = Observation(
            scores, Selection.from_mask(scores > 2), np.zeros((len(scores), n, 2), "f4")
        )
        knowledge = Knowledge(
            granted=KNOWABLE,
            pool=self.pool,
            candidates=Candidates(self.rows, self.unit, n),
            score=self.score,
        )
        streams = Streams(0).for_shadows("t", range(len(scores)))
        return Voting().evidence(seen, self.inclusion, knowledge, streams=streams)


def looped(here, scores, slack):
    """The definition: votes against, then votes for, row by row."""
    alike, n = here.similarity(), here.inclusion.shape[1]
    alone = here.score(np.zeros((1, n), dtype=bool))[0]
    evidence = np.zeros(here.inclusion.shape)
    for s, shown in enumerate(scores):
        shared = np.zeros(n)
        against = sum(alike[x] > shown[x] + slack for x in range(len(shown)))
        evidence[s] = -CERTAIN * against
        for x, score in enumerate(shown):
            equal = np.flatnonzero(np.abs(alike[x] - score) <= slack)
            if alone[x] >= score - slack:
                continue
            possible = equal if len(equal) == 1 else equal[against[equal] == 0]
            # given that one of g is in: how much likelier that is if a given one is in
            others = 1 - 0.5 ** (len(possible) - 1) * (1 - FALSE_VOTES)
            if len(equal) == 1:
                evidence[s, possible] -= np.log(others)
            else:
                shared[possible] = np.maximum(shared[possible], -np.log(others))
        evidence[s] += shared
    return evidence


@pytest.mark.parametrize("decimals", [None, 1, 2])
@pytest.mark.parametrize("n_fixed", [0, 3])
def test_voting_equals_the_loop(decimals, n_fixed):
    here = Near.make(n_fixed=n_fixed)
    scores = here.score(here.inclusion)
    slack = 1e-6
    if decimals is not None:
        scores, slack = np.round(scores, decimals), 0.5 * 10.0**-decimals + 1e-6
    np.testing.assert_allclose(here.attacked(scores), looped(here, scores, slack), atol=1e-9)


def test_more_candidates_than_are_kept_for_a_row():
    here = Near.make(n=3 * N_NEAREST, m=200)
    scores = here.score(here.inclusion)
    np.testing.assert_allclose(here.attacked(scores), looped(here, scores, 1e-6), atol=1e-9)


def test_votes_name_exactly_the_members():
    here = Near.make(n=60, d=8, m=3000, n_pairs=8)
    found = here.attacked(here.score(here.inclusion))
    assert found[here.inclusion].min() >= CERTAIN * (1 - 1e-9)
    assert found[~here.inclusion].max() <= -CERTAIN * (1 - 1e-9)


@pytest.mark.parametrize("decimals", [1, 2])
def test_rounding_does_not_hide_members_of_well_separated_data(decimals):
    here = Near.make(n=60, d=8, m=3000, n_pairs=8)
    found = here.attacked(np.round(here.score(here.inclusion), decimals))
    assert found[here.inclusion].min() > 0 > found[~here.inclusion].max()


def test_who_is_never_nearest_gets_no_vote():
    """Rows that are always in explain all; and a candidate behind another says nothing."""
    here = Near.make(n=6, m=50)
    covered = dataclasses.replace(here, fixed=here.pool)
    assert not covered.attacked(covered.score(covered.inclusion)).any()


def test_a_row_with_more_equals_than_are_kept_gives_no_vote():
    """Somebody beyond the list may explain its score."""
    here = Near.make(n=2 * N_NEAREST, m=30)
    alike = dataclasses.replace(here, rows=np.repeat(here.rows[:1], len(here.rows), axis=0))
    assert not alike.attacked(alike.score(alike.inclusion)).any()


def test_candidates_that_are_alike_share_their_votes():
    here = Near.make(n=4, m=200, n_pairs=3)
    rows = here.rows.copy()
    rows[3] = rows[2]  # of one row each
    twins = dataclasses.replace(here, rows=rows)
    found = twins.attacked(twins.score(twins.inclusion))
    np.testing.assert_array_equal(found[:, 2], found[:, 3])
    both_out = ~twins.inclusion[:, 2] & ~twins.inclusion[:, 3]
    assert (found[both_out, 2] < 0).all()
    # fair coins, and not both out: one is in with probability 2/3, however many rows say so
    np.testing.assert_allclose(found[~both_out, 2], np.log(2), rtol=1e-5)


def test_the_step_of_rounded_scores_is_seen_in_each_shadow_alone():
    scores = np.random.default_rng(0).random((4, 500)).astype(np.float32)
    scores[1], scores[2] = np.round(scores[1], 2), np.round(scores[2], 4)
    rounding = 8 * np.finfo(np.float32).eps * scores.max(axis=1)
    expected = rounding + np.array([0, 0.005, 0.00005, 0])
    np.testing.assert_allclose(tolerance(scores), expected)
    np.testing.assert_allclose(tolerance(scores[1:2]), expected[1:2])
    np.testing.assert_allclose(tolerance(scores.astype(np.float64)), expected, rtol=1e-6)
