"""What every mechanism owes, and what a budget of each kind must come to."""

import dataclasses
import math
import pickle
import re

import numpy as np
import pytest
from scipy.stats import norm

from curation_audit import Pipeline, audit
from curation_audit.auditing.chunks import describe
from curation_audit.auditing.plan import AttackSettings, Threat
from curation_audit.checks import SettingError
from curation_audit.dp.claims import GaussianClaim
from curation_audit.dp.events import Gaussian, PoissonGaussian, Zcdp
from curation_audit.pipelines.base import Rows
from curation_audit.pipelines.protection import MECHANISMS
from curation_audit.pipelines.protection.base import Budget, ScorerMechanism
from curation_audit.pipelines.protection.dp_sgd import DpGd, DpSgd
from curation_audit.pipelines.protection.protect import NATURAL, UNPAID, ProtectSettings
from curation_audit.pipelines.rules.sampled import Pareto
from curation_audit.pipelines.rules.top import TopFraction, TopK
from curation_audit.statistics.gdp import mu_of_epsilon
from curation_audit.streams import Streams
from tests.pipelines.protected import (
    ALL_NAMES,
    CASES,
    DELTA,
    PATIENTS,
    K,
    M,
    N,
    S,
    coins,
    noisy_scorer,
    picked,
    pool_makes_the_map,
    pool_rows,
    private_rows,
    protected,
    scored,
    without_noise,
)

ADJACENCIES = ("add_remove", "zero_out", "replace_one")


@pytest.fixture(params=CASES)
def case(request):
    return CASES[request.param]


def test_every_mechanism_has_a_row_here():
    assert {case.mechanism for case in CASES.values()} >= ALL_NAMES
    assert {*NATURAL.values()} <= {*MECHANISMS}
    for name, kind in MECHANISMS.items():
        assert kind.name == name
        assert isinstance(kind(), ScorerMechanism)


def test_parts_describe_themselves_are_frozen_and_travel(case):
    of = protected(case)
    for part in (of.scorer, of.rule):
        told = describe(part)
        assert told["name"] == part.name
        copied = pickle.loads(pickle.dumps(part))
        assert describe(copied) == told
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(part, dataclasses.fields(part)[0].name, None)
    for kind in MECHANISMS.values():
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(kind(), dataclasses.fields(kind)[0].name, 3)


def test_what_changes_results_changes_the_description(case):
    """Chunks are stored by it."""

    def told(**changes):
        of = protected(case, **changes)
        return str((describe(of.scorer), describe(of.rule)))

    assert told() == told(private=private_rows(seed=9))  # nothing private is in it
    assert told() != told(epsilon=3.0)
    if case.mechanism != "noisy_top_k":
        assert told() != told(adjacency="replace_one")
    if noisy_scorer(case) and pool_makes_the_map(case):
        assert told() != told(pool=pool_rows(m=M - 1))


@pytest.mark.parametrize("unit", [tuple(range(N)), PATIENTS], ids=["rows", "patients"])
def test_batched_equals_one_shadow_at_a_time_in_any_order(case, unit):
    """Noise belongs to the shadow: neither chunks nor order change it."""
    private, pool = private_rows(unit), pool_rows()
    of, inclusion = protected(case, private), coins()
    together = scored(of, private, inclusion, pool)
    order = [4, 0, 5, 2, 1, 3]
    moved = scored(of, private, inclusion[order], pool, order)
    np.testing.assert_allclose(moved, together[order], rtol=0, atol=1e-10)
    mask = picked(of, together)
    np.testing.assert_array_equal(picked(of, together[order], order), mask[order])
    for s in range(S):
        alone = scored(of, private, inclusion[s : s + 1], pool, [s])
        np.testing.assert_allclose(alone[0], together[s], rtol=0, atol=1e-10)
        np.testing.assert_array_equal(picked(of, together[s : s + 1], [s])[0], mask[s])
    assert (mask.sum(axis=1) == K).all()


def test_each_shadow_has_noise_of_its_own(case):
    private, pool = private_rows(), pool_rows()
    of, everyone = protected(case, private, epsilon=0.3), np.ones((S, N), dtype=bool)
    scores = scored(of, private, everyone, pool)
    if noisy_scorer(case):
        assert len(np.unique(scores.round(9), axis=0)) == S
    else:
        np.testing.assert_allclose(scores, np.tile(scores[0], (S, 1)), atol=1e-12)
    assert len(np.unique(picked(of, np.tile(scores[0], (S, 1))), axis=0)) == (
        S if of.rule.name == "noisy_top_k" else 1
    )


