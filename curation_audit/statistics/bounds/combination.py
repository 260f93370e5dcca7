"""Several bounds on one epsilon, dependent in any way, made into one.

Never multiply p-values or e-values of cross-fitted rows: they share their training shadows.
"""

from collections.abc import Sequence

from curation_audit import checks


def bonferroni_confidence(confidence: float, n_bounds: int) -> float:
    """The confidence at which each of K bounds is taken, so that the largest holds: alpha / K.

    All bound one epsilon, so Holm's steps would add nothing.
    """
    return rueger_confidence(confidence, n_bounds, rank=1)


def rueger_confidence(confidence: float, n_bounds: int, rank: int) -> float:
    """The confidence at which each of K bounds is taken, so that the rank-th largest holds.

    ``1 - rank * alpha / K`` (Rueger 1978, "Das maximale Signifikanzniveau des Tests: Lehne H0 ab,
    wenn k unter n gegebenen Tests zur Ablehnung fuehren"): the expected number of bounds above the
    truth is then at most ``rank * alpha``, so ``rank`` or more are with probability at most alpha.

    Args:
        confidence: of the combined bound, in (0, 1).
        n_bounds: K.
        rank: in [1, K], fixed beforehand; 1 is the maximum (Bonferroni).

    >>> round(rueger_confidence(0.95, 5, rank=3), 4)
    0.97
    """
    checks.in_open_unit(confidence=confidence)
    if not 1 <= rank <= n_bounds:
        raise ValueError(f"rank must be in [1, {n_bounds}], got {rank}.")
    return 1 - rank * (1 - confidence) / n_bounds


def rueger_lower(bounds: Sequence[float], rank: int) -> float:
    """The rank-th largest of K lower bounds, each taken at ``rueger_confidence``.

    >>> rueger_lower([0.4, 2.0, 1.1], rank=2)
    1.1
    """
    if not 1 <= rank <= len(bounds):
        raise ValueError(f"rank must be in [1, {len(bounds)}], got {rank}.")
    return float(sorted(bounds, reverse=True)[rank - 1])
