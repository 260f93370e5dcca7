"""The filter at trained references against a plain loop over pairs, and on real networks."""

import dataclasses

import numpy as np
import pytest
from sklearn.covariance import ledoit_wolf
from sklearn.metrics import roc_auc_score

from curation_audit.attacks import ATTACKS
from curation_audit.attacks import cavity_filter as module
from curation_audit.attacks.base import OtherPairs
from curation_audit.attacks.cavity_filter import filtered
from curation_audit.auditing.adversary import knowledge_of
from curation_audit.forecasting.prediction import exact_shadows
from curation_audit.observations import Knowledge, Observation, Selection
from curation_audit.pipelines.scorers.mlp_classifier import MlpClassifier
from curation_audit.streams import Streams
from tests.analytic.worlds import plan
from tests.statistics.evidence import random_coins


def plain(seen, inclusion, shifts, known):
    """Pair after pair, with scikit-learn's shrinkage and whole matrices."""
    left = seen - (inclusion - 0.5) @ shifts
    differences, evidence = left[0::2] - left[1::2], np.empty(inclusion.shape)
    pairs = np.arange(len(differences))
    for pair in pairs:
        fellows = known & (pairs != pair)
        noise = ledoit_wolf(differences[fellows], assume_centered=True)[0] / 2
        sigma = shifts.T @ shifts / 4 + noise
        center = seen[np.repeat(fellows, 2)].mean(axis=0)
        for s in (2 * pair, 2 * pair + 1):
            for n, shift in enumerate(shifts):
                whitened = np.linalg.solve(sigma, shift)
                evidence[s, n] = (seen[s] - center) @ whitened / (1 - shift @ whitened / 4)
    return evidence


@pytest.mark.parametrize("known", [None, 7], ids=["all pairs", "a fit block"])
@pytest.mark.parametrize("at_once", [1, 2**24])
def test_it_is_the_plain_loop(known, at_once, monkeypatch):
    monkeypatch.setattr(module, "MOST_NUMBERS", at_once)
    rng = np.random.default_rng(0)
    inclusion = random_coins(rng, 10, 8)
    shifts = rng.standard_normal((8, 5))
    seen = (inclusion - 0.5) @ shifts + rng.standard_normal((20, 5)) @ rng.standard_normal((5, 5))
    fit = np.arange(10) < (10 if known is None else known)
    others = OtherPairs.of(Knowledge(known_pairs=fit), inclusion)
    expected = plain(seen, inclusion, shifts, fit)
    np.testing.assert_allclose(filtered(seen, inclusion, shifts, others), expected, rtol=1e-8)


def test_noise_that_has_a_shape_is_whitened():
    """Noise along one direction, ten times the coins': AUC near what the others tell."""
    rng = np.random.default_rng(1)
    inclusion, shifts = random_coins(rng, 60, 40), rng.standard_normal((40, 6))
    axis = np.linalg.qr(rng.standard_normal((6, 6)))[0][0]
    noise = 30 * rng.standard_normal((120, 1)) * axis + 0.1 * rng.standard_normal((120, 6))
    seen = (inclusion - 0.5) @ shifts + noise
    others = OtherPairs.of(Knowledge(), inclusion)
    told = roc_auc_score(inclusion.ravel(), filtered(seen, inclusion, shifts, others).ravel())
    plainly = roc_auc_score(inclusion.ravel(), ((seen - seen.mean(axis=0)) @ shifts.T).ravel())
    # 5 of 6 directions of 40 coins: mu^2 = 4 h / (1 - h) with h = 5 / 40, AUC = Phi(mu / sqrt 2)
    assert told == pytest.approx(0.703, abs=0.03)
    assert plainly < told - 0.1


def test_it_tells_more_of_networks_than_what_learns_from_shadows_alone():
    """40 x 160 coins: the standard error of an AUC is .007."""
    of = plan(MlpClassifier(hidden=(16,), epochs=30, weight_decay=1e-2, device="cpu"), n=160, d=10)
    inclusion, scores = exact_shadows(of, 40)
    nothing = np.zeros((40, 0, 0), dtype=np.float32)
    empty = Selection.from_mask(np.zeros(scores.shape, dtype=bool))
    shown, knowledge = Observation(scores, empty, nothing), knowledge_of(of)
    streams = Streams(of.seed).for_shadows("test", range(40))

    def auc(name, coins=inclusion):
        found = ATTACKS[name].evidence(shown, coins, knowledge, streams=streams)
        return roc_auc_score(coins.ravel(), found.ravel())

    assert auc("cavity_filter") > max(auc("shadow_filter"), auc("lira_best_row")) + 0.03
    assert auc("cavity_filter", random_coins(np.random.default_rng(3), 20, 160)) == pytest.approx(
        0.5, abs=0.03
    )


def test_only_networks_are_linearised_at_references():
    assert "trained references" not in knowledge_of(plan()).granted
    of = plan(MlpClassifier(device="cpu"))
    assert "trained references" in knowledge_of(of).granted
    surrogate = dataclasses.replace(of.threat, embedding="surrogate")
    assert (
        "trained references" not in knowledge_of(dataclasses.replace(of, threat=surrogate)).granted
    )