def test_the_order_of_the_pool_does_not_change_a_private_scorer(case):
    private, pool, order = private_rows(), pool_rows(), np.random.default_rng(4).permutation(M)
    moved = Rows(tuple(pool.ids[i] for i in order), pool.features[order])
    # k-means starts from rows by their place, and models of the pool draw batches by it
    if case.mechanism in ("trak_sum", "less_sums") or "votes" in case.mechanism:
        return
    one = scored(without_noise(case, private=private), private, coins(), pool)
    other = scored(without_noise(case, private=private, pool=moved), private, coins(), moved)
    np.testing.assert_allclose(other, one[:, order], rtol=0, atol=1e-6)


def test_without_noise_there_is_no_claim(case):
    private, pool = private_rows(), pool_rows()
    of = without_noise(case, private=private)
    assert of.claim is None
    assert of.protection.epsilon is None
    assert any("no guarantee at all" in note for note in of.protection.notes)
    assert of.protection.events[-1] == "nothing was spent"
    assert of.rule == TopK(k=K)
    if case.mechanism in ("dp_sgd", "module_sgd"):
        return  # who joins a step is drawn still
    if case.tuning is not None and case.tuning.runs.name == "random_stopping":
        return  # and so is which runs are made
    scores = scored(of, private, np.ones((S, N), dtype=bool), pool)
    np.testing.assert_allclose(scores, np.tile(scores[0], (S, 1)), atol=1e-12)


@pytest.mark.parametrize("adjacency", ADJACENCIES)
@pytest.mark.parametrize("epsilon", [0.5, 4.0])
def test_the_claim_keeps_the_budget_and_uses_it(case, adjacency, epsilon):
    if case.mechanism == "dp_sgd + noisy_top_k" and adjacency == "replace_one":
        return
    of = protected(case, adjacency=adjacency, epsilon=epsilon)
    found = of.claim.epsilon_at(DELTA)
    assert of.claim.adjacency == adjacency
    assert found <= epsilon * (1 + 1e-9)
    assert found > (1 - 1e-6 if case.exact else 0.55) * epsilon
    assert of.protection.epsilon == pytest.approx(found)
    if case.exact:
        assert isinstance(of.claim, GaussianClaim)


@pytest.mark.parametrize(
    ("budget", "mu"),
    [
        (Budget(mu=0.7, delta=DELTA), 0.7),
        (Budget(advantage=0.1, delta=DELTA), 1 / 3.9789),
        (Budget(tpr=0.05, fpr=0.01, delta=DELTA), 1 / 1.4674),
        (Budget(epsilon=1.0, delta=DELTA), 1 / 3.730632),
    ],
)
@pytest.mark.parametrize(
    "name", ["gaussian_mean", "centroid_votes", "rff_density", "ulsif", "dp_gd"]
)
def test_budgets_of_every_kind_are_met_exactly(name, budget, mu):
    """Known answers of dp.md, sections 9 and 10."""
    of = protected(CASES[name], budget=budget)
    assert of.claim == GaussianClaim(mu=of.claim.mu, adjacency="zero_out")
    assert of.claim.mu == pytest.approx(mu, rel=5e-5)
    assert of.claim.mu <= mu * (1 + 5e-5)


def test_dp_sgd_meets_an_advantage():
    of = protected(CASES["dp_sgd"], budget=Budget(advantage=0.2, delta=DELTA))
    assert 0.19 < of.claim.advantage() <= 0.2


# --- sensitivities and what is spent, by the ledger


@pytest.mark.parametrize("name", ["gaussian_mean", "centroid_votes", "rff_density", "ulsif"])
@pytest.mark.parametrize("adjacency", ADJACENCIES)
def test_the_noise_goes_with_the_adjacency(name, adjacency):
    of = protected(CASES[name], adjacency=adjacency)
    mechanism = of.scorer.mechanism
    factor = 2.0 if name in ("gaussian_mean", "rff_density") else math.sqrt(2)
    per_clip = factor if adjacency == "replace_one" else 1.0
    assert mechanism.sigma == pytest.approx(per_clip * mechanism.clip / mu_of_epsilon(2.0, DELTA))
    assert mechanism.denominator == (1 if adjacency == "add_remove" else N)
    assert of.scorer.adjacency == ("add_remove" if adjacency == "add_remove" else "zero_out")


