"""A planted leak trips each control, its clean twin does not; and what follows from controls."""

from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
import pytest
from scipy import special, stats

from curation_audit.api import Pipeline
from curation_audit.attacks import ATTACKS
from curation_audit.attacks.lira_best_row import LiraBestRow
from curation_audit.attacks.trace import Trace
from curation_audit.auditing import evidence as evidence_module
from curation_audit.auditing.engine import run_audit
from curation_audit.auditing.evidence import AttackEvidence, Game, blind_evidence, blind_features
from curation_audit.auditing.judge import judge_controls, judge_policy, verdict
from curation_audit.auditing.plan import AttackSettings, PolicyRule, Threat
from curation_audit.checks import SettingError
from curation_audit.game import paired_inclusion, permute_pairs
from curation_audit.observations import Candidates, Knowledge, Observation, Selection
from curation_audit.pipelines.rules import TopFraction
from curation_audit.pipelines.scorers import Mean
from curation_audit.results import (
    ControlResult,
    Estimate,
    Headline,
    Metrics,
    OperatingPoint,
    Records,
    StageResult,
)
from curation_audit.statistics import PairedEvidence
from curation_audit.streams import Streams
from tests.attacks.world import private_rows, public_rows

N_SHADOWS, N, D = 32, 40, 60
SEEDS = range(6)
LEVEL = 0.001


def pipeline(n=N, **settings):
    rng = np.random.default_rng(0)
    return Pipeline(
        private=rng.standard_normal((n, D)),
        public=rng.standard_normal((2 * n, D)),
        scorer=Mean(metric="inner_product"),
        select=TopFraction(fraction=0.2),
        train=None,
        threat=Threat(observes=("scores",)),
        **{"attack": AttackSettings(shadows=N_SHADOWS, fpr=(0.01, 0.1)), **settings},
    )


PLAN = pipeline().plan()


@dataclass(frozen=True, slots=True, kw_only=True)
class PeekingLira:
    """LiRA that forgot to leave the tested shadows out."""

    name: ClassVar[str] = "peeking_lira"
    title: ClassVar[str] = "LiRA that peeks"
    stage: ClassVar[str] = "scores"
    needs: ClassVar[frozenset[str]] = frozenset({"algorithm"})
    source: ClassVar[str] = "a mistake that is easily made"
    cost: ClassVar[str] = "S N"

    def evidence(self, observation, inclusion, knowledge, *, streams):
        signal = np.asarray(observation.scores[:, : inclusion.shape[1]], dtype=np.float64)
        inside, outside = (
            np.array([signal[held[:, n], n].mean() for n in range(inclusion.shape[1])])
            for held in (inclusion, ~inclusion)
        )
        return (signal - outside) ** 2 - (signal - inside) ** 2


class HalfPeekingLira(PeekingLira):
    """One that leaves them out where a bound is asked for: only its estimates are wrong."""

    def evidence(self, observation, inclusion, knowledge, *, streams):
        honest = LiraBestRow() if knowledge.known_pairs is not None else PeekingLira()
        return honest.evidence(observation, inclusion, knowledge, streams=streams)


def seen(scores):
    picks = Selection.from_mask(scores > np.quantile(scores, 0.8, axis=1, keepdims=True))
    return Observation(scores, picks, np.zeros((len(scores), 0, 0), dtype=np.float32))


