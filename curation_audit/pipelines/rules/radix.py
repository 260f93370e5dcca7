"""Exact cuts of a pool that no machine holds: a few passes over shards, with counts that add up.

An order key (``cut.order_keys``) is read as digits of 16 bits. A pass counts the next digit of the
keys that begin with the digits already known: 65,536 int64, 512 KB, whatever the pool's size. The
counts of shards add up in any order, and their sum tells the next digit of the key at the cut:
four passes for float64, two for float32. One more pass over the tied rows tells which of them stay.
"""

from dataclasses import dataclass
from typing import Any, Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from curation_audit.checks import SettingError
from curation_audit.pipelines.rules.cut import Keys, tie_bound
from curation_audit.types import Indices

AnyKeys: TypeAlias = NDArray[np.unsignedinteger[Any]]
DIGIT: Final = 16
N_DIGITS: Final = 1 << DIGIT
ROWS_PER_BLOCK: Final = 1 << 17  # what a step needs beside the keys stays in the cache


def order_keys32(scores: Any) -> NDArray[np.uint32]:
    """As ``order_keys`` with half the digits, for float32 (or float16) scores, (m,) -> (m,).

    Raises:
        SettingError: for other numbers, which float32 would round.
    """
    values = np.asarray(scores)
    if values.ndim != 1 or values.dtype not in (np.float16, np.float32):
        problem = f"found {values.dtype} {values.shape}"
        raise SettingError("scores", problem, "expected float32 (m,) for keys of 32 bits")
    sign = np.uint32(1 << 31)
    bits = (values.astype(np.float32) + np.float32(0)).view(np.uint32)
    keys: NDArray[np.uint32] = np.where(bits & sign, ~bits, bits | sign)
    keys[np.isnan(values)] = 0
    return keys


def score_of(key: int, bits: int) -> float:
    """The score that has an order key of 32 or 64 bits: NaN for 0."""
    if key == 0:
        return float("nan")
    sign = 1 << (bits - 1)
    raw = key ^ sign if key & sign else key ^ ((1 << bits) - 1)
    stored = np.array([raw], dtype=f"u{bits // 8}")
    return float(stored.view(f"f{bits // 8}")[0])


@dataclass(frozen=True, slots=True)
class Prefix:
    """The first ``depth`` digits of keys of ``bits`` bits, as one number."""

    bits: int
    depth: int = 0
    value: int = 0

    @property
    def whole(self) -> bool:
        """Whether this is a key, with no digit left to find."""
        return self.depth * DIGIT == self.bits

    def then(self, digit: int) -> "Prefix":
        """One digit more."""
        return Prefix(self.bits, self.depth + 1, (self.value << DIGIT) | digit)

    def rows(self, keys: AnyKeys) -> Indices:
        """Which keys begin with these digits, ascending."""
        if self.depth == 0:
            return np.arange(len(keys))
        shift = keys.dtype.type(self.bits - self.depth * DIGIT)
        return np.flatnonzero(keys >> shift == self.value)


@dataclass(frozen=True, slots=True, eq=False)
class Histogram:
    """How many units have which next digit, of the rows whose key begins with ``prefix``.

    A unit is a row, or one of the tokens of a row. ``counts`` int64 (65536,). Histograms of shards
    add up, in any order.
    """

    prefix: Prefix
    counts: Indices

    @classmethod
    def of(cls, keys: AnyKeys, prefix: Prefix, sizes: Indices | None = None) -> "Histogram":
        """Count the rows (m,) of one shard, or the ``sizes`` int64 (m,) of these rows."""
        if prefix.whole or keys.dtype.itemsize * 8 != prefix.bits:
            raise ValueError(f"expected keys of {prefix.bits} bits and a prefix of them.")
        counts = np.zeros(N_DIGITS, dtype=np.int64)
        shift = keys.dtype.type(prefix.bits - (prefix.depth + 1) * DIGIT)
        for start in range(0, len(keys), ROWS_PER_BLOCK):
            block = keys[start : start + ROWS_PER_BLOCK]
            own = None if sizes is None else sizes[start : start + ROWS_PER_BLOCK]
            if prefix.depth:
                rows = prefix.rows(block)
                block, own = block[rows], None if own is None else own[rows]
            digits = (block >> shift).astype(np.uint16)  # the digits before it fall off
            if own is None:
                counts += np.bincount(digits, minlength=N_DIGITS)
            else:
                np.add.at(counts, digits, own)  # whole numbers: a float would lose some
        return cls(prefix, counts)

    def __add__(self, other: "Histogram") -> "Histogram":
        """That of both shards."""
        if self.prefix != other.prefix:
            raise ValueError("histograms add up only where they count the same digit.")
        return Histogram(self.prefix, self.counts + other.counts)

    def __reduce__(self) -> tuple[Any, tuple[Prefix, NDArray[np.uint16], Indices]]:
        """Travel without the digits that no row has: of 65,536 seldom more than some hundred."""
        there = np.flatnonzero(self.counts)
        return _filled, (self.prefix, there.astype(np.uint16), self.counts[there])

    @property
    def total(self) -> int:
        """All units that were counted."""
        return int(self.counts.sum())

    def narrow(self, rank: int) -> tuple[Prefix, int]:
        """One digit more of the row that holds the unit ``rank``, counted from 1 at the top.

        Also the rank of that unit among the rows with this digit.

        Raises:
            ValueError: for a rank below 1 or above the total.
        """
        if not 1 <= rank <= self.total:
            raise ValueError(f"rank must be in 1 to {self.total}, got {rank}.")
        from_top = np.cumsum(self.counts[::-1])
        place = int(np.searchsorted(from_top, rank))
        digit = N_DIGITS - 1 - place
        return self.prefix.then(digit), rank - int(from_top[place] - self.counts[digit])


def _filled(prefix: Prefix, digits: NDArray[np.uint16], counts: Indices) -> Histogram:
    every = np.zeros(N_DIGITS, dtype=np.int64)
    every[digits] = counts
    return Histogram(prefix, every)


@dataclass(frozen=True, slots=True, eq=False)
class Ties:
    """The tied rows of a shard that may stay: in the order of their hashes, and one too many.

    Rows fit while their sizes, int64, add up to at most ``budget``. Ties of shards add up, in any
    order; they never hold more than ``budget + 1`` rows that have a size.
    """

    budget: int
    hashes: Keys
    sizes: Indices

    @classmethod
    def of(cls, hashes: Keys, budget: int, sizes: Indices | None = None) -> "Ties":
        """Those of the tied rows of one shard; without ``sizes`` each has size 1."""
        own = np.ones(len(hashes), dtype=np.int64) if sizes is None else sizes
        order = np.argsort(hashes, kind="stable")
        n_fit = int(np.searchsorted(np.cumsum(own[order]), budget, side="right"))
        kept = order[: n_fit + 1]
        return cls(budget, hashes[kept], own[kept])

    def __add__(self, other: "Ties") -> "Ties":
        """That of both shards."""
        if self.budget != other.budget:
            raise ValueError("ties add up only where their budget is the same.")
        hashes = np.concatenate([self.hashes, other.hashes])
        return Ties.of(hashes, self.budget, np.concatenate([self.sizes, other.sizes]))

    def bound(self) -> int:
        """The ``tie_bound`` of the cut; see there."""
        return tie_bound(self.hashes, self.sizes, self.budget)
