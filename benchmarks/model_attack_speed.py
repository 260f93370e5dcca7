"""Attacks on a model against the usual ways, in one run, on one thread.

N candidates, S = 64 shadows that are all targets in turn, a population of Q pool rows. The usual
ways are loops of the usual recipes, written by us: LiRA with two scipy calls per point, RMIA by
the N x Q matrix of ratios, BASE with scipy's logsumexp per target. They run on a few targets and
are scaled to all; what they compute must be what the tool computes.

    python benchmarks/model_attack_speed.py [--candidates 10000] [--repeats 5]
"""

import argparse
import statistics
import time

import numpy as np
from scipy import stats
from scipy.special import log_softmax, logsumexp

from curation_audit.attacks import ATTACKS
from curation_audit.attacks.lira import Lira
from curation_audit.attacks.rmia_offline import RmiaOffline
from curation_audit.observations import KNOWABLE, Candidates, Knowledge, Observation, Selection
from curation_audit.training.device import one_thread

N_SHADOWS, N_CLASSES, N_LOOPED, N_POINTS = 64, 2, 2, 1000


def model_world(n):
    """Outputs of S models at n candidates and n pool rows."""
    rng = np.random.default_rng(0)
    coins = rng.random((N_SHADOWS // 2, 1, n)) < 0.5
    inclusion = np.concatenate([coins, ~coins], axis=1).reshape(N_SHADOWS, n)
    labels = rng.integers(0, N_CLASSES, (2, n))
    margin = rng.normal(0, 2, (2, 1, n, 1)) + rng.standard_normal((2, N_SHADOWS, n, 1))
    margin[0, ..., 0] += inclusion
    sign = np.where(labels[..., None] == np.arange(N_CLASSES), 0.5, -0.5)[:, None]
    outputs = np.exp(log_softmax(sign * margin, axis=3)).astype(np.float32)
    nothing = Selection.from_mask(np.zeros((N_SHADOWS, 1), dtype=bool))
    observation = Observation(np.zeros((N_SHADOWS, 1)), nothing, *outputs)
    knowledge = Knowledge(
        granted=KNOWABLE,
        pool=np.zeros((n, 1)),
        pool_labels=labels[1],
        candidates=Candidates(np.zeros((n, 1)), np.arange(n), n, labels[0]),
        queried=np.arange(n),
    )
    return observation, inclusion, knowledge


def of_labels(outputs, labels):
    """Likelihoods (S, rows) as float64."""
    return outputs[:, np.arange(len(labels)), labels].astype(np.float64)


def prepared(world):
    """What a user's loop would compute once for all targets."""
    observation, inclusion, knowledge = world
    p = of_labels(observation.probabilities, knowledge.candidates.labels)
    z = of_labels(observation.at_pool, knowledge.pool_labels)
    logs = log_softmax(np.log(observation.probabilities.astype(np.float64)) / 2, axis=2)
    tempered = of_labels(logs, knowledge.candidates.labels)
    return {"p": p, "z": z, "margin": np.log(p / (1 - p)), "tempered": tempered, "coins": inclusion}


def others_than(s):
    """The shadows of the other pairs."""
    return np.delete(np.arange(N_SHADOWS), [s, s ^ 1])


def lira_loop(given, s):
    """LiRA of shadow s at the first points, two densities a point."""
    margin, rest = given["margin"], others_than(s)
    found = np.empty(N_POINTS)
    for n in range(N_POINTS):
        held, values = given["coins"][rest, n], margin[rest, n]
        logs = [
            stats.norm.logpdf(margin[s, n], one.mean(), one.std(ddof=1))
            for one in (values[held], values[~held])
        ]
        found[n] = logs[0] - logs[1]
    return found


def base_loop(given, s):
    """BASE of shadow s: scipy's logsumexp over the other shadows."""
    likelihood, rest = given["tempered"], others_than(s)
    return likelihood[s] - (logsumexp(likelihood[rest], axis=0) - np.log(len(rest)))


def rmia_loop(given, s, a=None):
    """RMIA of shadow s by the matrix of all ratios."""
    x, z, rest = given["p"], given["z"], others_than(s)
    p_x, p_z = x[rest].mean(axis=0), z[rest].mean(axis=0)
    if a is not None:
        out = ~given["coins"][rest]
        p_x = ((1 + a) * (x[rest] * out).sum(axis=0) / out.sum(axis=0) + 1 - a) / 2
        p_z = ((1 + a) * p_z + 1 - a) / 2
    return ((x[s] / p_x)[:, None] / (z[s] / p_z) >= 1).mean(axis=1)


def rmia_offline_loop(given, s):
    """The same from shadows without the candidate."""
    return rmia_loop(given, s, a=0.3)


COMPARED = {
    "lira": (Lira(variance="own"), lira_loop),
    "base": (ATTACKS["base"], base_loop),
    "rmia": (ATTACKS["rmia"], rmia_loop),
    "rmia_offline, a fixed": (RmiaOffline(a=0.3), rmia_offline_loop),
    "rmia_offline, a tuned": (RmiaOffline(), None),
    "lira_offline": (ATTACKS["lira_offline"], None),
    "bavaria": (ATTACKS["bavaria"], None),
}


def timed(run):
    """CPU seconds of one call, which other processes disturb least, and what it gives."""
    started = time.process_time()
    found = run()
    return time.process_time() - started, found


def main() -> None:
    """Print CPU milliseconds for all targets, and the ratio, per attack."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--candidates", type=int, default=10_000)
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    world = model_world(options.candidates)
    given = prepared(world)
    with one_thread():
        for name, (attack, loop) in COMPARED.items():
            ours, theirs = [], []
            for _ in range(options.repeats):
                seconds, evidence = timed(lambda a=attack: a.evidence(*world, streams=None))
                ours.append(seconds)
                for s in range(N_LOOPED) if loop else ():
                    seconds, expected = timed(lambda f=loop, s=s: f(given, s))
                    scale = options.candidates / len(expected)
                    np.testing.assert_allclose(
                        evidence[s, : len(expected)], expected, rtol=1e-3, atol=2e-3
                    )
                    theirs.append(seconds * scale * N_SHADOWS)
            line = f"{name:24s} {1e3 * statistics.median(ours):8.0f} ms"
            if theirs:
                ratio = statistics.median(theirs) / statistics.median(ours)
                line += f"   usual way {statistics.median(theirs):8.1f} s   ratio {ratio:7.0f}"
            print(line, flush=True)


if __name__ == "__main__":
    main()
