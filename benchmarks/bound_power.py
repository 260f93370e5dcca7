"""How much of the true epsilon each lower bound reaches, where the truth is known.

A Gaussian sum with public constants: the scores of a public pool are its inner products with
``sum of members + N(0, sigma^2 I)``, members of length one. Under add/remove it is exactly
mu-GDP with mu = 1 / sigma. The audit's own parts run: curations, attacks that learn from the fit
block, choice on it, bounds on the evaluation block. Printed: medians (quartiles) over seeds of
bound / epsilon, and how often a bound exceeded the truth.

    python benchmarks/bound_power.py [--shadows 1024] [--candidates 200] [--seeds 9]
"""

import argparse
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np

from curation_audit.api import Pipeline
from curation_audit.attacks.base import Attack
from curation_audit.attacks.known_others import KnownOthers
from curation_audit.attacks.matched_filter import MatchedFilter
from curation_audit.auditing.adversary import knowledge_of, seen_by
from curation_audit.auditing.bounding import stage_bounds
from curation_audit.auditing.curation import score_shadows, select_and_train
from curation_audit.auditing.evidence import AttackEvidence, Game, draw_game
from curation_audit.auditing.plan import AttackSettings, AuditPlan, RunSettings, Threat
from curation_audit.observations import Linearisation
from curation_audit.pipelines.base import Family, FittedScorers, PrivateRows, Rows
from curation_audit.pipelines.scorers.linear import LinearScorers
from curation_audit.results import Adjacency
from curation_audit.statistics.gdp import mu_of_epsilon
from curation_audit.streams import ShadowStreams, Streams
from curation_audit.training.device import one_thread

EPSILONS = (1.0, 2.0, 4.0, 8.0)
DELTA = 1e-5
KNOWS_COINS = ("algorithm", "candidates", "memberships", "other candidates", "pool")
N_ALONE = 8
NO_HYPOTHESIS = ("pair mean", "one run", "Clopper-Pearson")


@dataclass(frozen=True, slots=True, kw_only=True)
class NoisySum:
    """``score(x) = <x, sum of the private rows + N(0, sigma^2 I)>``, fresh noise per shadow."""

    name: ClassVar[str] = "noisy_sum"
    family: ClassVar[Family] = "linear"
    adjacency: ClassVar[Adjacency] = "add_remove"
    sigma: float

    def embed(self, features: np.ndarray, labels: np.ndarray | None = None) -> np.ndarray:
        """Rows as they are."""
        return features

    def fit(
        self, private: PrivateRows, inclusion: np.ndarray, pool: Rows, *, streams: ShadowStreams
    ) -> FittedScorers:
        """All S sums by one product, and each shadow's own noise."""
        sums = private.row_inclusion(inclusion).astype(private.features.dtype) @ private.features
        drawn = [rng.standard_normal(sums.shape[1]) for rng in streams.generators("noise")]
        return LinearScorers(sums + self.sigma * np.stack(drawn), self.embed)

    def linearise(self, private: PrivateRows, pool: Rows) -> Linearisation:
        """Exact: every candidate moves the sum by its row."""
        rows = private.features.astype(np.float64)
        noise = self.sigma**2 * np.eye(rows.shape[1])
        return Linearisation(
            reference=rows.sum(axis=0) / 2,
            influence=rows,
            covariance=rows.T @ rows / 4 + noise,
            slopes=np.ones(rows.shape[1], dtype=bool),
            noise=noise,
        )


def noisy_sum_pipeline(
    epsilon: float, *, seed: int, n_shadows: int, n_candidates: int, d: int, **settings
) -> Pipeline:
    """A pipeline whose scores are exactly (epsilon, 1e-5)-DP under add/remove, and no less."""
    rng = np.random.default_rng([seed, 77])
    rows = rng.standard_normal((n_candidates, d))
    return Pipeline(
        private=rows / np.linalg.norm(rows, axis=1, keepdims=True),
        public=rng.standard_normal((d + 50, d)),
        scorer=NoisySum(sigma=1 / mu_of_epsilon(epsilon, DELTA)),
        train=None,
        standardise="none",
        seed=seed,
        run=RunSettings(dtype="float64"),
        attack=AttackSettings(shadows=n_shadows, delta=DELTA),
        **{"threat": Threat(observes=("scores",), knows=KNOWS_COINS), **settings},
    )


