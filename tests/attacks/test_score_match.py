"""Score match against a loop over shadows, pool rows and candidates, and on known answers."""

import dataclasses

import numpy as np
import pytest

from curation_audit.attacks.places import N_NEAREST
from curation_audit.attacks.score_match import CERTAIN, FALSE_VOTES, ScoreMatch
from curation_audit.attacks.voting import Voting
from curation_audit.statistics import PairedEvidence, clustered_auc
from tests.attacks.nearest_scores import Near


def attacked(here, scores):
    return here.attacked(ScoreMatch(), scores)


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
def test_score_match_equals_the_loop(decimals, n_fixed):
    here = Near.make(n_fixed=n_fixed)
    scores = here.score(here.inclusion)
    slack = 1e-6
    if decimals is not None:
        scores, slack = np.round(scores, decimals), 0.5 * 10.0**-decimals + 1e-6
    np.testing.assert_allclose(attacked(here, scores), looped(here, scores, slack), atol=1e-9)


def test_more_candidates_than_are_kept_for_a_row():
    here = Near.make(n=3 * N_NEAREST, m=200)
    scores = here.score(here.inclusion)
    np.testing.assert_allclose(attacked(here, scores), looped(here, scores, 1e-6), atol=1e-9)


def test_votes_name_exactly_the_members():
    here = Near.make(n=60, d=8, m=3000, n_pairs=8)
    found = attacked(here, here.score(here.inclusion))
    assert found[here.inclusion].min() >= CERTAIN * (1 - 1e-9)
    assert found[~here.inclusion].max() <= -CERTAIN * (1 - 1e-9)


@pytest.mark.parametrize("decimals", [1, 2])
def test_rounding_does_not_hide_members_of_well_separated_data(decimals):
    here = Near.make(n=60, d=8, m=3000, n_pairs=8)
    found = attacked(here, np.round(here.score(here.inclusion), decimals))
    assert found[here.inclusion].min() > 0 > found[~here.inclusion].max()


def test_who_is_never_nearest_gets_no_vote():
    """Rows that are always in explain all; and a candidate behind another says nothing."""
    here = Near.make(n=6, m=50)
    covered = dataclasses.replace(here, fixed=here.pool)
    assert not attacked(covered, covered.score(covered.inclusion)).any()


def test_a_row_with_more_equals_than_are_kept_gives_no_vote():
    """Somebody beyond the list may explain its score."""
    here = Near.make(n=2 * N_NEAREST, m=30)
    alike = dataclasses.replace(here, rows=np.repeat(here.rows[:1], len(here.rows), axis=0))
    assert not attacked(alike, alike.score(alike.inclusion)).any()


def test_candidates_that_are_alike_share_their_votes():
    here = Near.make(n=4, m=200, n_pairs=3)
    rows = here.rows.copy()
    rows[3] = rows[2]  # of one row each
    twins = dataclasses.replace(here, rows=rows)
    found = attacked(twins, twins.score(twins.inclusion))
    np.testing.assert_array_equal(found[:, 2], found[:, 3])
    both_out = ~twins.inclusion[:, 2] & ~twins.inclusion[:, 3]
    assert (found[both_out, 2] < 0).all()
    # fair coins, and not both out: one is in with probability 2/3, however many rows say so
    np.testing.assert_allclose(found[~both_out, 2], np.log(2), rtol=1e-5)


def aucs(here, scores):
    found = [
        PairedEvidence.split(here.attacked(attack, scores), here.inclusion)
        for attack in (ScoreMatch(), Voting())
    ]
    return [clustered_auc(one).auc for one in found]


@pytest.mark.parametrize("shape", [{}, {"n": 60, "m": 300, "d": 8}, {"n": 200, "m": 100, "d": 16}])
def test_on_clean_scores_it_is_nowhere_below_a_count(shape):
    for seed in range(5):
        here = Near.make(seed=seed, n_pairs=8, **shape)
        ours, count = aucs(here, here.score(here.inclusion))
        assert ours >= count - 1e-12


@pytest.mark.parametrize(("decimals", "least"), [(1, 0.02), (2, 5e-4)])
def test_on_rounded_scores_it_is_above_a_count(decimals, least):
    for seed in range(5):
        here = Near.make(seed=seed, n=200, m=300, d=8, n_pairs=8)
        ours, count = aucs(here, np.round(here.score(here.inclusion), decimals))
        assert ours > count + least
