"""Stacking: weights against scikit-learn, folds, what it gains, and what it must not use."""

import dataclasses

import numpy as np
import pytest
from scipy import stats
from sklearn.linear_model import LogisticRegression

from curation_audit.attacks import ATTACKS
from curation_audit.attacks.ensemble import ON_SELECTION, Ensemble
from curation_audit.attacks.extract import Extract
from curation_audit.attacks.mask_trace import MaskTrace
from curation_audit.attacks.stacking import Scale, folds_of, pairwise_weights, stacked_evidence
from curation_audit.attacks.trace import Trace
from curation_audit.observations import KNOWABLE, Knowledge, Observation, Selection
from curation_audit.statistics import PairedEvidence, chance_p_value, clustered_auc
from curation_audit.streams import Streams
from tests.attacks.world import make_world
from tests.statistics.evidence import random_coins


def streams(n_pairs, order=None):
    shadows = np.arange(2 * n_pairs).reshape(-1, 2)
    return Streams(0).for_shadows("t", shadows[order if order is not None else slice(None)].ravel())


@dataclasses.dataclass(frozen=True)
class Fixed:
    """An attack that hands out evidence made beforehand, whatever the coins are."""

    values: np.ndarray
    name = "fixed"
    stage = "scores"
    needs = frozenset({"pool"})

    def evidence(self, observation, inclusion, knowledge, *, streams):
        return self.values


def noisy(rng, inclusion, strength):
    return Fixed(strength * inclusion + rng.standard_normal(inclusion.shape))


def auc(evidence, inclusion):
    return clustered_auc(PairedEvidence.split(evidence, inclusion)).auc


def blank(inclusion):
    """Nothing to see."""
    nothing = np.zeros((len(inclusion), 1))
    return Observation(nothing, Selection.from_mask(nothing > 0), np.zeros((*nothing.shape, 0)))


