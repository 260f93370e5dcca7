"""Training health as its file holds it, full of words and figures that a search finds."""

import json

from curation_audit.report.health import HEALTH_VERSION, KNOWS, PLACE, PRIVATE, pipeline_fingerprint

FOUND = "kanarienvogel"
IDS = [f"feedface{i:08x}" for i in range(40)]


def sample_health(report):
    """Of the pipeline of a report."""
    return {
        "health_version": HEALTH_VERSION,
        "title": "training health",
        "private": True,
        "note": PRIVATE,
        "pipeline": pipeline_fingerprint(report),
        "tool": "curation-audit 0.1.0",
        "label": "prediction, checked on exact shadows",
        "threat_model": KNOWS,
        "linearity_corr": 0.91827,
        "n_exact_shadows": 32,
        "failure": None,
        "spectra": [
            spectrum("shifts of scores", 7.31),
            spectrum("gradients", None),
            spectrum("gradients, clipped", None),
        ],
        "vulnerability": [
            record(one, leverage=0.83471 / (i + 1)) for i, one in enumerate(IDS)
        ],
        "stability": [
            stability(n, 0.40817 + 0.1 * i) for i, n in enumerate((5, 10, 20))
        ],
        "edges_of_stability": [
            edge("scorer", 2.71828, 2.0),
            edge("model", 3.14159, 38.0),
        ],
        "notes": [f"{FOUND} is a note"],
    }  # fmt: skip


def sparse_health(report):
    """Where next to nothing could be measured."""
    nothing = {"label": None, "linearity_corr": None, "n_exact_shadows": None}
    empty = {"spectra": [], "vulnerability": None, "stability": [], "edges_of_stability": []}
    return sample_health(report) | nothing | empty | {"notes": []}


def spectrum(of, dimension):
    return {
        "of": of,
        "n_records": 40,
        "numerical_rank": 12,
        "hard_rank": 4.4444,
        "soft_rank": 6.6666,
        "stable_rank": 2.2222,
        "effective_dimension": dimension,
        "dimensions": [{"at": "the largest eigenvalue", "tau": 99.125, "value": 1.7654}],
        "eigenvalues": [99.125 / 3**i for i in range(12)] + [0.0],
    }


def record(name, **told):
    values = {"leverage": None, "shift": 1.23456, "gradient": 2.34567, "mu": 1.5}
    return {"candidate": name, **values, "tpr_at_fpr_0.01": 0.20406, **told}


def stability(n, overlap):
    values = {"score_correlation": overlap + 0.05, "picks_overlap": overlap}
    return {"n_records": n, **values, "overlap_by_chance": 0.075}


def edge(part, bend, threshold):
    told = {"part": part, "descent": "momentum SGD", "eta_lambda_max": bend}
    limit = {"threshold": threshold, "gradient_norm": 0.01234}
    return {**told, **limit, "near_threshold": bend > 0.9 * threshold}


def with_health(folder, tree):
    """A run folder that holds it."""
    (folder / PLACE).parent.mkdir(exist_ok=True)
    text = tree if isinstance(tree, str) else json.dumps(tree)
    (folder / PLACE).write_text(text)
    return folder
