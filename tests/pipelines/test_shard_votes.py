"""Shard and vote: what one unit can do, who sees whom, and what an audit finds."""

import dataclasses
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from curation_audit import Pipeline, audit
from curation_audit.auditing.plan import AttackSettings, Threat
from curation_audit.checks import InputError, SettingError
from curation_audit.pipelines.protection.base import Budget
from curation_audit.pipelines.protection.protect import ProtectSettings
from curation_audit.pipelines.protection.releasing import check_releasable
from curation_audit.pipelines.protection.shard_votes import ShardVoting
from curation_audit.pipelines.rules.cut import tie_order
from curation_audit.pipelines.rules.top import TopK
from curation_audit.pipelines.scorers.classifier import Classifier
from curation_audit.pipelines.scorers.mean import Mean
from curation_audit.pipelines.scorers.nearest import Nearest
from curation_audit.pipelines.scorers.shard_votes import ShardVotes
from curation_audit.streams import Streams
from tests.pipelines.protected import CASES, pool_rows, private_rows, protected

N, M, D, SHARDS, PICKS = 14, 60, 5, 4, 5
POOL = pool_rows()
SCORERS = {"mean": Mean(), "nearest": Nearest(), "classifier": Classifier(device="cpu")}


def votes(scorer="nearest", adjacency="zero_out", mu=math.inf) -> ShardVotes:
    return ShardVotes(
        scorer=SCORERS[scorer], shards=SHARDS, picks=PICKS, mu=mu,
        adjacency_of_claim=adjacency, seed=3,
    )  # fmt: skip


def counted(of: ShardVotes, private, held=None) -> np.ndarray:
    held = np.ones(private.n_candidates, dtype=bool) if held is None else held
    return of.counts(private, held[None], POOL, Streams(1).for_shadows("test", (0,)))[0]


def without(private, unit):
    return private.only(np.delete(np.arange(private.n_candidates), unit))


def replaced(private, unit, row):
    features = private.features.copy()
    features[private.unit == unit] = row
    return dataclasses.replace(private, features=features)


@pytest.mark.parametrize("scorer", SCORERS)
@given(
    unit=st.integers(0, N - 1),
    row=st.lists(st.floats(-1e3, 1e3), min_size=D, max_size=D),
    adjacency=st.sampled_from(["zero_out", "add_remove", "replace_one"]),
)
@settings(max_examples=25, deadline=None)
def test_one_unit_moves_the_counts_by_no_more_than_is_stated(scorer, unit, row, adjacency):
    of, private = votes(scorer, adjacency), private_rows()
    before = counted(of, private)
    if adjacency == "add_remove":
        after = counted(of, without(private, unit))
    elif adjacency == "replace_one":
        after = counted(of, replaced(private, unit, np.array(row)))
    else:
        after = counted(of, private, np.arange(N) != unit)
    assert np.linalg.norm(before - after) <= of.sensitivity * (1 + 1e-12)
    assert before.sum() == after.sum() == SHARDS * PICKS


def test_the_worst_case_uses_the_sensitivity_up():
    """One unit a shard, replaced by its opposite: none of five picks stays."""
    private = private_rows(tuple(range(SHARDS)))
    of = votes("mean", "replace_one")
    changed = replaced(private, 2, -private.features[2])
    moved = np.linalg.norm(counted(of, private) - counted(of, changed))
    assert moved == pytest.approx(of.sensitivity) == pytest.approx(math.sqrt(10))


@pytest.mark.parametrize("scorer", SCORERS)
def test_a_shard_votes_as_its_scorer_picks_from_its_rows_alone(scorer):
    """A plain loop: fitted on nothing but the rows of the shard."""
    of, private = votes(scorer), private_rows((0, 0, 1, 2, 3, 4, 5, 6, 6, 7))
    held = np.array([True, False, True, True, True, True, False, True])
    expected = np.zeros(M)
    for shard in range(SHARDS):
        members = [u for u in range(8) if u % SHARDS == shard and held[u]]
        alone = private.only(np.array(members, dtype=np.int64))
        everyone = np.ones((1, len(members)), dtype=bool)
        streams = Streams(1).for_shadows("another", (0,))
        scores = SCORERS[scorer].fit(alone, everyone, POOL, streams=streams).score(POOL.features)
        expected += TopK(k=PICKS).select(scores, tie_order(POOL.ids, 3)).mask()[0]
    np.testing.assert_array_equal(counted(of, private, held), expected)


