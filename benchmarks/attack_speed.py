"""Seconds and peak memory of every registered attack on one world per stage, on one thread.

Every attack runs in a process of its own. Score and selection stage: N = 1,000 candidates,
m = 20,000 pool rows, S = 256 shadows, p = 64; a mean scorer, or the nearest one for attacks that
are made for it. Beside it in the same process runs the usual way, a plain loop written by us,
on a small part of the shadows and candidates, and is scaled to all of them.

    python benchmarks/attack_speed.py [scores|selection|model] [--attack NAME]
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import time

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np

from curation_audit.attacks import ATTACKS
from curation_audit.observations import KNOWABLE, Candidates, Knowledge, Observation
from curation_audit.pipelines.base import PrivateRows, Rows
from curation_audit.pipelines.rules import TopFraction
from curation_audit.pipelines.scorers import Mean, Nearest
from curation_audit.streams import Streams

N_CANDIDATES, N_POOL, N_SHADOWS, N_FEATURES = 1000, 20_000, 256, 64


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
        granted=KNOWABLE,
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


def timed(run):
    """Seconds of one call."""
    started = time.perf_counter()
    run()
    return time.perf_counter() - started


def measure_curated(name):
    """One attack on scores or picks: seconds, peak memory, and what the world alone takes."""
    attack = ATTACKS[name]()
    observation, inclusion, knowledge, streams = curated_world("nearest scorer" in attack.needs)
    before = peak_mb()
    seconds = timed(lambda: attack.evidence(observation, inclusion, knowledge, streams=streams))
    found = {"seconds": seconds, "peak_mb": peak_mb(), "world_mb": before}
    usual = USUAL_WAYS.get(name)
    return found if usual is None else found | {"usual": usual(observation, inclusion, knowledge)}


USUAL_WAYS = {}
MEASURES = {"scores": measure_curated, "selection": measure_curated}


def in_own_process(stage, name):
    """Measure one attack in a fresh process."""
    command = [sys.executable, __file__, stage, "--attack", name, "--json"]
    shown = subprocess.run(command, check=True, capture_output=True, text=True)
    return json.loads(shown.stdout)


def table(stage):
    """Print one line per attack of the stage."""
    print(f"{stage:16s} {'seconds':>8s} {'peak MB':>8s} {'usual way':>10s}")
    for name, attack in ATTACKS.items():
        if attack.stage == stage:
            found = in_own_process(stage, name)
            usual = f"{found['usual']:9.1f}s" if "usual" in found else ""
            print(f"{name:16s} {found['seconds']:8.2f} {found['peak_mb']:8.0f} {usual}", flush=True)


def main() -> None:
    """Print a table per stage, or measure one attack."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("stage", nargs="?", choices=sorted(MEASURES))
    parser.add_argument("--attack", choices=sorted(ATTACKS))
    parser.add_argument("--json", action="store_true", help="for the parent process")
    options = parser.parse_args()
    if options.json:
        print(json.dumps(MEASURES[options.stage](options.attack)))
        return
    for stage in [options.stage] if options.stage else MEASURES:
        table(stage)


if __name__ == "__main__":
    main()
