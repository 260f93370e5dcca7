"""What a threat model grants, and how an adversary sees what shadows show."""

import numpy as np
import pytest

from curation_audit.api import Pipeline
from curation_audit.attacks import ATTACKS
from curation_audit.attacks.known_others import KnownOthers
from curation_audit.auditing.adversary import knowledge_of, lowest_picked, one_hot, seen_by, viewed
from curation_audit.auditing.curation import MOST_POOL_QUERIES, Curated, queried_rows
from curation_audit.auditing.evidence import missing_knowledge
from curation_audit.auditing.layout import design_warnings
from curation_audit.auditing.plan import AttackSettings, PolicyRule, Threat
from curation_audit.checks import SettingError
from curation_audit.dp.claims import GaussianClaim
from curation_audit.observations import Knowledge, Observation, Selection
from curation_audit.pipelines.canaries import CanarySettings
from curation_audit.pipelines.rules.cut import tie_order
from curation_audit.pipelines.rules.levels import ScoreRange
from curation_audit.pipelines.rules.threshold import Threshold
from curation_audit.pipelines.rules.top import TopK
from curation_audit.pipelines.scorers.classifier import Classifier
from curation_audit.pipelines.scorers.mean import Mean
from curation_audit.pipelines.scorers.nearest import Nearest

N, M, D = 12, 40, 6
EVERYTHING = ("algorithm", "candidates", "labels", "memberships", "other candidates", "pool")


def plan(threat=None, scorer=None, rule=None, **settings):
    rng = np.random.default_rng(0)
    return Pipeline(
        private=rng.standard_normal((N, D)),
        public=rng.standard_normal((M, D)),
        labels={"private": np.arange(N) % 2, "public": np.arange(M) % 2},
        scorer=scorer or Mean(),
        select=rule or TopK(k=5),
        threat=threat or Threat(),
        attack=AttackSettings(shadows=8),
        seed=1,
        **settings,
    ).plan()


def granted(**threat):
    return knowledge_of(plan(Threat(**threat))).granted


def test_the_default_adversary_knows_all_but_the_coins_and_the_threshold():
    assert granted() == {
        "algorithm",
        "analytic models",
        "candidates",
        "confidences",
        "labels",
        "linear scorer",
        "model",
        "one cut",
        "other candidates",
        "pool",
        "queries at both",
        "queries at pool rows",
        "queries at the candidates",
        "score values",
        "score values of picked rows",
        "scores",
        "selection",
        "several stages",
        "the scorer's embedding",
    }
    assert granted(knows=(*EVERYTHING, "thresholds")) - granted() == {"memberships", "thresholds"}


@pytest.mark.parametrize(
    ("threat", "lost"),
    [
        ({"scores_as": "rounded"}, set()),
        ({"scores_as": "ranks"}, {"score values", "score values of picked rows"}),
        ({"scores_as": "top only"}, {"score values"}),
        ({"model_as": "labels"}, {"confidences"}),
        (
            {"embedding": "surrogate"},
            {"analytic models", "linear scorer", "the scorer's embedding"},
        ),
        ({"queries": N}, {"queries at both"}),
        ({"queries": N - 1}, {"queries at both", "queries at the candidates"}),
        ({"queries": N + 1}, set()),
        ({"queries": 0}, {"queries at both", "queries at the candidates", "queries at pool rows"}),
    ],
)
def test_views_and_budgets_take_knowledge_away(threat, lost):
    assert granted() - granted(**threat) == lost


@pytest.mark.parametrize(
    ("threat", "rule", "gained"),
    [
        ({"scores_as": "rounded"}, TopK(k=5), set()),
        ({"scores_as": "ranks"}, TopK(k=5), {"score ranks", "picks in scores"}),
        ({"scores_as": "ranks"}, Threshold(minimum=0.0), {"score ranks"}),
        ({"scores_as": "top only"}, TopK(k=5), {"top scores only", "picks in scores"}),
        ({"scores_as": "top only"}, Threshold(minimum=0.0), {"top scores only", "picks in scores"}),
    ],
)
def test_what_is_seen_of_the_scores_may_give_the_picks_away(threat, rule, gained):
    assert knowledge_of(plan(Threat(**threat), rule=rule)).granted - granted() == gained


def test_a_budget_goes_to_the_pool_where_only_the_pool_is_asked_about():
    """Not less for a larger budget; beside all candidates it reaches for what is left."""
    n_queried = []
    for budget in (0, 3, N - 1, N, N + 4, N + M + 1, None):
        knowledge = knowledge_of(plan(Threat(queries=budget)))
        n_queried.append(len(knowledge.queried))
        left = np.inf if budget is None else budget - N
        assert knowledge.beside.sum() == np.clip(left, 0, len(knowledge.queried))
    assert n_queried == [0, 3, N - 1, N, N + 4, N + M + 1 if N + M + 1 < M else M, M]


