"""CPU seconds and peak memory of every attack on scores and picks, on one thread.

Every attack runs in a process of its own, on N = 1,000 candidates, m = 20,000 pool rows,
S = 256 shadows, p = 64; a mean scorer, or the nearest one for attacks that are made for it.
Beside it in the same process runs the usual way, a plain loop written by us, on a small part of
the shadows and candidates, and is scaled to all of them; both must give the same evidence there.
"Together" are all attacks on scores and picks of one pipeline, ensembles included, one after
another in one process on one observation, as an audit runs them.

    python benchmarks/attack_speed.py [scores|selection|together]
"""

import argparse
import dataclasses
import json
import os
import resource
import statistics
import subprocess
import sys
import time

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
from scipy import stats

from curation_audit.attacks import ATTACKS
from curation_audit.observations import KNOWABLE, Candidates, Knowledge, Observation
from curation_audit.pipelines.base import PrivateRows, Rows
from curation_audit.pipelines.rules import TopFraction
from curation_audit.pipelines.scorers import Mean, Nearest
from curation_audit.streams import Streams

N_CANDIDATES, N_POOL, N_SHADOWS, N_FEATURES = 1000, 20_000, 256, 64
REPEATS = 3


def _rows(features):
    return tuple(map(str, range(len(features)))), features.astype(np.float32)


