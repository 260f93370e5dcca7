"""Commit to many picked rows, prove 1,000 that are in and 1,000 that are not, and check them.

python -m benchmarks.attestation [ROWS]
"""

import json
import resource
import sys
import time

import numpy as np

from curation_audit.integrity.picks import Picked, commit, new_key
from curation_audit.integrity.proofs import check_proofs, prove

ASKED = 1000


def main(n: int) -> None:
    """Time every step for ``n`` rows with scores."""
    rng = np.random.default_rng(0)
    rows = [f"row-{2 * i}" for i in range(n)]
    scores = rng.standard_normal(n).tolist()
    asked = [f"row-{2 * i}" for i in rng.integers(0, n, ASKED)]
    asked += [f"row-{2 * i + 1}" for i in rng.integers(0, n, ASKED)]
    clock = [time.perf_counter()]
    picked, key = Picked.of(rows, scores), new_key()
    clock.append(time.perf_counter())
    commitment, tree = commit(picked, key)
    clock.append(time.perf_counter())
    proofs = json.dumps(prove(asked, picked, tree, key, commitment))
    clock.append(time.perf_counter())
    answers = check_proofs(json.loads(proofs), commitment)
    clock.append(time.perf_counter())
    if not all(one.problem is None for one in answers):
        raise SystemExit("a proof does not hold")
    for name, seconds in zip(("sort", "commit", "prove", "check"), np.diff(clock), strict=True):
        print(f"{name:8} {seconds:7.2f} s")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10
    told = f"{len(answers)} answers on {n} rows, {len(proofs) / 1e6:.1f} MB of proofs"
    print(f"total    {clock[-1] - clock[0]:7.2f} s; {told}, peak {peak:.0f} MB")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000)