def test_empty_shards_and_scores_that_are_none_vote_too():
    few = private_rows((0, 1))
    assert counted(votes("mean"), few).sum() == SHARDS * PICKS
    assert counted(votes("mean"), few, np.zeros(2, dtype=bool)).sum() == SHARDS * PICKS

    class Broken(Mean):
        def fit(self, private, inclusion, pool, *, streams):
            class Scores:
                def score(self, features, labels=None):
                    return np.full((len(inclusion), len(features)), np.nan)

            return Scores()

    of = dataclasses.replace(votes("mean"), scorer=Broken())
    assert counted(of, private_rows()).sum() == SHARDS * PICKS


def test_where_units_come_and_go_their_shard_is_their_own():
    private, of = private_rows(), votes(adjacency="add_remove")
    shards = of.shard_of(private)
    np.testing.assert_array_equal(of.shard_of(without(private, 3)), np.delete(shards, 3))
    assert len(set(shards)) > 1


def test_the_noise_is_what_the_claim_needs():
    """60,000 counts: squares within 2.5 % of the variance that mu asks for (4 standard errors)."""
    of = votes("mean", mu=0.5)
    private, n = private_rows(), 1000
    held = np.ones((n, N), dtype=bool)
    streams = Streams(4).for_shadows("test", range(n))
    noisy = of.fit(private, held, POOL, streams=streams).score(POOL.features)
    left = noisy - counted(of, private)
    assert np.mean(left**2) == pytest.approx((math.sqrt(2 * PICKS) / 0.5) ** 2, rel=0.025)
    assert protected(CASES["shard_votes"]).claim.mu == pytest.approx(0.50155, rel=1e-4)


def test_what_cannot_be():
    with pytest.raises(SettingError, match=r"needs attack\.targets: all"):
        counted(votes(), private_rows(always=(3,)), np.ones(N - 1, dtype=bool))
    with pytest.raises(SettingError, match="found 61, but the pool has 60 rows"):
        protected(dataclasses.replace(CASES["shard_votes"], settings=ShardVoting(picks=61)))
    with pytest.raises(InputError, match="has no scorer that a file could hold"):
        check_releasable(protected(CASES["shard_votes"]))
    fitted = votes().fit(
        private_rows(),
        np.ones((1, N), dtype=bool),
        POOL,
        streams=Streams(1).for_shadows("t", (0,)),
    )
    with pytest.raises(ValueError, match="rows of one pool"):
        fitted.score(POOL.features[:3])


def test_a_vote_that_the_noise_hides_is_told():
    notes = protected(
        dataclasses.replace(CASES["shard_votes"], settings=ShardVoting())
    ).protection.notes
    assert any("hardly stand out of noise" in note for note in notes)
    many = dataclasses.replace(CASES["shard_votes"], settings=ShardVoting(shards=100, picks=2))
    assert protected(many).protection.notes == ()


def test_an_audit_does_not_break_it():
    """64 shadows of 60 candidates, bounds at 95 %."""
    rng = np.random.default_rng(3)
    result = audit(
        Pipeline(
            private=rng.normal(1, 1, (60, 4)),
            public=rng.normal(0, 1, (300, 4)),
            scorer="nearest",
            select=TopK(k=50),
            train=None,
            protect=ProtectSettings(
                mechanism="shard_votes",
                adjacency="zero_out",
                budget=Budget(epsilon=4.0, delta=1e-3),
                scorer=ShardVoting(shards=6, picks=3),
            ),
            standardise="none",
            threat=Threat(observes=("scores", "selection")),
            attack=AttackSettings(shadows=64),
            seed=5,
        )
    )
    assert result.claim is not None
    assert not result.claim.refuted
    assert result.verdict.status != "audit invalid"