@pytest.mark.parametrize("kind", ["dp_gd", "dp_sgd"])
def test_replaced_units_double_the_noise_of_gradients(kind):
    removed, replaced = (protected(CASES[kind], adjacency=a) for a in ("zero_out", "replace_one"))
    ratio = replaced.scorer.settings.noise_multiplier / removed.scorer.settings.noise_multiplier
    assert ratio == pytest.approx(2, rel=1e-9) if kind == "dp_gd" else 1.4 < ratio < 2.0


def test_the_pair_spends_what_its_events_say():
    of = protected(CASES["gaussian_mean + noisy_top_k"], epsilon=2.0)
    scorer, selection = of.claim.events
    assert isinstance(scorer, Gaussian)
    assert isinstance(selection, Zcdp)
    assert scorer.mu**2 / 2 == pytest.approx(selection.rho)  # split in half
    assert scorer.mu == pytest.approx(of.scorer.mechanism.mu)
    assert any("buys nothing formally" in note for note in of.protection.notes)
    gaussians = protected(CASES["centroid_votes + noisy_top_k"]).claim
    assert gaussians.mu == pytest.approx(mu_of_epsilon(2.0, DELTA))


def test_dp_sgd_counts_every_step():
    of = protected(CASES["dp_sgd"])
    noise = of.scorer.settings.noise_multiplier
    assert of.claim.events == (PoissonGaussian(noise, 0.5, 2, "scorer (dp_sgd)"),)
    full = protected(CASES["dp_gd"])
    noise = full.scorer.settings.noise_multiplier
    assert full.claim.mu == pytest.approx(math.sqrt(3) / noise)


def test_gradients_are_divided_by_public_numbers():
    zero_out = protected(dataclasses.replace(CASES["dp_sgd"], settings=DpSgd(sampling_rate=0.25)))
    assert zero_out.scorer.settings.expected_units == 0.25 * N
    with pytest.raises(SettingError, match=r"expected_units: is missing.*secret"):
        protected(dataclasses.replace(CASES["dp_gd"], settings=DpGd()), adjacency="add_remove")
    given = protected(CASES["dp_gd"], adjacency="add_remove")
    assert given.scorer.settings.expected_units == 11


# --- what is refused


def test_a_private_scorer_takes_any_rule_and_noise_on_picks_a_fixed_number():
    of = protected(CASES["gaussian_mean"], rule=TopFraction(fraction=0.2))
    assert of.rule == TopFraction(fraction=0.2)
    noisy = protected(CASES["noisy_top_k, gumbel"], rule=TopFraction(fraction=0.2))
    assert noisy.rule.k == round(0.2 * M)
    with pytest.raises(
        SettingError, match=r"curate.select: found k = 61, but the pool has 60 rows"
    ):
        protected(CASES["noisy_top_k, gumbel"], rule=TopK(k=M + 1))


def test_scores_of_a_private_scorer_are_no_probabilities():
    for score in ("probability", "calibrated"):
        case = dataclasses.replace(
            CASES["dp_gd"], scorer=dataclasses.replace(CASES["dp_gd"].scorer, score=score)
        )
        with pytest.raises(SettingError, match=rf"curate.scorer.score: found {score}, but"):
            protected(case)
    pareto = Pareto(alpha=2.0)
    with pytest.raises(SettingError, match=r"curate.select.squash: found false, but the scores"):
        protected(CASES["gaussian_mean"], rule=pareto)
    squashed = dataclasses.replace(pareto, squash=True)
    assert protected(CASES["gaussian_mean"], rule=squashed).rule == squashed


@pytest.mark.parametrize("adjacency", ADJACENCIES)
def test_delta_must_be_below_one_over_the_units(case, adjacency):
    private = private_rows((*range(N), *range(N, 17)))
    for delta in (1 / 17, 0.9):
        budget = Budget(epsilon=2.0, delta=delta)
        with pytest.raises(
            SettingError, match=rf"curate.protect.delta: found {delta:g}"
        ) as refused:
            protected(case, private, budget=budget, adjacency=adjacency)
        assert ("17" in str(refused.value)) == (adjacency != "add_remove")
    if case.mechanism not in ("dp_sgd", "module_sgd"):  # whose calibration takes long
        allowed = Budget(epsilon=2.0, delta=0.999 / 17)
        assert protected(case, private, budget=allowed, adjacency=adjacency).claim is not None


