"""Games without curations: coins, evidence made by hand, and the plan that judges them."""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from benchmarks.bound_power import NoisySum
from curation_audit.api import Pipeline
from curation_audit.attacks import ATTACKS
from curation_audit.auditing.adversary import knowledge_of, seen_by
from curation_audit.auditing.curation import score_shadows, select_and_train
from curation_audit.auditing.evidence import AttackEvidence, Game, n_fit_pairs
from curation_audit.auditing.plan import AttackSettings, AuditPlan, ScoreView, Threat
from curation_audit.pipelines.rules.top import TopFraction
from curation_audit.pipelines.scorers.mean import Mean
from curation_audit.streams import Streams
from tests.attacks.world import first_order_of
from tests.statistics.evidence import random_coins

LIKE = NoisySum(sigma=1.0)
KNOWS = ("algorithm", "candidates", "labels", "other candidates", "pool")


@dataclass(frozen=True)
class Named:
    """As much of an attack as its evidence is judged by."""

    name: str
    needs: frozenset[str] = frozenset()
    members: Sequence[Any] = ()


def plan_of(*, claim: Any = None, knows: Sequence[str] = KNOWS, **attack: Any) -> AuditPlan:
    """A plan at the scores' stage; its data are never looked at."""
    rng = np.random.default_rng(0)
    return Pipeline(
        private=rng.standard_normal((8, 3)),
        public=rng.standard_normal((20, 3)),
        scorer=Mean(),
        select=TopFraction(fraction=0.2),
        train=None,
        threat=Threat(observes=("scores",), knows=tuple(knows)),
        attack=AttackSettings(**attack),
        claim=claim,
    ).plan()


def game_of(rng: np.random.Generator, n_pairs: int, n_candidates: int) -> Game:
    """Coins with the fit block that an audit of so many pairs would have."""
    coins = random_coins(rng, n_pairs, n_candidates)
    fit = np.arange(n_pairs) < n_fit_pairs(2 * n_pairs)
    return Game(coins, coins, np.zeros(coins.shape), fit)


def found(name: str, fitted: np.ndarray | None, **attack: Any) -> AttackEvidence:
    """One attack's evidence at the scores' stage."""
    return AttackEvidence(name, "scores", Named(name, **attack), (), fitted=fitted)


def leaky(rng: np.random.Generator, game: Game, mu: float) -> np.ndarray:
    """Evidence of candidates that are told apart as by mu-GDP, (S, N)."""
    return mu * game.inclusion + rng.standard_normal(game.inclusion.shape)


def redrawn(rng: np.random.Generator, game: Game) -> Game:
    """The same game with fresh coins in the evaluation pairs."""
    coins = random_coins(rng, len(game.fit_pairs), game.inclusion.shape[1])
    in_fit = np.repeat(game.fit_pairs, 2)
    coins[in_fit] = game.inclusion[in_fit]
    return dataclasses.replace(game, inclusion=coins)


@dataclass(frozen=True, slots=True, kw_only=True)
class IgnoresPrivate:
    """A linear scorer that looks at nobody: fresh noise per shadow for the sum of private rows."""

    name: ClassVar[str] = "ignores_private"
    family: ClassVar[str] = "linear"
    adjacency: ClassVar[str] = "add_remove"

    def embed(self, features: np.ndarray, labels: np.ndarray | None = None) -> np.ndarray:
        return features

    def fit(self, private, inclusion, pool, *, streams):
        return LIKE.fit(private, np.zeros_like(inclusion), pool, streams=streams)

    def linearise(self, private, pool):
        return LIKE.linearise(private, pool)


def null_plan(
    seed: int, *, train: Any = None, scores_as: ScoreView = "exact", **attack: Any
) -> AuditPlan:
    """A whole pipeline that ignores the private set: N = 100, m = 500, S = 16, d = 10."""
    rng = np.random.default_rng([seed, 5])
    labels = {"private": rng.integers(0, 2, 100), "public": rng.integers(0, 2, 500)}
    return Pipeline(
        private=rng.standard_normal((100, 10)),
        public=rng.standard_normal((500, 10)),
        labels=labels,
        scorer=IgnoresPrivate(),
        select=TopFraction(fraction=0.2),
        train=train,
        standardise="none",
        seed=seed,
        threat=Threat(knows=(*KNOWS, "memberships", "thresholds"), scores_as=scores_as),
        attack=AttackSettings(**{"shadows": 16, **attack}),
    ).plan()


def fitted_evidence(plan: AuditPlan, game: Game, names: Sequence[str]) -> list[AttackEvidence]:
    """The pipeline's shadows, and what attacks make of them that learnt from the fit block."""
    shadows = Streams(plan.seed).for_shadows("shadow", range(plan.attack.shadows))
    scores = score_shadows(plan, game.inclusion, shadows)
    seen = seen_by(plan, select_and_train(plan, scores, shadows))
    knowledge = knowledge_of(plan)
    # what references would show of a scorer that is linear in the coins, were it trained
    first_order = first_order_of(knowledge.linearisation, knowledge.pool)
    knowledge = dataclasses.replace(
        knowledge,
        granted=knowledge.granted | {"trained references"},
        first_order=lambda: first_order,
        known_pairs=game.fit_pairs,
    )
    return [
        AttackEvidence(
            name,
            ATTACKS[name].stage,
            ATTACKS[name],
            (),
            fitted=ATTACKS[name].evidence(seen, game.inclusion, knowledge, streams=shadows),
        )
        for name in names
        if ATTACKS[name].stage in plan.stages and not knowledge.missing(ATTACKS[name].needs)
    ]
