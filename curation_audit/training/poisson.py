"""Poisson sampling: in every step each unit joins by a coin of its own, of probability q.

Amplification by sampling is proved for exactly this, and not for shuffled batches of one size
(Annamalai et al., NDSS 2026). A row of independent coins is drawn by the gaps between successes,
which are geometric, so that the cost is that of the batches and not of the units.
"""

from collections.abc import Iterator, Sequence
from typing import Protocol

import numpy as np

from curation_audit.types import Floats, Inclusion, Indices, Mask

# Draws that one shadow makes in a block of steps, about. Fixed, as a shadow's stream must not
# depend on what is trained beside it.
DRAWS_PER_BLOCK = 1 << 14


class UniformSource(Protocol):
    """Anything that draws uniform numbers; a numpy generator does."""

    def random(self, size: tuple[int, ...]) -> Floats:
        """Float64 in [0, 1), of that shape."""
        ...


def successes(n_trials: int, rate: float, source: UniformSource) -> Indices:
    """Where ``n_trials`` independent coins of probability ``rate`` < 1 show heads, ascending.

    A gap exceeds k failures with probability ``(1 - rate)^k``: it is the logarithm of a uniform
    number to the base ``1 - rate``, rounded down. Exact to the 2^-53 of the uniform numbers.
    """
    expected = rate * n_trials
    n_gaps = int(expected + 6 * np.sqrt(expected) + 16)
    parts: list[Indices] = []
    last = -1
    while last < n_trials:
        failures = np.log1p(-source.random((n_gaps,))) / np.log1p(-rate)
        # a gap beyond the end is as good as any other, and sums of capped gaps cannot overflow
        gaps = np.minimum(failures, n_trials).astype(np.int64) + 1
        parts.append(last + np.cumsum(gaps))
        last = int(parts[-1][-1])
    found = np.concatenate(parts)
    return found[: np.searchsorted(found, n_trials)]


def poisson_batches(
    held: Inclusion, rate: float, steps: int, sources: Sequence[UniformSource]
) -> Iterator[tuple[Indices, Mask]]:
    """The batches of S shadows, step by step: units int64 (S, b) and which of them count.

    ``held`` is bool (S, N). A coin is thrown for every unit, held or not, so that the others'
    coins stay as they are where one unit is taken out. ``b`` is the largest batch of the step
    (0 where nobody joined); smaller ones are padded at the end with unit 0, which does not count.
    """
    n_units = held.shape[1]
    block = max(1, min(steps, int(DRAWS_PER_BLOCK / max(1.0, rate * n_units))))
    for start in range(0, steps, block):
        yield from _block(held, rate, min(block, steps - start), sources)


def _block(
    held: Inclusion, rate: float, n_steps: int, sources: Sequence[UniformSource]
) -> Iterator[tuple[Indices, Mask]]:
    """Some steps' batches, as ``poisson_batches`` has them."""
    n_shadows, n_units = held.shape
    drawn = []
    for s, source in zip(range(n_shadows), sources, strict=True):
        joined = successes(n_steps * n_units, rate, source)
        joined = joined[held[s, joined % n_units]]
        drawn.append(s * n_steps * n_units + joined)
    places = np.concatenate(drawn)
    cell = places // n_units  # shadow and step
    counts = np.bincount(cell, minlength=n_shadows * n_steps)
    rank = np.arange(len(places)) - np.repeat(np.cumsum(counts) - counts, counts)
    by_step = counts.reshape(n_shadows, n_steps)
    units = np.zeros((n_shadows * n_steps, by_step.max(initial=0)), np.int64)
    units[cell, rank] = places % n_units
    units = units.reshape(n_shadows, n_steps, -1)
    for step in range(n_steps):
        size = by_step[:, step].max(initial=0)
        yield units[:, step, :size], np.arange(size) < by_step[:, step, None]
