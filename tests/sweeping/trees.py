"""What sweep.json holds of points made up by hand: all there is, nothing, and what went wrong."""

from typing import Any

from curation_audit.sweeping.judge import conclude, knee_of
from curation_audit.sweeping.results import SweepResult
from curation_audit.sweeping.run import sweep_tree
from tests.sweeping.world import DELTA, attacked, estimate, planned, point, worth

BARE = point(
    None,
    0.913,
    None,
    stages=(attacked(0.8123, refuted=None), attacked(0.7011, "joint", refuted=None)),
    usefulness=worth(0.913, rank_correlation=estimate(1.0, 0), relevant=estimate(0.417)),
    notes=(),
    events=(),
)


def points(mechanism: str = "gaussian_mean", **changes: Any):
    stages = (attacked(0.6123), attacked(0.5377, "selection"), attacked(0.591, "joint"))
    return [
        point(1.0, 0.7021, mechanism, stages=stages, **changes),
        point(16.0, 0.8993, mechanism, stages=stages, **changes),
        point(None, 0.9047, mechanism, stages=(attacked(0.66, refuted=None),)),
    ]


def tree_of(found=None, unprotected=BARE, random=None, **changes: Any) -> dict[str, Any]:
    """What sweep.json would hold of points made up by hand."""
    of = [*points(), *points("centroid_votes")] if found is None else found
    beside = random or worth(0.4519)
    knees = tuple(
        knee_of(name, of, unprotected.usefulness, beside)
        for name in dict.fromkeys(one.mechanism for one in of)
    )
    words_ = {"adjacency": "zero_out", "unit": "patient", "delta": DELTA}
    values: dict[str, Any] = {
        "name": "ward",
        "confidence": 0.95,
        "n_claims": 4,
        "unprotected": unprotected,
        "points": tuple(of),
        "random": beside,
        "public_only": worth(0.3981),
        "knees": knees,
        "sentence": conclude(knees, of, unprotected, **words_),
        "left_out": {"noisy_top_k": "cannot protect nearest; use another"},
        "warnings": ("A warning.",),
    }
    return sweep_tree(planned(), SweepResult(**(words_ | values | changes)))


def sparse_tree() -> dict[str, Any]:
    """All that can be missing is: no test set, no noise, no attack that could run."""
    nothing = worth(None, overlap=None)
    bare = point(None, None, None, stages=(), usefulness=nothing, notes=(), events=())
    only = point(None, None, "dp_gd", stages=(), usefulness=nothing, notes=(), events=())
    return tree_of([only], bare, nothing, left_out={}, warnings=(), public_only=nothing)


def broken_tree() -> dict[str, Any]:
    refuted = (attacked(0.9, refuted=True),)
    bad = [point(1.0, 0.9, stages=refuted), point(2.0, 0.9, "noisy_top_k", ablation=True)]
    return tree_of(bad)


TREES = {"full": tree_of(), "sparse": sparse_tree(), "refuted": broken_tree()}
