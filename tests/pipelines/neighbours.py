"""Neighbouring private sets that are out to break a mechanism, and a recorder of its inputs.

The idea is dp-recorder's (Cebere et al., PETS 2026): run the pipeline on D and on D' with the
noise frozen, and look at what enters the noise, and at everything beside it.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from unittest import mock

import numpy as np
from hypothesis import strategies as st

from curation_audit.auditing.chunks import describe
from curation_audit.dp.gaussian_sum import GaussianSum
from curation_audit.pipelines.base import PrivateRows, Rows
from curation_audit.pipelines.protection.protect import Protected
from curation_audit.pipelines.rules import noisy_top
from curation_audit.results import Adjacency
from curation_audit.types import Floats
from tests.pipelines.protected import D, M, streams

ROUNDING = 1e-9
HUGE = [np.nan, np.inf, -np.inf, 1e300, -1.7e308, 1e-310, 1e30]


@dataclass(frozen=True)
class Neighbours:
    """Units of D; one of them is left out or replaced by ``other`` in D'. Rows by unit."""

    units: tuple[np.ndarray, ...]
    changed: int
    other: np.ndarray


def _rows(pool: Rows, before: list[np.ndarray], finite: bool) -> st.SearchStrategy[np.ndarray]:
    """Rows of one unit: random, of a direction, of the pool, someone's double, or no numbers."""

    def made(seed: int, kind: str, n: int, scale: float, bad: float) -> np.ndarray:
        rng = np.random.default_rng(seed)
        rows = scale * rng.standard_normal((n, D))
        if kind == "alike":
            rows = np.tile(scale * rng.standard_normal(D), (n, 1))
        if kind == "of the pool":
            rows = pool.features[rng.integers(0, len(pool), n)].astype(np.float64)
        if kind == "double" and before:
            rows = before[rng.integers(len(before))][:n].copy()
        if kind == "broken" and not finite:
            rows[rng.random(rows.shape) < 0.4] = bad
        return rows

    kinds = ["random", "alike", "of the pool", "double", "zero", "broken"]
    return st.builds(
        made,
        st.integers(0, 10**6),
        st.sampled_from(kinds),
        st.sampled_from([1, 1, 2, 12]),
        st.sampled_from([0.0, 1e-3, 1.0, 1e3]),
        st.sampled_from(HUGE),
    )


@st.composite
def neighbours(draw: Any, pool: Rows, *, finite: bool = False) -> Neighbours:
    units: list[np.ndarray] = []
    for _ in range(draw(st.integers(2, 6))):
        units.append(draw(_rows(pool, units, finite)))
    changed = draw(st.integers(0, len(units) - 1))
    return Neighbours(tuple(units), changed, draw(_rows(pool, units, finite)))


def worst_case(others: float = 0.1) -> Neighbours:
    """One patient with twelve like rows, and others in the same direction; D' has the opposite."""
    patient = np.full((12, D), 9.0)
    return Neighbours((patient, *[others * patient[:1]] * 5), 0, -patient)


def private_sets(of: Neighbours, adjacency: Adjacency) -> tuple[PrivateRows, PrivateRows]:
    """D and D' as private sets of their own; under zero-out both name the same units."""
    after = list(of.units)
    if adjacency == "replace_one":
        after[of.changed] = of.other
    if adjacency == "add_remove":
        del after[of.changed]
    return as_private(of.units), as_private(tuple(after))


def as_private(units: tuple[np.ndarray, ...]) -> PrivateRows:
    owner = np.repeat(np.arange(len(units)), [len(rows) for rows in units])
    return PrivateRows(
        ids=tuple(map(str, range(len(owner)))),
        features=np.concatenate(units),
        unit=owner,
        unit_ids=tuple(f"u{i}" for i in range(len(units))),
        owner=owner,
    )


@dataclass
class Record:
    """What one run of a pipeline showed: inputs of mechanisms, and all that is beside them."""

    constants: tuple[str, ...]
    sums: list[Floats] = field(default_factory=list)
    noise: list[Floats] = field(default_factory=list)
    noisy_scores: list[tuple[Floats, float, int]] = field(default_factory=list)


@contextmanager
def _recorded(record: Record) -> Iterator[None]:
    exact = GaussianSum.exact

    def recorded_sum(self: GaussianSum, vectors: Floats, held: np.ndarray) -> Floats:
        record.sums.append(exact(self, vectors, held))
        return record.sums[-1]

    def spied(mechanism: Callable[..., Any]) -> Callable[..., Any]:
        def at_once(scores: Floats, scale: float, generators: Any) -> Any:
            noisy = mechanism(scores, scale, generators)
            record.noisy_scores.append((scores[0].astype(np.float64), scale, 0))
            record.noise.append((noisy - scores)[0])
            return noisy

        return at_once

    def spied_rounds(mechanism: Callable[..., Any]) -> Callable[..., Any]:
        def in_rounds(scores: Floats, k: int, scale: float, generator: Any) -> Any:
            record.noisy_scores.append((scores.astype(np.float64), scale, k))
            return mechanism(scores, k, scale, generator)

        return in_rounds

    once = {name: spied(one) for name, one in noisy_top.AT_ONCE.items()}
    rounds = {name: spied_rounds(one) for name, one in noisy_top.IN_ROUNDS.items()}
    with (
        mock.patch.object(GaussianSum, "exact", recorded_sum),
        mock.patch.dict(noisy_top.AT_ONCE, once),
        mock.patch.dict(noisy_top.IN_ROUNDS, rounds),
    ):
        yield


def replay(of: Protected, private: PrivateRows, pool: Rows, held: np.ndarray) -> Record:
    """Run the real scorer and the real rule for one shadow whose noise is always the same."""
    constants = (
        str(describe(of.scorer)),
        str(describe(of.rule)),
        repr(of.claim),
        repr(of.protection),
    )
    record, mine = Record(constants), streams([0])
    with _recorded(record):
        scores = of.scorer.fit(private, held[None], pool, streams=mine).score(pool.features)
        of.rule.select(scores, np.arange(M), mine)
    return record