def stacked(members, inclusion, knowledge=None):
    return stacked_evidence(
        members,
        blank(inclusion),
        inclusion,
        knowledge or Knowledge(),
        streams=streams(len(inclusion) // 2),
    )


def test_weights_equal_a_logistic_regression_of_differences():
    rng = np.random.default_rng(0)
    inclusion = random_coins(rng, 30, 20)
    seen = rng.standard_normal((60, 20, 3)) + inclusion[:, :, None] * [0.0, 0.5, 1.0]
    rows = np.where(inclusion[0::2, :, None], 1, -1) * (seen[0::2] - seen[1::2])
    rows = rows.reshape(-1, 3)
    mirrored = np.concatenate([rows, -rows])
    labels = np.repeat([1, 0], len(rows))
    # every difference counts twice, so half the inverse penalty is the same problem
    model = LogisticRegression(C=0.5, fit_intercept=False, tol=1e-10).fit(mirrored, labels)
    np.testing.assert_allclose(pairwise_weights(seen, inclusion), model.coef_[0], atol=1e-4)


def test_evidence_of_any_scale_and_tail_becomes_comparable():
    rng = np.random.default_rng(1)
    normal = rng.standard_normal((50, 40, 1))
    seen = np.concatenate([normal, 1e6 * normal + 5, np.sinh(5 * normal)], axis=2)
    squashed = Scale.of(seen).squashed(seen)
    np.testing.assert_allclose(squashed[..., 0], squashed[..., 1], atol=1e-9)
    assert np.abs(squashed).max() < 100
    assert (np.sign(squashed) == np.sign(seen - np.median(seen, axis=(0, 1)))).all()
    tied = np.zeros((4, 5, 1))
    assert not Scale.of(tied).squashed(tied).any()
    rare = tied.copy()
    rare[0, 0] = 1.0  # nearly all evidence tied
    assert np.isfinite(Scale.of(rare).squashed(rare)).all()


def test_two_weak_attacks_are_one_stronger_one():
    rng = np.random.default_rng(2)
    inclusion = random_coins(rng, 40, 50)
    members = [noisy(rng, inclusion, 0.8), noisy(rng, inclusion, 0.8)]
    # independent normal evidence of strengths a and b adds up to sqrt(a^2 + b^2)
    expected = stats.norm.cdf(0.8 * np.sqrt(2) / np.sqrt(2))
    assert auc(stacked(members, inclusion), inclusion) == pytest.approx(expected, abs=0.015)


def test_a_useless_member_costs_next_to_nothing():
    rng = np.random.default_rng(3)
    inclusion = random_coins(rng, 40, 50)
    useful, useless = noisy(rng, inclusion, 1.0), noisy(rng, inclusion, 0.0)
    alone, both = (auc(stacked(one, inclusion), inclusion) for one in ([useful], [useful, useless]))
    assert both == pytest.approx(alone, abs=0.005)
    backwards = Fixed(-useful.values)
    assert auc(stacked([backwards], inclusion), inclusion) == pytest.approx(alone, abs=1e-9)


def test_nothing_is_made_of_nothing():
    rng = np.random.default_rng(4)
    p_values = []
    for _ in range(40):
        inclusion = random_coins(rng, 12, 20)
        members = [noisy(rng, inclusion, 0.0) for _ in range(3)]
        paired = PairedEvidence.split(stacked(members, inclusion), inclusion)
        p_values.append(chance_p_value(paired))
    assert np.mean(np.array(p_values) < 0.05) <= 0.15  # binomial: P(more than 6 of 40) < .01


def test_folds_go_by_the_number_of_the_pair():
    known = np.ones(10, dtype=bool)
    assert folds_of(known, streams(10)).tolist() == [0, 1, 2, 3, 0, 1, 2, 3, 0, 1]
    order = np.random.default_rng(0).permutation(10)
    np.testing.assert_array_equal(
        folds_of(known, streams(10, order)), folds_of(known, streams(10))[order]
    )
    known[[2, 5]] = False
    assert folds_of(known, streams(10)).tolist() == [0, 1, -1, 2, 3, -1, 0, 1, 2, 3]
    assert folds_of(np.arange(5) < 3, streams(5)).tolist() == [0, 1, 2, -1, -1]
    with pytest.raises(ValueError, match="needs 3 known pairs, got 2"):
        folds_of(np.arange(5) < 2, streams(5))


def test_members_are_those_that_the_adversary_can_run():
    values = np.zeros((8, 3))

    class OnModel(Fixed):
        stage = "model"

    class Learned(Fixed):
        needs = frozenset({"algorithm"})

    members = (Fixed(values), OnModel(values), Learned(values))
    ensemble = Ensemble(name="e", title="E", stage="joint", needs=frozenset(), members=members)
    assert ensemble.able(Knowledge(granted=KNOWABLE)) == members
    # of one stage, nothing else is looked at
    of_scores = dataclasses.replace(ensemble, stage="scores")
    assert of_scores.able(Knowledge(granted=KNOWABLE)) == (members[0], members[2])
    assert ensemble.able(Knowledge(granted=frozenset({"scores", "pool"}))) == members[:1]
    with pytest.raises(ValueError, match="no member of e is applicable"):
        ensemble.able(Knowledge(granted=frozenset({"selection", "pool"})))


def test_attacks_on_picks_attack_scores_that_show_them():
    ensemble = ATTACKS["score_ensemble"]
    granted = KNOWABLE - {"selection", "picks in scores"}
    assert all(one.stage == "scores" for one in ensemble.able(Knowledge(granted=granted)))
    granted |= {"picks in scores"}
    assert {*ON_SELECTION} <= {*ensemble.able(Knowledge(granted=granted))}


def test_ensembles_of_real_attacks_are_no_worse_than_their_members():
    world = make_world(n_pairs=40, n_candidates=30, d=16)
    members = (Trace(), Extract(), MaskTrace())
    ensemble = Ensemble(name="e", title="E", stage="joint", needs=frozenset(), members=members)
    found = [
        auc(
            attack.evidence(
                world.observation, world.inclusion, world.knowledge, streams=world.streams
            ),
            world.inclusion,
        )
        for attack in (*members, ensemble)
    ]
    assert found[-1] > max(found[:-1]) - 0.01


@dataclasses.dataclass(frozen=True)
class Counted:
    """An attack that counts how often it is run, and on what."""

    runs: list = dataclasses.field(default_factory=list, repr=False)
    name = "counted"
    stage = "scores"
    needs = frozenset({"pool"})

    def evidence(self, observation, inclusion, knowledge, *, streams):
        self.runs.append((knowledge.known_pairs.tolist(), inclusion.tolist(), streams))
        rng = np.random.default_rng(len(self.runs))
        return inclusion + rng.standard_normal(inclusion.shape)


def test_a_second_ensemble_runs_no_member_again():
    rng = np.random.default_rng(5)
    inclusion, other = random_coins(rng, 12, 20), random_coins(rng, 12, 20)
    seen, member, more = blank(inclusion), Counted(), noisy(rng, inclusion, 0.5)
    granted = Knowledge(granted=KNOWABLE, pool=np.zeros((3, 2)))
    fit = dataclasses.replace(granted, known_pairs=np.arange(12) < 6)
    runs = [(inclusion, granted), (other, granted), (inclusion, fit)]

    def both(members, scope):
        own = Streams(0).for_shadows(scope, range(24))
        return [stacked_evidence(members, seen, *run, streams=own) for run in runs]

    first = both([member], "one")
    assert len(member.runs) == 4 + 4 + 5  # folds, and the pairs that are not known
    again = both([member, more], "two")
    assert len(member.runs) == 4 + 4 + 5
    assert not np.array_equal(first[0], again[0])
    for one, two in zip(first, both([member], "three"), strict=True):
        np.testing.assert_array_equal(one, two)
    # whoever asks, the member's streams are its own
    assert {streams.scope for _, _, streams in member.runs} == {"member counted"}
    # and something else that is known is another question
    both_known = [dataclasses.replace(granted, pool=np.ones((3, 2))), granted]
    for n_runs, known in enumerate(both_known, 1):
        stacked_evidence([member], seen, inclusion, known, streams=streams(12))
        assert len(member.runs) == 13 + 4 * n_runs


@pytest.mark.parametrize("why", ["one stage", "large"])
def test_nothing_is_kept_that_nobody_asks_for_again_or_that_is_large(monkeypatch, why):
    inclusion = random_coins(np.random.default_rng(6), 12, 20)
    granted = KNOWABLE if why == "large" else KNOWABLE - {"several stages"}
    if why == "large":
        monkeypatch.setattr("curation_audit.attacks.stacking.SHARED_BYTES", 8 * 24 * 20 - 1)
    seen, member = blank(inclusion), Counted()
    for n_runs in (1, 2):
        stacked_evidence([member], seen, inclusion, Knowledge(granted=granted), streams=streams(12))
        assert len(member.runs) == 4 * n_runs