def curated_world(nearest):
    """What the shadows of a curation show, their coins, what is known, and streams."""
    rng = np.random.default_rng(0)
    names, features = _rows(rng.standard_normal((N_CANDIDATES, N_FEATURES)))
    private = PrivateRows(names, features, np.arange(N_CANDIDATES), names)
    pool = Rows(*_rows(rng.standard_normal((N_POOL, N_FEATURES))))
    coins = rng.random((N_SHADOWS // 2, 1, N_CANDIDATES)) < 0.5
    inclusion = np.concatenate([coins, ~coins], axis=1).reshape(N_SHADOWS, N_CANDIDATES)
    scorer = Nearest() if nearest else Mean(metric="inner_product")
    streams = Streams(0).for_shadows("benchmark", range(N_SHADOWS))
    rule = TopFraction(fraction=0.1)

    def score(inclusion):
        return scorer.fit(private, inclusion, pool, streams=streams).score(pool.features)

    def select(scores):
        return rule.select(scores, np.arange(N_POOL))

    scores = score(inclusion)
    observation = Observation(scores, select(scores), np.zeros((N_SHADOWS, N_CANDIDATES, 2), "f4"))
    knowledge = Knowledge(
        granted=KNOWABLE - {"linear scorer" if nearest else "nearest scorer"},
        pool=scorer.embed(pool.features),
        candidates=Candidates(scorer.embed(features), private.unit, N_CANDIDATES),
        linearisation=scorer.linearise(private, pool),
        score=score,
        select=select,
    )
    return observation, inclusion, knowledge, streams


def peak_mb():
    """The most memory that this process has held so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def measure_curated(name):
    """One attack on scores or picks: seconds and peak memory, the usual way beside it.

    Every repeat starts from an observation of which nobody has worked anything out.
    """
    attack = ATTACKS[name]
    observation, inclusion, knowledge, streams = curated_world("nearest scorer" in attack.needs)
    seconds = []
    for _ in range(REPEATS):
        observation = dataclasses.replace(observation)
        started = time.process_time()
        evidence = attack.evidence(observation, inclusion, knowledge, streams=streams)
        seconds.append(time.process_time() - started)
    found = {"seconds": statistics.median(seconds), "peak_mb": peak_mb()}
    if name in USUAL_WAYS:
        found["usual"] = timed_usual(name, (observation, inclusion, knowledge), evidence)
    return found


def cell_by_cell(log_ratio):
    """The most telling row and a likelihood ratio on it, for every shadow and candidate in turn."""

    def way(values, inclusion, shadows, candidates):
        found = np.empty((len(shadows), len(candidates)))
        for i, s in enumerate(shadows):
            rest = np.arange(N_SHADOWS) // 2 != s // 2
            for j, n in enumerate(candidates):
                inside = values[rest & inclusion[:, n]]
                outside = values[rest & ~inclusion[:, n]]
                k = np.abs(inside.sum(axis=0) - outside.sum(axis=0)).argmax()
                found[i, j] = log_ratio(values[s, k], inside[:, k], outside[:, k])
        return found

    return way


def gaussian_ratio(value, inside, outside):
    """LiRA on one number."""
    likelihoods = [stats.norm.logpdf(value, side.mean(), side.std()) for side in (inside, outside)]
    return likelihoods[0] - likelihoods[1]


def bernoulli_ratio(value, inside, outside):
    """LiRA on one bit, with half a count on either side."""
    rates = [(side.sum() + 0.5) / (len(side) + 1) for side in (inside, outside)]
    likelihoods = [np.log(rate if value else 1 - rate) for rate in rates]
    return likelihoods[0] - likelihoods[1]


def best_row_usual(world, cells):
    """LiRA on the most telling score."""
    observation, inclusion, _ = world
    scores = observation.scores.astype(np.float64)
    return cell_by_cell(gaussian_ratio)(scores, inclusion, *cells)


def binary_usual(world, cells):
    """LiRA on the most telling pick."""
    observation, inclusion, _ = world
    picks = observation.selection.mask().astype(np.float64)
    return cell_by_cell(bernoulli_ratio)(picks, inclusion, *cells)


def least_squares_usual(world, cells):
    """One least-squares problem over all pool rows per shadow."""
    observation, _, knowledge = world
    shadows, _ = cells
    linear, pool = knowledge.linearisation, knowledge.pool.astype(np.float64)
    design = pool @ linear.influence.T
    plain = pool @ linear.reference
    return np.stack(
        [np.linalg.lstsq(design, observation.scores[s] - plain, rcond=1e-6)[0] for s in shadows]
    )


def voting_usual(world, cells):
    """Every score against every similarity, shadow after shadow; sure votes only."""
    observation, _, knowledge = world
    shadows, _ = cells
    alike = knowledge.pool @ knowledge.candidates.features.T
    found = np.empty((len(shadows), N_CANDIDATES))
    for i, s in enumerate(shadows):
        score = observation.scores[s][:, None]
        equal = np.abs(alike - score) <= 1e-6
        against = (alike > score + 1e-6).sum(axis=0)
        sure = (equal & (equal.sum(axis=1) == 1)[:, None]).sum(axis=0)
        found[i] = np.sign(sure - against)
    return found


# the way, how many shadows and candidates it is timed on, and what of the evidence must agree
USUAL_WAYS = {
    "lira_best_row": (best_row_usual, 2, 5, np.asarray),
    "binary_lira": (binary_usual, 2, 5, np.asarray),
    "least_squares": (least_squares_usual, 1, N_CANDIDATES, np.asarray),
    "voting": (voting_usual, 4, N_CANDIDATES, np.sign),
}


def timed_usual(name, world, evidence):
    """Seconds that the usual way would take for everything; it must agree on its part."""
    way, n_shadows, n_candidates, of_interest = USUAL_WAYS[name]
    shadows, candidates = np.arange(n_shadows), np.arange(n_candidates)
    started = time.process_time()
    found = way(world, (shadows, candidates))
    seconds = time.process_time() - started
    part = evidence[:n_shadows, :n_candidates]
    np.testing.assert_allclose(found, of_interest(part), rtol=1e-3, atol=1e-3 * np.abs(found).max())
    return seconds * evidence.size / part.size


def measure_together(scorer):
    """All attacks on scores and picks of one scorer: seconds of CPU and clock, peak memory."""
    observation, inclusion, knowledge, streams = curated_world(scorer == "nearest")
    knowledge = dataclasses.replace(knowledge, granted=knowledge.granted - {"model"})
    attacks = [
        attack
        for attack in ATTACKS.values()
        if attack.stage != "model" and not knowledge.missing(attack.needs)
    ]
    each, started = {}, (time.process_time(), time.perf_counter())
    for attack in attacks:
        before = time.process_time()
        attack.evidence(observation, inclusion, knowledge, streams=streams)
        each[attack.name] = time.process_time() - before
    return {
        "seconds": time.process_time() - started[0],
        "wall": time.perf_counter() - started[1],
        "peak_mb": peak_mb(),
        "each": each,
    }


MEASURES = {"scores": measure_curated, "selection": measure_curated, "together": measure_together}


def in_own_process(stage, name):
    """Measure one attack, or all of a scorer, in a fresh process."""
    command = [sys.executable, __file__, stage, "--of", name]
    shown = subprocess.run(command, check=True, capture_output=True, text=True)
    return json.loads(shown.stdout)


def table(stage):
    """Print one line per attack of the stage."""
    print(f"{stage:16s} {'seconds':>8s} {'peak MB':>8s} {'usual way':>10s}")
    for name, attack in ATTACKS.items():
        if attack.stage == stage:
            found = in_own_process(stage, name)
            usual = f"{found['usual']:10.0f}" if "usual" in found else ""
            print(f"{name:16s} {found['seconds']:8.2f} {found['peak_mb']:8.0f} {usual}", flush=True)


def table_together():
    """Print one line per scorer, and below it what each attack took in its turn."""
    print(f"{'together':16s} {'seconds':>8s} {'wall':>8s} {'peak MB':>8s}")
    for scorer in ("mean", "nearest"):
        found = in_own_process("together", scorer)
        print(f"{scorer:16s} {found['seconds']:8.2f} {found['wall']:8.2f} {found['peak_mb']:8.0f}")
        for name, seconds in found["each"].items():
            print(f"  {name:18s} {seconds:6.2f}", flush=True)


def main() -> None:
    """Print a table per stage, or measure one attack."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("stage", nargs="?", choices=sorted(MEASURES))
    parser.add_argument("--of", help="measure this attack or scorer only, print JSON")
    options = parser.parse_args()
    if options.of:
        print(json.dumps(MEASURES[options.stage](options.of)))
        return
    for stage in [options.stage] if options.stage else MEASURES:
        table_together() if stage == "together" else table(stage)


if __name__ == "__main__":
    main()