def test_members_of_an_ensemble_keep_to_one_budget():
    joint = ATTACKS["joint_ensemble"]
    asks = {"queries at the candidates"}
    for budget, both in ((None, True), (N + M, True), (N + 1, False), (N - 1, False)):
        able = joint.able(knowledge_of(plan(Threat(queries=budget))))
        assert any(asks <= one.needs for one in able) == both
        assert any("queries at pool rows" in one.needs for one in able)


def test_who_knows_the_other_coins_uses_them_in_every_ensemble():
    knowledge = knowledge_of(plan(Threat(knows=EVERYTHING)))
    for name in ("score_ensemble", "joint_ensemble"):
        assert KnownOthers() in ATTACKS[name].able(knowledge)


def test_what_a_surrogate_lacks_is_the_embedding():
    for scorer, attack in ((Mean(), "trace"), (Nearest(), "voting")):
        here = plan(Threat(embedding="surrogate"), scorer)
        missing = missing_knowledge(here, knowledge_of(here))
        assert missing[attack] == ("the scorer's embedding",)
    assert missing["trace"] == ("linear scorer",)  # of a nearest scorer, whatever is known


def test_the_family_of_the_scorer_is_granted():
    for scorer, family in ((Mean(), "linear scorer"), (Nearest(), "nearest scorer")):
        there = knowledge_of(plan(scorer=scorer)).granted
        assert {"linear scorer", "nearest scorer"} & there == {family}


RANGE = ScoreRange(low=0.2, high=0.5)


def test_picks_of_a_range_are_not_read_as_rows_above_one_score():
    missing = missing_knowledge(plan(scorer=Nearest()), knowledge_of(plan(scorer=Nearest())))
    assert missing["gibbs"] == missing["iterative"] == ()
    here = plan(scorer=Nearest(), rule=RANGE)
    missing = missing_knowledge(here, knowledge_of(here))
    assert missing["gibbs"] == missing["iterative"] == ("one cut",)


def test_a_range_has_no_lowest_picked_score_to_be_told():
    with pytest.raises(SettingError, match="range does not pick all rows above one score"):
        plan(Threat(knows=(*EVERYTHING, "thresholds")), rule=RANGE)


def test_scores_that_the_adversary_runs_are_those_of_the_pipeline():
    knowledge = knowledge_of(plan(scorer=Nearest()))
    held = np.zeros((2, N), dtype=bool)
    held[0, [2, 7]] = True
    scores = knowledge.score(held)
    expected = (knowledge.pool @ knowledge.candidates.features[[2, 7]].T).max(axis=1)
    np.testing.assert_allclose(scores[0], expected, rtol=1e-6, atol=1e-7)
    assert (scores[1] == -1).all()
    assert knowledge.select(scores, range(2)).sizes.tolist() == [5, 5]


@pytest.mark.parametrize("scorer", [Mean(), Nearest(), Classifier()], ids=repr)
def test_a_surrogate_sees_half_the_directions_in_pool_and_candidates_alike(scorer):
    knowledge = knowledge_of(plan(Threat(embedding="surrogate"), scorer))
    exact = knowledge_of(plan(scorer=scorer))
    width = exact.pool.shape[1] // 2
    assert knowledge.pool.shape == (M, width)
    assert knowledge.score is None
    # one linear map for both
    basis = np.linalg.lstsq(exact.pool, knowledge.pool, rcond=None)[0]
    np.testing.assert_allclose(
        exact.candidates.features @ basis, knowledge.candidates.features, atol=1e-5
    )


def selection(*rows):
    mask = np.zeros((len(rows), 4), dtype=bool)
    for s, picked in enumerate(rows):
        mask[s, picked] = True
    return Selection.from_mask(mask)


def test_views_of_scores():
    scores, picks = np.array([[0.126, 3.0, -2.0, 3.0]]), selection([1, 3])
    assert viewed(scores, picks, "exact", 0) is scores
    np.testing.assert_array_equal(viewed(scores, picks, "rounded", 2), [[0.13, 3.0, -2.0, 3.0]])
    np.testing.assert_array_equal(viewed(scores, picks, "ranks", 0), [[0.5, 0.875, 0.25, 0.875]])
    np.testing.assert_array_equal(viewed(scores, picks, "top only", 0), [[3.0, 3.0, 3.0, 3.0]])
    top = viewed(np.array([[1.0, 2.0, 3.0, 4.0]]), selection([2, 3]), "top only", 0)
    np.testing.assert_array_equal(top, [[3.0, 3.0, 3.0, 4.0]])
    assert np.isfinite(viewed(scores, selection([]), "top only", 0)).all()


def test_the_lowest_picked_score():
    scores = np.array([[1.0, 2.0, 3.0, 4.0], [1.0, 2.0, 3.0, 4.0]])
    shown = Observation(scores, selection([1, 3], []), np.zeros((2, 0, 0), dtype=np.float32))
    np.testing.assert_array_equal(lowest_picked(shown), [2.0, np.inf])


