"""Voting against a loop over shadows, pool rows and candidates; places of scores."""

import dataclasses

import numpy as np
import pytest

from curation_audit.attacks.places import N_NEAREST, tolerance
from curation_audit.attacks.voting import Voting
from tests.attacks.nearest_scores import Near


def looped(here, scores, slack):
    """The definition: votes against, and without any the votes for."""
    alike = here.similarity()
    evidence = np.zeros(here.inclusion.shape)
    for s, shown in enumerate(scores):
        for n in range(alike.shape[1]):
            against = (alike[:, n] > shown + slack).sum()
            equal = (np.abs(alike[:, n] - shown) <= slack).sum()
            evidence[s, n] = -against if against else equal
    return evidence


@pytest.mark.parametrize("decimals", [None, 1, 2])
@pytest.mark.parametrize("n_fixed", [0, 3])
def test_voting_equals_the_loop(decimals, n_fixed):
    here = Near.make(n_fixed=n_fixed)
    scores, slack = here.score(here.inclusion), 1e-6
    if decimals is not None:
        scores, slack = np.round(scores, decimals), 0.5 * 10.0**-decimals + 1e-6
    np.testing.assert_array_equal(here.attacked(Voting(), scores), looped(here, scores, slack))


def test_more_candidates_than_are_kept_for_a_row():
    here = Near.make(n=3 * N_NEAREST, m=200)
    scores = here.score(here.inclusion)
    np.testing.assert_array_equal(here.attacked(Voting(), scores), looped(here, scores, 1e-6))


def test_votes_name_exactly_the_members():
    here = Near.make(n=60, d=8, m=3000, n_pairs=8)
    found = here.attacked(Voting(), here.score(here.inclusion))
    assert found[here.inclusion].min() >= 1
    assert found[~here.inclusion].max() <= -1


def test_twins_have_the_same_votes_however_many_share_them():
    here = Near.make(n=4, m=200, n_pairs=3)
    rows = here.rows.copy()
    rows[3] = rows[2]  # of one row each
    twins = dataclasses.replace(here, rows=rows)
    found = twins.attacked(Voting(), twins.score(twins.inclusion))
    np.testing.assert_array_equal(found[:, 2], found[:, 3])
    both_out = ~twins.inclusion[:, 2] & ~twins.inclusion[:, 3]
    assert (found[both_out, 2] < 0).all()
    assert (found[~both_out, 2] > 1).all()


def test_the_step_of_rounded_scores_is_seen_in_each_shadow_alone():
    scores = np.random.default_rng(0).random((4, 500)).astype(np.float32)
    scores[1], scores[2] = np.round(scores[1], 2), np.round(scores[2], 4)
    rounding = 8 * np.finfo(np.float32).eps * scores.max(axis=1)
    expected = rounding + np.array([0, 0.005, 0.00005, 0])
    np.testing.assert_allclose(tolerance(scores), expected)
    np.testing.assert_allclose(tolerance(scores[1:2]), expected[1:2])
    np.testing.assert_allclose(tolerance(scores.astype(np.float64)), expected, rtol=1e-6)