def play(attack, seed, *, inclusion=None, null_leak=0.0, n_shadows=N_SHADOWS, n=N):
    """One game on a mean scorer, with null curations of noise: evidence for all controls."""
    rng, streams = np.random.default_rng(seed), Streams(seed)
    if inclusion is None:
        inclusion = paired_inclusion(n_shadows, n, streams)
    private = private_rows(rng.standard_normal((n, D)))
    pool = public_rows(rng.standard_normal((2 * n, D)))
    shadows = streams.for_shadows("test", range(n_shadows))
    scorer = Mean(metric="inner_product")
    scores = scorer.fit(private, inclusion, pool, streams=shadows).score(pool.features)
    null = rng.standard_normal(scores.shape)
    null[:, :n] += null_leak * inclusion
    knowledge = Knowledge(
        pool=pool.features,
        candidates=Candidates(private.features, private.unit, n),
        linearisation=scorer.linearise(private, pool),
    )
    permuted = permute_pairs(inclusion, streams)
    runs = ((scores, inclusion), (null, inclusion), (scores, permuted))
    evidence = [
        attack.evidence(seen(shown), coins, knowledge, streams=shadows) for shown, coins in runs
    ]
    blind = blind_evidence(blind_features(private), inclusion, rng)
    game = Game(inclusion, permuted, blind, np.arange(len(inclusion) // 2) < len(inclusion) // 4)
    return AttackEvidence(attack.name, "scores", attack, (), *evidence), game


def failed(found, game):
    """The names of the controls that fail."""
    controls = judge_controls(PLAN, [found], game)
    assert {one.control for one in controls} == {
        "random curation",
        "permuted inclusion",
        "blind classifier",
    }
    for one in controls:
        assert one.adjusted_level == pytest.approx(LEVEL / 3)
        assert one.passed == (one.p_value >= LEVEL / 3)
    return {one.control for one in controls if not one.passed}


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize(
    "attack", [LiraBestRow(), Trace(), ATTACKS["extract"]], ids=lambda attack: attack.name
)
def test_clean_audits_pass_every_control(attack, seed):
    assert failed(*play(attack, seed)) == set()


@pytest.mark.parametrize("seed", SEEDS)
def test_random_curation_that_is_not_random_fails(seed):
    assert failed(*play(LiraBestRow(), seed, null_leak=2.0)) == {"random curation"}


@pytest.mark.parametrize("seed", SEEDS)
def test_an_attack_that_peeks_fails_both_of_its_controls(seed):
    # its AUC on nothing is about .56 with 64 shadows; fewer than 100 candidates would not show it
    found, game = play(PeekingLira(), seed, n_shadows=64, n=200)
    assert failed(found, game) == {"random curation", "permuted inclusion"}


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("attack", [LiraBestRow(), Trace()], ids=lambda attack: attack.name)
def test_a_set_sorted_by_membership_fails_permuted_inclusion(attack, seed):
    # the same rows in every even shadow: other pairs' coins are this pair's coins
    first = np.arange(N) < N // 2
    inclusion = np.tile(np.stack([first, ~first]), (N_SHADOWS // 2, 1))
    assert {"permuted inclusion", "blind classifier"} <= failed(
        *play(attack, seed, inclusion=inclusion)
    )


def blind_p_value(private, inclusion, seed):
    evidence = blind_evidence(blind_features(private), inclusion, np.random.default_rng(seed))
    found, game = play(LiraBestRow(), seed)
    controls = judge_controls(PLAN, [found], replace(game, inclusion=inclusion, blind=evidence))
    return next(one.p_value for one in controls if one.control == "blind classifier")


def two_rows_for(held):
    """Private rows of which the held units have two."""
    rng = np.random.default_rng(0)
    unit = np.concatenate([np.arange(N), np.flatnonzero(held)])
    return private_rows(rng.standard_normal((len(unit), D)), unit)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize(
    ("leak", "d"),
    [("feature", 8), ("sorted", 8), ("sorted", 300), ("alternating", 300), ("number of rows", 8)],
)
def test_blind_classifier_fails_where_the_set_gives_members_away(leak, d, seed):
    rng = np.random.default_rng(seed)
    private = private_rows(rng.standard_normal((N, d)))
    first = {
        "feature": private.features[:, 3] > np.median(private.features[:, 3]),
        "sorted": np.arange(N) < N // 2,
        "alternating": np.arange(N) % 2 == 0,
        "number of rows": rng.permutation(np.arange(N) % 2 == 0),
    }[leak]
    if leak == "number of rows":
        private = two_rows_for(first)
    inclusion = np.tile(np.stack([first, ~first]), (N_SHADOWS // 2, 1))
    assert blind_p_value(private, inclusion, seed) < LEVEL / 3
    # the same set under fair coins
    clean = paired_inclusion(N_SHADOWS, N, Streams(seed))
    assert blind_p_value(private, clean, seed) > LEVEL / 3


def test_blind_features_know_means_counts_and_places():
    unit = np.array([1, 0, 1, -1])
    features = np.array([[1.0], [4.0], [3.0], [100.0]])
    names = ("a", "b", "c", "d")
    private = private_rows(features[:3], unit[:3])
    private = replace(private, ids=names, features=features, unit=unit)
    # unit 0: mean 4, one row, place 0; unit 1: mean 2, two rows, place 1; standardised, and
    # three columns about the place weigh as much as the one feature
    expected = np.array([[1.0, -1.0, -1.0, -1.0], [-1.0, 1.0, 1.0, 1.0]])
    expected[:, 1:] /= np.sqrt(3)
    np.testing.assert_allclose(blind_features(private), expected)


def test_blind_evidence_does_not_look_at_the_coin_it_is_asked_about():
    rng = np.random.default_rng(0)
    features, inclusion = rng.standard_normal((N, 3)), paired_inclusion(N_SHADOWS, N, Streams(0))
    before = blind_evidence(features, inclusion, np.random.default_rng(1))
    flipped = inclusion.copy()
    flipped[:, 7] = ~flipped[:, 7]
    after = blind_evidence(features, flipped, np.random.default_rng(1))
    np.testing.assert_array_equal(after[:, 7], before[:, 7])
    assert (after != before).any()


# --- an audit from end to end -----------------------------------------------------------------


def test_an_audit_with_an_attack_that_peeks_is_invalid():
    attack = AttackSettings(shadows=64, fpr=(0.1,), methods={"scores": ("lira_best_row",)})
    assert run_audit(pipeline(n=200, attack=attack).plan()).report["verdict"]["exit_code"] == 0
    peeks = replace(attack, own=(HalfPeekingLira(),), methods={"scores": ("peeking_lira",)})
    found = run_audit(pipeline(n=200, attack=peeks).plan()).report["verdict"]
    assert (found["status"], found["exit_code"]) == ("audit invalid", 5)
    assert "peeking_lira" in found["text"]
    with pytest.raises(SettingError, match="peeking_lira reads coins of pairs that Knowledge"):
        run_audit(pipeline(n=200, attack=replace(peeks, own=(PeekingLira(),))).plan())


def test_an_audit_of_coins_that_follow_the_file_is_invalid(monkeypatch):
    def sorted_inclusion(n_shadows, n_candidates, streams):
        first = np.arange(n_candidates) < n_candidates // 2
        return np.tile(np.stack([first, ~first]), (n_shadows // 2, 1))

    monkeypatch.setattr(evidence_module, "paired_inclusion", sorted_inclusion)
    assert run_audit(PLAN).report["verdict"]["exit_code"] == 5


# --- verdict and policy -----------------------------------------------------------------------


def control(passed):
    chance = Estimate(0.5, 0.4, 0.6, 0.95)
    return ControlResult("random curation", "scores", "trace", chance, 0.5, 0.001, passed)


def stage(auc=(0.6, 0.55, 0.65), tpr=(0.05, 0.03, 0.08), name="scores"):
    point = (
        OperatingPoint(0.01, "not resolvable", "too few", 2.0)
        if tpr is None
        else OperatingPoint(0.01, "resolved", None, 20.0, tpr=Estimate(*tpr, 0.95))
    )
    other = OperatingPoint(0.1, "resolved", None, 200.0, tpr=Estimate(0.9, 0.9, 0.9, 0.95))
    metrics = Metrics(
        16,
        640,
        640,
        auc_estimand="these candidates",
        auc=Estimate(*auc, 0.95),
        advantage=Estimate(0.2, 0.1, 0.3, 0.95),
        balanced_accuracy=Estimate(0.6, 0.55, 0.65, 0.95),
        tpr_at_fpr=(point, other),
    )
    headline = Headline(
        "trace",
        "AUC",
        8,
        metrics,
        reversed=False,
        above_chance=metrics.auc.low > 0.5,
        records=Records(40, 0.0, 0, ()),
        subgroups=None,
    )
    return StageResult(name, "attacked", headline, ())


def policy_of(rule, *stages):
    return judge_policy(pipeline(policy=(rule,)).plan(), stages or (stage(),))


@pytest.mark.parametrize(
    ("metric", "bound", "measured"),
    [
        ("auc", "low", 0.55),
        ("auc", "value", 0.6),
        ("auc", "high", 0.65),
        ("advantage", "low", 0.1),
        ("balanced_accuracy", "high", 0.65),
        ("tpr@0.01", "value", 0.05),
        ("tpr@0.01", "low", 0.03),
        ("tpr@1e-2", "high", 0.08),
        ("tpr@0.010000001", "high", 0.08),
        ("tpr@0.1", "low", 0.9),
    ],
)
def test_policy_compares_the_bound_that_it_names(metric, bound, measured):
    for above, tripped in ((measured - 0.01, True), (measured, False), (measured + 0.01, False)):
        rule = PolicyRule(stage="scores", metric=metric, above=above, bound=bound)
        (line,) = policy_of(rule)
        assert (line.measured, line.tripped) == (measured, tripped)
        assert (line.stage, line.metric, line.bound) == ("scores", metric, bound)


def test_what_could_not_be_measured_trips_the_policy():
    rule = PolicyRule(stage="scores", metric="tpr@0.01", above=0.0)
    (line,) = policy_of(rule, stage(tpr=None))
    assert (line.measured, line.tripped) == (None, True)
    (line,) = policy_of(rule, StageResult("scores", "attacked", None, ()))
    assert (line.measured, line.tripped) == (None, True)


TRIPPED = policy_of(PolicyRule(stage="scores", metric="auc", above=0.5))
KEPT = policy_of(PolicyRule(stage="scores", metric="auc", above=0.9))
NO_LEAK = stage(auc=(0.5, 0.45, 0.55))


@pytest.mark.parametrize(
    ("stages", "controls", "policy", "status", "exit_code"),
    [
        ([stage()], [True], (), "leak found", 0),
        ([stage()], [True], KEPT, "leak found", 0),
        ([stage()], [True], TRIPPED, "leak found", 1),
        ([NO_LEAK], [True], TRIPPED, "no leak found", 1),
        ([NO_LEAK], [True], KEPT, "no leak found", 0),
        ([stage(auc=(0.5, 0.5, 0.5))], [True], (), "no leak found", 0),
        ([StageResult("model", "not observed", None, ())], [True], (), "no leak found", 0),
        ([stage()], [True, False], TRIPPED, "audit invalid", 5),
        ([NO_LEAK], [False], (), "audit invalid", 5),
    ],
)
def test_verdict(stages, controls, policy, status, exit_code):
    found = verdict(stages, [control(passed) for passed in controls], policy)
    assert (found.status, found.exit_code) == (status, exit_code)


def test_verdict_names_the_stages_in_order():
    found = verdict([stage(name="model"), stage(), replace(NO_LEAK, stage="selection")], [], ())
    assert found.text.endswith("from: scores and model.")


@pytest.mark.parametrize("seed", range(3))
def test_stages_are_judged_together(seed):
    """A headline that is above chance for all stages is so alone, and the level is shared."""
    both = Threat(observes=("scores", "selection"))
    weak = {"scores": ("lira_best_row",), "selection": ("binary_lira",), "joint": ()}
    audited = pipeline(n=12, seed=seed)
    audited = replace(audited, threat=both, attack=replace(audited.attack, methods=weak))
    plan = audited.plan()
    result = run_audit(plan)
    attacked = [one for one in result.stages if one.headline is not None]
    assert [one.stage for one in attacked] == ["scores", "selection"]
    for one in attacked:
        evidence = result.evidence[one.headline.attack]
        half = len(evidence) // 4
        fresh = PairedEvidence.split(evidence, result.inclusion).pairs(slice(half, None))
        # the inflation is the one that explains the headline's own interval
        wide = special.logit(one.headline.metrics.auc.high) - special.logit(
            one.headline.metrics.auc.low
        )
        degrees = fresh.n_pairs - 1
        ratio = stats.t.ppf(1 - 0.05 / 2 / 2, degrees) / stats.t.ppf(1 - 0.05 / 2, degrees)
        low = special.expit(special.logit(one.headline.metrics.auc.value) - wide / 2 * ratio)
        assert one.headline.above_chance == (low > 0.5)
