"""A report of the size that a large audit writes."""

import numpy as np

from curation_audit.attacks import ATTACKS
from curation_audit.results import to_plain
from tests.report.sample import attack, sample_report

N_CANDIDATES = 5000
GROUPS = 60
CURVE = 400  # points; an audit keeps 60


def large_report():
    """5,000 candidates at three stages: every attack there is, long curves, many groups."""
    report = sample_report()
    report["design"]["n_candidates"] = N_CANDIDATES
    report["stages"] = report["stages"][:3]
    report["bounds"] = report["bounds"][:3]
    report["claim"]["stages"] = report["claim"]["stages"][:3]
    ran = to_plain(attack("lira", 0.4))
    grid = np.geomspace(1e-6, 1, CURVE)
    ran["roc"] = {key: grid.tolist() for key in ("fpr", "tpr", "low", "high")}
    for stage in report["stages"]:
        name = stage["headline"]["attack"]
        others = [one for one, of in ATTACKS.items() if of.stage == stage["stage"]]
        stage["attacks"] = [ran | {"attack": one} for one in dict.fromkeys([name, *others])]
        stage["headline"]["records"]["n_candidates"] = N_CANDIDATES
        groups = report["stages"][0]["headline"]["subgroups"]
        stage["headline"]["subgroups"] = groups | {
            "slices": [groups["slices"][0] | {"group": f"group {i}"} for i in range(GROUPS)]
        }
    line = report["controls"]["results"][0]
    report["controls"]["results"] = [line | {"attack": name} for name in [*ATTACKS] * 2]
    report["coverage"] = [report["coverage"][0] | {"attack": name} for name in ATTACKS]
    return report
