"""Offline RMIA: shadows without the candidate only."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from curation_audit import checks
from curation_audit.attacks.base import OtherPairs, in_first
from curation_audit.attacks.moments import sums_without_own
from curation_audit.attacks.population import (
    Form,
    compared,
    informed,
    log_ratios,
    mean_likelihood,
    mean_likelihood_out,
    population_of,
)
from curation_audit.attacks.signals import TINY
from curation_audit.observations import Knowledge, Observation, Stage
from curation_audit.streams import ShadowStreams
from curation_audit.types import Evidence, Floats, Inclusion, Indices, Mask

GRID = np.linspace(0, 1, 11)
WITHOUT_STAND_INS = 0.3
MOST_VALUES, FEWEST_CANDIDATES = 2**18, 32


@dataclass(frozen=True, slots=True, kw_only=True)
class RmiaOffline:
    """RMIA with ``P(x) = ((1 + a) P_out(x) + (1 - a)) / 2``, P_out from shadows without x.

    ``a`` is fixed, or tuned on the other pairs' shadows where it is ``None``; see ``tuned``.
    ``gamma``, ``form`` and the population as for ``Rmia``.
    """

    name: ClassVar[str] = "rmia_offline"
    title: ClassVar[str] = "RMIA (offline) at the candidate"
    stage: ClassVar[Stage] = "model"
    needs: ClassVar[frozenset[str]] = frozenset(
        {"algorithm", "candidates", "confidences", "labels", "pool", "queries at the candidates"}
    )
    source: ClassVar[str] = "Zarifzadeh et al. 2024, arXiv:2312.03262"
    cost: ClassVar[str] = "S (N + Q) log Q, and 11 sorts of 2^19 values to tune"

    a: float | None = None
    gamma: float = 1.0
    form: Form = "share"

    def __post_init__(self) -> None:
        """Check the settings."""
        checks.positive(gamma=self.gamma)
        if self.a is not None and not 0 <= self.a <= 1:
            raise ValueError(f"a must be in [0, 1], got {self.a}.")

    def evidence(
        self,
        observation: Observation,
        inclusion: Inclusion,
        knowledge: Knowledge,
        *,
        streams: ShadowStreams,
    ) -> Evidence:
        """Float64 (S, N)."""
        others = OtherPairs.of(knowledge, inclusion)
        population = population_of(observation, knowledge)
        sorted_in_first = in_first(population.candidates, inclusion)
        expected = mean_likelihood_out(sorted_in_first[:, 1], others)
        a = self._settings(sorted_in_first, inclusion, others)[:, None]
        expected = mixed(expected, a)
        ratios, rows = log_ratios(population.candidates, expected), None
        if population.rows is not None:
            expected = mixed(mean_likelihood(population.rows, others), a)
            rows = log_ratios(population.rows, expected)
        if self.form == "share":
            return compared(ratios, rows, self.gamma)
        return informed(ratios, rows, expected)

    def _settings(self, pairs: Floats, inclusion: Inclusion, others: OtherPairs) -> Floats:
        """The ``a`` of every pair, (P,)."""
        if self.a is not None:
            return np.full(len(pairs), self.a)
        return tuned(pairs[:, 0], pairs[:, 1], inclusion, others)


def mixed(out: Floats, a: Floats | float) -> Floats:
    """``((1 + a) out + (1 - a)) / 2``."""
    expected: Floats = 0.5 * ((1 + a) * out + (1 - a))
    return expected


def tuned(members: Floats, outsiders: Floats, inclusion: Inclusion, others: OtherPairs) -> Floats:
    """For each pair the ``a`` of a grid that serves best with its other pairs as targets, (P,).

    ``members``, ``outsiders`` (P, N) are the log likelihoods with the candidate in, and out. A
    stand-in target's P_out comes from the pairs that are neither its own nor the tested one. What
    is compared is the mean AUC within a target, on which the population has no bearing, for some
    candidates at even steps of P_out; the more targets, the fewer.
    """
    n_pairs, counts = len(members), others.counts
    if counts.min() < 2:
        return np.full(n_pairs, WITHOUT_STAND_INS)
    sums = sums_without_own(np.exp(outsiders), others)
    chosen = _even_steps(sums, MOST_VALUES // n_pairs**2)  # (tested, c)
    inside, outside = members[:, chosen], outsiders[:, chosen]  # (target, tested, c)
    first = inclusion[0::2][:, chosen]
    rest = np.take_along_axis(sums, chosen, axis=1) - np.exp(outside)
    rest = np.maximum(rest, TINY) / (counts - 1)[:, None]
    targets = np.stack([np.where(first, inside, outside), np.where(first, outside, inside)])
    held = np.stack([first, ~first])
    weight = others.known[:, None] & ~np.eye(n_pairs, dtype=bool)
    areas = [_mean_area(targets - np.log(mixed(rest, a)), held, weight) for a in GRID]
    best: Floats = GRID[np.argmax(np.round(areas, 12), axis=0)]
    return best


def _even_steps(values: Floats, n_steps: int) -> Indices:
    """Columns at even steps of the ranks of values (P, N), (P, at most n_steps)."""
    n_columns = values.shape[1]
    n_steps = min(n_columns, max(n_steps, FEWEST_CANDIDATES))
    steps = np.linspace(0, n_columns - 1, n_steps).astype(np.int64)
    return np.argsort(values, axis=1, kind="stable")[:, steps]


def _mean_area(ratios: Floats, held: Mask, weight: Mask) -> Floats:
    """The AUC within each target, averaged by weight (target, tested), (tested,)."""
    order = np.argsort(ratios, axis=-1)
    place = np.arange(ratios.shape[-1], dtype=np.float64)
    n_in = held.sum(axis=-1)
    n_out = held.shape[-1] - n_in
    above = np.take_along_axis(held, order, axis=-1) @ place - n_in * (n_in - 1) / 2
    area = np.where(n_in * n_out > 0, above / np.maximum(n_in * n_out, 1), 0.5).mean(axis=0)
    mean: Floats = (area * weight).sum(axis=0) / weight.sum(axis=0)
    return mean
