"""What can be seen before any attack: room for every coin, who stands out, who is double."""

from dataclasses import dataclass

import numpy as np

from curation_audit.analytic.affine import AffineScores, Linear
from curation_audit.pipelines.base import CurationData, Scorer
from curation_audit.statistics.leverage import leverages, mu_of_auditor
from curation_audit.types import Floats, Indices, Labels

READABLE = 0.9
"""Leverage above which a coin can all but be read off the scores: AUC above .9999."""
SHOWN = 5
TWIN_DIGITS = 7
MOST_NUMBERS = 4096
"""Of a scorer, whose directions take the third power of that: a minute."""


@dataclass(frozen=True, slots=True)
class RedFlags:
    """Along how many directions N candidates move scores, who moves them most, and who is double.

    ``mu`` (N,) is what the auditor is predicted to tell; ``exposed`` int64 (up to ``SHOWN``,) are
    the candidates with the most, falling. ``n_twins`` candidates move scores just as
    another one does: neither can be told from the other, so that the audit understates both.
    """

    n_directions: int
    mu: Floats
    exposed: Indices
    n_readable: int
    n_twins: int

    def lines(self) -> list[str]:
        """As sentences for a report; they name no candidate."""
        n = len(self.mu)
        said = []
        if self.n_readable == n:
            said.append(
                f"Scores move along {self.n_directions} directions for {n} candidates: every coin "
                "is recoverable from exact scores."
            )
        elif self.n_readable:
            said.append(
                f"{self.n_readable} of {n} candidates move scores along a direction of their own: "
                "their coins can all but be read off exact scores."
            )
        if self.n_twins:
            said.append(
                f"{self.n_twins} of {n} candidates move scores just as another one does: neither "
                "can be told from the other, and the numbers understate what is told of both."
            )
        return said


def red_flag_warnings(scorer: Scorer, data: CurationData) -> list[str]:
    """Those of a curation as sentences; none where its scores are not linear."""
    if scorer.family != "linear":
        return []
    n_numbers = scorer.embed(data.pool.features[:1], _first(data.pool.labels)).shape[1]
    if n_numbers > MOST_NUMBERS:
        return [
            f"Red flags were not looked for: the scorer has {n_numbers:,} numbers, more than "
            f"{MOST_NUMBERS:,}."
        ]
    linear = Linear.of(scorer, data)
    return [] if linear is None else red_flags(linear.affine()).lines()


def _first(labels: Labels | None) -> Labels | None:
    return None if labels is None else labels[:1]


def red_flags(affine: AffineScores) -> RedFlags:
    """Those of a linear scorer; no shadow is fitted and no coin tossed."""
    leverage = leverages(affine.shifts, affine.noise)
    mu = mu_of_auditor(leverage)
    # what a mechanism adds hides directions, what first order leaves does not
    told = leverages(affine.shifts, affine.added if affine.added.any() else None)
    # means leave one number open, how many rows are in: 1 / N of every leverage
    least = min(READABLE, 1 - 1.001 / len(mu))
    return RedFlags(
        n_directions=round(float(told.sum())),
        mu=mu,
        exposed=np.argsort(-leverage, kind="stable")[:SHOWN],
        n_readable=int((told > least).sum()),
        n_twins=n_twins(affine.shifts),
    )


def n_twins(shifts: Floats) -> int:
    """How many candidates have the shift of another one, up to rounding, (N, r)."""
    scale = np.abs(shifts).max(initial=0)
    rounded = np.round(shifts / (scale if scale > 0 else 1), TWIN_DIGITS) + 0.0
    _, which, counts = np.unique(rounded, axis=0, return_inverse=True, return_counts=True)
    return int((counts[which.ravel()] > 1).sum())
