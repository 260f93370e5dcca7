"""Games without curations: coins, evidence made by hand, and the plan that judges them."""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from curation_audit.api import Pipeline
from curation_audit.auditing.evidence import AttackEvidence, Game, n_fit_pairs
from curation_audit.auditing.plan import AttackSettings, AuditPlan, Threat
from curation_audit.pipelines.rules.top import TopFraction
from curation_audit.pipelines.scorers.mean import Mean
from tests.statistics.evidence import random_coins

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
