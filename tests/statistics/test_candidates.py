"""Exposure of single candidates."""

import numpy as np
import pytest
from hypothesis import given

from curation_audit.attacks.gaussian import gaussian_evidence
from curation_audit.statistics import PairedEvidence, candidate_exposure, risk_histogram
from tests.statistics.evidence import paired, random_coins


@given(paired())
def test_exposure_equals_the_loop(one):
    for n in range(one.n_candidates):
        wins = 0.0
        for j in range(one.n_pairs):
            member, outsider = one.members[j, n], one.outsiders[j, n]
            wins += 1.0 if member > outsider else 0.5 if member == outsider else 0.0
        assert candidate_exposure(one)[n] == pytest.approx(wins / one.n_pairs)


@pytest.mark.parametrize("n_pairs", [4, 8, 32])
def test_exposure_without_a_leak_is_one_half_on_average(n_pairs):
    rng = np.random.default_rng(5)
    exposures = []
    for _ in range(200):
        inclusion = random_coins(rng, n_pairs, 20)
        signal = rng.standard_normal((2 * n_pairs, 20)) + rng.standard_normal((2 * n_pairs, 1))
        evidence = PairedEvidence.split(gaussian_evidence(signal, inclusion), inclusion)
        exposures.append(candidate_exposure(evidence).mean())
    error = np.std(exposures) / np.sqrt(len(exposures))
    assert abs(np.mean(exposures) - 0.5) < 4 * error  # two-sided, about 1e-4


def test_histogram_counts_every_candidate_once():
    exposed = PairedEvidence(
        np.array([[1.0, 0.0, 1.0], [1.0, 0.0, 0.0]]), np.array([[0.0, 1.0, 0.0], [0.0, 1.0, 1.0]])
    )
    histogram = risk_histogram(exposed)
    assert (histogram.maximum, histogram.mean) == (1.0, 0.5)
    assert histogram.counts.sum() == 3
    assert len(histogram.bin_edges) == len(histogram.counts) + 1
    for value, place in ((0.0, 0), (1.0, -1)):
        assert histogram.bin_edges[place] == value
        assert histogram.counts[place] == 1
    middle = np.searchsorted(histogram.bin_edges, 0.5, side="right") - 1
    assert histogram.counts[middle] == 1


@pytest.mark.parametrize("n_pairs", [4, 5, 16, 63, 64, 100, 1000])
def test_every_bin_holds_as_many_possible_shares_as_the_next(n_pairs):
    """Otherwise the histogram has combs that are no structure."""
    wins = np.arange(n_pairs + 1)
    members = (np.arange(n_pairs)[:, None] < wins[None]).astype(float)
    found = risk_histogram(PairedEvidence(members, 0.5 * np.ones_like(members)))
    edges, counts = np.array(found.bin_edges), np.array(found.counts)
    assert counts.sum() == n_pairs + 1
    assert (edges[0], edges[-1]) == (0.0, 1.0)
    assert (np.diff(edges) > 0).all()
    assert len(set(counts[:-1])) == 1
    assert len(counts) <= 66