def test_labels_are_the_likeliest_classes():
    probabilities = np.array([[[0.2, 0.5, 0.3], [0.4, 0.4, 0.2]]], dtype=np.float32)
    np.testing.assert_array_equal(one_hot(probabilities), [[[0, 1, 0], [1, 0, 0]]])
    assert one_hot(np.zeros((3, 0, 0), dtype=np.float32)).shape == (3, 0, 0)


def test_what_is_seen_follows_the_threat_model():
    rng = np.random.default_rng(0)
    shown = Observation(
        rng.standard_normal((8, M)),
        Selection.from_mask(rng.random((8, M)) < 0.2),
        rng.random((8, N, 2)).astype(np.float32),
        rng.random((8, M, 2)).astype(np.float32),
    )
    curated = Curated(shown, None)
    threat = Threat(model_as="labels", scores_as="rounded", decimals=1, queries=7)
    here = plan(threat)
    seen, knowledge = seen_by(here, curated), knowledge_of(here)
    assert seen.thresholds is None
    np.testing.assert_array_equal(seen.scores, np.round(shown.scores, 1))
    assert set(np.unique(seen.probabilities)) == {0.0, 1.0}
    # the seven rows that come first by the hash of their ids
    rank = tie_order(here.data.pool.ids, here.seed)
    assert sorted(rank[knowledge.queried]) == list(range(7))
    np.testing.assert_array_equal(seen.at_pool, one_hot(shown.at_pool[:, knowledge.queried]))
    whole = seen_by(plan(Threat(knows=(*EVERYTHING, "thresholds"))), curated)
    np.testing.assert_array_equal(whole.thresholds, lowest_picked(shown))


def test_the_model_is_asked_about_so_many_rows_at_most():
    rank = np.random.default_rng(0).permutation(MOST_POOL_QUERIES + 100)
    rows = queried_rows(rank)
    assert len(rows) == MOST_POOL_QUERIES
    assert rank[rows].max() == MOST_POOL_QUERIES - 1
    assert (np.diff(rows) > 0).all()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"observes": ()}, "threat.observes: found nothing"),
        ({"may_insert": -1}, "threat.may_insert: found -1"),
        ({"queries": -1}, "threat.queries: found -1"),
        ({"decimals": 16}, "threat.decimals: found 16"),
    ],
)
def test_threats_that_cannot_be_are_refused(settings, message):
    with pytest.raises(SettingError, match=message):
        Threat(**settings)


def test_nobody_knows_what_is_no_knowledge():
    with pytest.raises(ValueError, match="nobody can know"):
        Knowledge(granted=frozenset({"pol"}))


def test_a_claim_about_a_function_comes_with_a_warning():
    claimed = {"claim": GaussianClaim(mu=1.0, adjacency="add_remove")}

    def score(private, rows):
        return rows @ private.mean(axis=0)

    assert any("fresh" in one for one in design_warnings(plan(scorer=score, **claimed)))
    assert not any("fresh" in one for one in design_warnings(plan(scorer=score)))
    assert not any("fresh" in one for one in design_warnings(plan(**claimed)))


@pytest.mark.parametrize(
    ("call", "line"),
    [
        (lambda: Threat(scores_as="rank"), "threat.scores_as: found 'rank'; did you mean 'ranks'?"),
        (
            lambda: Threat(model_as="label"),
            "threat.model_as: found 'label'; did you mean 'labels'?",
        ),
        (lambda: Threat(embedding="own"), "threat.embedding: found 'own'; expected one of exact, "),
        (lambda: Threat(knows=("pools",)), "threat.knows: found 'pools'; did you mean 'pool'?"),
        (
            lambda: Threat(knows="pool"),
            "threat.knows: found 'pool'; expected a list of algorithm, ",
        ),
        (lambda: Threat(observes=("score",)), "threat.observes: found 'score'; did you mean"),
        (lambda: AttackSettings(estimand="new"), "attack.estimand: found 'new'; expected one of"),
        (lambda: AttackSettings(methods={"score": ()}), "attack.methods: found 'score'; did you"),
        (
            lambda: AttackSettings(methods={"scores": "trace"}),
            "attack.methods.scores: found 'trace'; expected a list",
        ),
        (lambda: CanarySettings(kind="lonely"), "attack.canaries.kind: found 'lonely'; expected"),
        (lambda: PolicyRule(stage="all", metric="auc", above=0.6), "report.policy: found 'all'"),
        (
            lambda: PolicyRule(stage="joint", metric="auc", above=0.6, bound="lower"),
            "report.policy: found 'lower'; did you mean 'low",
        ),
    ],
)
def test_a_word_that_nobody_knows_is_refused_in_python_too(call, line):
    """It would grant an adversary less than was meant, and the report would not tell."""
    with pytest.raises(SettingError) as refused:
        call()
    assert str(refused.value).startswith(line)