def test_the_number_of_units_is_in_no_line_of_a_report(case):
    """Not under add/remove, where it is secret; 7,919 units would be seen in any of these."""
    unit = tuple(range(7919))
    of = protected(case, private_rows(unit), adjacency="add_remove")
    told = repr(of.protection) + repr(of.claim) + str(describe(of.scorer)) + str(describe(of.rule))
    without_digests = re.sub(r"[0-9a-f]{64}", "", told)  # any digits may stand in these
    assert "7919" not in without_digests
    again = protected(case, private_rows(unit[:-1]), adjacency="add_remove")
    assert again.protection == of.protection


def test_another_unit_is_refused():
    with pytest.raises(SettingError, match=r"curate.protect.unit: found 'row', but the candidates"):
        protected(CASES["gaussian_mean"], private_rows(PATIENTS), unit="patient", stated_unit="row")


# --- the words of a report


def test_the_words_of_a_report(case):
    of = protected(case, unit="patient").protection
    assert of.mechanism == case.mechanism
    assert of.events[:2] == ("adjacency: zero_out", "unit: patient")
    assert of.covers[-2:] == ("selection", "model")
    assert ("scores" in of.covers) == noisy_scorer(case)
    assert len(of.sensitivities) == (2 if "+" in case.mechanism else 1 + (not noisy_scorer(case)))
    assert "never release" in of.noise_source
    if case.tuning is not None:
        assert of.tuning == f"paid for: {case.tuning.line()}"
        assert of.assumptions["tuning"] == f"by this tool: {case.tuning.line()}"
        return
    assert of.tuning == UNPAID
    assert of.ablation == (case.scorer.name == "nearest" and case.mechanism == "noisy_top_k")
    assert of.ablation == any(note.startswith("Ablation: ") for note in of.notes)
    stated = protected(case, fitted_on={"tuning": "public"}).protection
    assert stated.tuning == "stated: tuned on public"
    assert stated.assumptions["tuning"] == "stated: public"


@pytest.mark.parametrize("name", ["rff_density", "ulsif"])
def test_densities_pick_what_is_like_the_private_set_and_an_audit_does_not_break_them(name):
    """Half of the pool is of the private kind. The adversary of the definition knows all but one.

    64 shadows of 60 candidates: a lower bound is above its claim with probability .05 at most.
    """
    rng = np.random.default_rng(3)
    private = rng.normal(1, 1, (60, 4))
    public = np.concatenate([rng.normal(1, 1, (200, 4)), rng.normal(-1, 1, (200, 4))])
    protection = ProtectSettings(
        mechanism=name, adjacency="zero_out", budget=Budget(epsilon=2.0, delta=1e-3)
    )
    plan = Pipeline(
        private=private,
        public=public,
        scorer="nearest",
        select=TopK(k=100),
        train=None,
        protect=protection,
        standardise="none",
        threat=Threat(
            observes=("scores",),
            knows=("algorithm", "candidates", "memberships", "other candidates", "pool"),
        ),
        attack=AttackSettings(shadows=64),
        seed=5,
    )
    result = audit(plan)
    assert result.verdict.status != "audit invalid"
    told = {one.attack: one.metrics for one in result.stages[0].attacks if one.metrics}
    # mu of the claim: AUC of whoever knows all others is at most Phi(mu / sqrt 2)
    limit = float(norm.cdf(mu_of_epsilon(2.0, 1e-3) / np.sqrt(2)))
    assert 0.5 + (limit - 0.5) / 4 < told["known_others"].auc.value < limit + 0.02
    assert result.claim is not None
    assert not result.claim.refuted
    made = plan.plan()
    everyone = np.ones((1, 60), dtype=bool)
    streams = Streams(9).for_shadows("shadow", (0,))
    scores = made.scorer.fit(made.data.private, everyone, made.data.pool, streams=streams).score(
        made.data.pool.features
    )
    picked = np.argsort(-scores[0])[:100]
    assert (picked < 200).mean() > 0.8
