"""The mechanism is the product: precision of the picks at one epsilon, by what is made private.

A public pool of a million rows in 60 topics, one of which (1 % of the rows) is that of 2,000
private rows. 5,000 rows are picked; precision is the share of the topic among them. Replace-one,
delta 1e-6, public N.

    python benchmarks/mechanism_choice.py [--pool 1000000]
"""

import argparse
import math
import time

import numpy as np

from curation_audit.dp.events import Gaussian
from curation_audit.dp.gaussian_sum import GaussianSum
from curation_audit.dp.lazy_top_k import lazy_gumbel_top_k
from curation_audit.dp.top_k import gaussian_top_k
from curation_audit.dp.top_k_budget import gumbel_scale, range_distance
from curation_audit.releases.public_maps import MeanMap, PublicMap, VotesMap
from curation_audit.statistics.gdp import mu_of_epsilon
from curation_audit.statistics.zcdp import rho_of_epsilon

DELTA, EPSILONS = 1e-6, (0.5, 1.0, 4.0, 8.0)
N_PRIVATE, N_PICKED, D, N_TOPICS, CLUSTERS = 2000, 5000, 64, 60, 500
TARGET_SHARE, SPREAD = 0.01, 0.06
N_SEEDS = 3


def world(rng: np.random.Generator, n_pool: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Private rows, pool rows (float32, length one), and which pool rows are of the topic."""
    topics = rng.standard_normal((N_TOPICS, D)) / math.sqrt(D)

    def rows(of: np.ndarray) -> np.ndarray:
        drawn = topics[of] + SPREAD * rng.standard_normal((len(of), D))
        return (drawn / np.linalg.norm(drawn, axis=1, keepdims=True)).astype(np.float32)

    of_pool = rng.integers(1, N_TOPICS, n_pool)
    of_pool[rng.permutation(n_pool)[: int(TARGET_SHARE * n_pool)]] = 0
    return rows(np.zeros(N_PRIVATE, dtype=int)), rows(of_pool), of_pool == 0


def precision(picked: np.ndarray, relevant: np.ndarray) -> float:
    """The share of relevant rows among the picked."""
    return float(relevant[picked].mean())


def best(scores: np.ndarray) -> np.ndarray:
    """The rows with the largest scores, without noise."""
    return np.argpartition(-scores, N_PICKED)[:N_PICKED]


def noisy_sum(
    rng: np.random.Generator, public: PublicMap, private: np.ndarray, pool: np.ndarray, mu: float
) -> np.ndarray:
    """Scores of the pool by one noisy sum, replace-one with public N."""
    clip = float(np.median(np.linalg.norm(public.contribution(pool[:10_000]), axis=1)))
    mechanism = GaussianSum(
        clip=clip,
        mu=mu,
        adjacency="replace_one",
        denominator=len(private),
        nonnegative=public.nonnegative,
    )
    assert isinstance(mechanism.event("scorer"), Gaussian)
    vectors = mechanism.vectors(public.contribution(private))
    everyone = np.ones((1, len(private)), dtype=bool)
    released = mechanism.release(vectors, everyone, [rng])[0]
    blocks = np.array_split(pool, max(1, len(pool) // 50_000))
    return np.concatenate([public.query(block) @ released for block in blocks])


def nearest(private: np.ndarray, pool: np.ndarray) -> np.ndarray:
    """The largest cosine with a private row."""
    blocks = np.array_split(pool, max(1, len(pool) // 4096))
    return np.concatenate([(block @ private.T).max(axis=1) for block in blocks])


def ways(rng: np.random.Generator, n_pool: int) -> dict[str, dict[float, float]]:
    """Precision by mechanism and epsilon, for one draw of everything."""
    private, pool, relevant = world(rng, n_pool)
    maps: dict[str, PublicMap] = {
        "mean": MeanMap.of_pool(pool, "cosine", center=True, whiten=False),
        "LDA (public covariance)": MeanMap.of_pool(pool, "cosine", center=True, whiten=True),
        f"centroid votes ({CLUSTERS})": VotesMap.of_pool(pool, CLUSTERS, 0),
    }
    of_mean = pool @ private.mean(axis=0)
    of_nearest = nearest(private, pool)
    found: dict[str, dict[float, float]] = {}
    for epsilon in EPSILONS:
        mu, rho = mu_of_epsilon(epsilon, DELTA), rho_of_epsilon(epsilon, DELTA)
        picks = {
            name: best(noisy_sum(rng, public, private, pool, mu)) for name, public in maps.items()
        }
        one = 2 / N_PRIVATE  # a replaced row moves a mean cosine by this much
        scale = gumbel_scale(N_PICKED, range_distance(one, monotone=False), rho)
        picks["Gumbel top-k on mean scores"] = lazy_gumbel_top_k(of_mean, N_PICKED, scale, rng)
        sigma = one * math.sqrt(n_pool) / mu
        picks["Gaussian on scores (sqrt(n) bound)"] = gaussian_top_k(of_mean, N_PICKED, sigma, rng)
        scale = gumbel_scale(N_PICKED, range_distance(2.0, monotone=False), rho)
        picks["max similarity + Gumbel"] = lazy_gumbel_top_k(of_nearest, N_PICKED, scale, rng)
        for name, picked in picks.items():
            found.setdefault(name, {})[epsilon] = precision(picked, relevant)
    found["no noise: mean / max"] = {
        EPSILONS[0]: precision(best(of_mean), relevant),
        EPSILONS[1]: precision(best(of_nearest), relevant),
    }
    return found


def main() -> None:
    """Print the table, averaged over seeds."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--pool", type=int, default=1_000_000)
    n_pool = parser.parse_args().pool
    started = time.perf_counter()
    runs = [ways(np.random.default_rng(seed), n_pool) for seed in range(N_SEEDS)]
    print(f"precision of {N_PICKED} picks of {n_pool:,} (chance {TARGET_SHARE}); {N_SEEDS} seeds\n")
    print("| mechanism | " + " | ".join(f"epsilon {epsilon:g}" for epsilon in EPSILONS) + " |")
    print("|---|" + "---|" * len(EPSILONS))
    for name in runs[0]:
        cells = [
            f"{np.mean([run[name][e] for run in runs]):.3f}" if e in runs[0][name] else ""
            for e in EPSILONS
        ]
        print(f"| {name} | " + " | ".join(cells) + " |")
    print(f"\n{time.perf_counter() - started:.0f} s")


if __name__ == "__main__":
    main()