def evidence_of(plan: AuditPlan, game: Game, attacks: Sequence[Attack]) -> list[AttackEvidence]:
    """What attacks make of the shadows that have learnt from the fit block."""
    rows = range(plan.attack.shadows)
    streams = Streams(plan.seed)
    shadows = streams.for_shadows("shadow", rows)
    scores = score_shadows(plan, game.inclusion, shadows)
    seen = seen_by(plan, select_and_train(plan, scores, shadows))
    knowledge = replace(knowledge_of(plan), known_pairs=game.fit_pairs)
    return [
        AttackEvidence(
            attack.name,
            attack.stage,
            attack,
            (),
            fitted=attack.evidence(
                seen,
                game.inclusion,
                knowledge,
                streams=streams.for_shadows(f"attack {attack.name}", rows),
            ),
        )
        for attack in attacks
    ]


def measured(plan: AuditPlan) -> Iterator[tuple[str, float]]:
    """Every bound on one audit's epsilon, with the adversary's name; some canaries each alone."""
    with one_thread():
        game = draw_game(plan)
        coins, auditor = evidence_of(plan, game, (KnownOthers(), MatchedFilter()))
    yield from stated("dp", plan, [coins], game)
    yield from stated("auditor", plan, [auditor], game)
    for n in range(N_ALONE):
        one = replace(coins, fitted=coins.fitted[:, [n]])
        yield from stated(
            "one canary", plan, [one], replace(game, inclusion=game.inclusion[:, [n]])
        )
    both = dict(stated("", plan, [coins, auditor], game))
    yield "best without hypothesis", max(both[f": {method}"] for method in NO_HYPOTHESIS)


def stated(
    adversary: str, plan: AuditPlan, found: list[AttackEvidence], game: Game
) -> Iterator[tuple[str, float]]:
    """The bounds of the scores' stage, as the audit states them."""
    for one in stage_bounds(plan, "scores", found, game).results:
        if one.label == "bound":
            yield f"{adversary}: {one.method}", one.epsilon


def reached(epsilon: float, seeds: Sequence[int], **shape: int) -> dict[str, np.ndarray]:
    """Bounds over the true epsilon by name, (runs,)."""
    shares: dict[str, list[float]] = {}
    for seed in seeds:
        for name, bound in measured(noisy_sum_pipeline(epsilon, seed=seed, **shape).plan()):
            shares.setdefault(name, []).append(bound / epsilon)
    return {name: np.array(found) for name, found in shares.items()}


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--shadows", type=int, default=1024)
    parser.add_argument("--candidates", type=int, default=200)
    parser.add_argument("--dimensions", type=int, default=None, help="twice the candidates")
    parser.add_argument("--seeds", type=int, default=9)
    options = parser.parse_args()
    columns = [
        reached(
            epsilon,
            range(options.seeds),
            n_shadows=options.shadows,
            n_candidates=options.candidates,
            d=options.dimensions or 2 * options.candidates,
        )
        for epsilon in EPSILONS
    ]
    print("bound / true epsilon".ljust(32) + "".join(f"eps {e:g}".ljust(20) for e in EPSILONS))
    for name in columns[0]:
        cells = [np.quantile(column[name], [0.5, 0.25, 0.75]) for column in columns]
        print(name.ljust(32) + "".join("{:.2f} ({:.2f}-{:.2f})    ".format(*c) for c in cells))
    above = sum(int((shares > 1).sum()) for column in columns for shares in column.values())
    total = sum(shares.size for column in columns for shares in column.values())
    print(f"above the truth: {above} of {total}")


if __name__ == "__main__":
    main()
