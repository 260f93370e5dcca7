"""Gumbel top-k for real: noise by a key and the row's id, and what its rounding costs in delta.

The noise of a row is a function of ``AES-256(key, SHA-256(id))``, so a shard, a batch or a retry
finds the noise that the whole would have given it, and the best k of the best k of all shards are
the best k of the whole, bit for bit. Scores are rounded onto a public grid, where the range of
neighbours' differences is exact.

A float is not a real number, so the picks are those of the ideal mechanism except where the
comparison at the k-th place comes out otherwise. ``mismatch`` bounds how likely that is for any
scores at all, and ``slack`` what has to be added to delta; ``docs/safe-top-k.md`` has the proofs.

A key serves one query: equal noise under two score vectors would show their difference. Noisy
values (``Best``) stay with those who hold the key; what may leave is ``Best.picks``, a set in an
order that does not hang on the scores.
"""

import hashlib
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from curation_audit.checks import InputError, SettingError, in_open_unit, positive
from curation_audit.dp.logarithms import check_logarithms
from curation_audit.dp.top_k import check_k, finite_float64
from curation_audit.dp.top_k_budget import gumbel_rho, gumbel_scale, range_distance
from curation_audit.statistics.zcdp import rho_of_epsilon
from curation_audit.types import Floats, Indices, Scores

Words = NDArray[np.uint64]
DOMAIN: Final = b"curation-audit keyed top-k\0"
UNIT: Final = 2.0**-53
"""The relative error of one rounding in float64."""
OF_NOISE: Final = 512
"""Roundings, in units, of noise and of its sum with a score: 457 by the proof, which grants each
logarithm of numpy an error of 4 units (two in the last place)."""
OF_SCORE: Final = 4
"""The same for each unit of the score over the scale: 2 by the proof."""
LOG2_RARE: Final = 71
"""Of a row's 2^128 words a share of 2^-71 lies so near an end that its grid shows."""
STEPS: Final = 10
"""The grid of the scores is 2^10 times finer than their sensitivity, or finer by half."""
FOR_SLACK: Final = 0.01
"""The share of delta that is kept for what floats do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Best:
    """The best rows of some shards: secret, as ``values`` tell of scores.

    ``ids`` of rows, ``order`` uint64 (n, 2) by a public hash of the id, ``values`` float64 (n,):
    scores over the noise's scale, and Gumbel noise of scale 1. Best first.
    """

    ids: tuple[str, ...]
    order: Words
    values: Floats

    def picks(self) -> tuple[str, ...]:
        """The ids in the order of their hash, which tells nothing of scores."""
        by_hash = np.lexsort((self.order[:, 1], self.order[:, 0]))
        return tuple(self.ids[i] for i in by_hash.tolist())


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyedTopK:
    """The public constants of one query.

    Args:
        k: picks.
        delta_inf: how far one unit moves a score *as computed*, its own rounding included.
        monotone: see ``range_distance``.
        bound: scores are cut off at plus and minus this public number, which moves no two of them
            further apart.
        rate: log-odds per step of the grid: ``step / b`` with b the scale of the noise.
    """

    k: int
    delta_inf: float
    monotone: bool
    bound: float
    rate: float

    def __post_init__(self) -> None:
        """Check the numbers."""
        positive(k=self.k, delta_inf=self.delta_inf, bound=self.bound, rate=self.rate)
        if self.bound / self.step > 2.0**52:
            raise ValueError("bound is too large beside delta_inf: whole numbers run out.")

    @classmethod
    def within(
        cls,
        *,
        epsilon: float,
        delta: float,
        k: int,
        n_pool: int,
        delta_inf: float,
        monotone: bool,
        bound: float,
    ) -> "KeyedTopK":
        """The least noise that keeps the picks within (epsilon, delta), slack included.

        Raises:
            SettingError: where floats are too coarse for so many picks, or so wide a range.
        """
        positive(epsilon=epsilon)
        in_open_unit(delta=delta)
        check_k(k, n_pool)
        moved = _rounded_range(delta_inf, monotone=monotone)
        rho = rho_of_epsilon(epsilon, delta * (1 - FOR_SLACK))
        made = cls(
            k=k,
            delta_inf=delta_inf,
            monotone=monotone,
            bound=bound,
            rate=grid_of(delta_inf) / gumbel_scale(k, moved, rho) * (1 - 1e-12),
        )
        if made.slack(epsilon, n_pool) > FOR_SLACK * delta:
            raise SettingError(
                "curate.select.k",
                f"found {k}: rounding alone would take {made.slack(epsilon, n_pool):.3g} of delta",
                "pick fewer rows, or state a larger delta or a smaller epsilon",
            )
        return made

    @property
    def step(self) -> float:
        """The grid of the scores: a public power of two."""
        return grid_of(self.delta_inf)

    @property
    def score_range(self) -> float:
        """R of the rounded scores: delta_inf is rounded up to whole steps, and then exact."""
        return _rounded_range(self.delta_inf, monotone=self.monotone)

    @property
    def scale(self) -> float:
        """The noise's b, in the unit of the scores."""
        return self.step / self.rate

    @property
    def rho(self) -> float:
        """``k R^2 / (8 b^2)``, of the ideal mechanism."""
        return gumbel_rho(self.k, self.score_range, self.scale)

    def mismatch(self, n_pool: int) -> float:
        """The largest chance that floats, and the grid of the noise, pick another set.

        For any scores; with AES as a random permutation, which the last term tells from a function.
        """
        error = UNIT * (OF_NOISE + OF_SCORE * (self.bound / self.scale + self.rate))
        near = 0.0 if self.k == n_pool else self.k * math.expm1(2 * error)
        return min(1.0, near + n_pool * 2.0**-LOG2_RARE + n_pool**2 * 2.0**-129)

    def slack(self, epsilon: float, n_pool: int) -> float:
        """``(1 + e^epsilon) mismatch``: what is added to the ideal mechanism's delta."""
        return (1 + math.exp(epsilon)) * self.mismatch(n_pool)

    def best(self, scores: Scores, ids: Sequence[str], key: bytes) -> Best:
        """The best k rows of a shard, or all of fewer: scores (rows,), ids of the rows.

        Raises:
            InputError: for scores that are not finite, an id that stands on several rows, or
                logarithms that are not as exact as the proof assumes.
        """
        check_logarithms()
        values = self._steps(scores) * self.rate
        if len(values) != len(ids):
            raise ValueError(f"found {len(values)} scores and {len(ids)} ids.")
        hashed = hashed_ids(ids)
        values -= log_exponential(keyed_words(hashed, key))
        return _best(self.k, ids, hashed, values)

    def merged(self, parts: Sequence[Best]) -> Best:
        """The best k rows of all shards.

        Raises:
            InputError: for an id that stands in several shards.
        """
        if not parts:
            raise ValueError("there is nothing to merge.")
        ids = [one for part in parts for one in part.ids]
        order = np.concatenate([part.order for part in parts])
        return _best(self.k, ids, order, np.concatenate([part.values for part in parts]))

    def _steps(self, scores: Scores) -> Floats:
        """Whole steps, (rows,) float64: cut off, then rounded down.

        Rounding down keeps order and commutes with whole steps, so a score that moves by at most
        delta_inf moves by at most delta_inf in whole steps, rounded up.
        """
        try:
            clean = finite_float64(scores)
        except ValueError as error:
            raise InputError("scores", str(error).removeprefix("scores: ").rstrip(".")) from None
        steps: Floats = np.floor(np.clip(clean, -self.bound, self.bound) / self.step)
        return steps


def grid_of(delta_inf: float) -> float:
    """The public grid for scores of this sensitivity."""
    positive(delta_inf=delta_inf)
    return 2.0 ** (math.floor(math.log2(delta_inf)) - STEPS)


def _rounded_range(delta_inf: float, *, monotone: bool) -> float:
    step = grid_of(delta_inf)
    return range_distance(math.ceil(delta_inf / step) * step, monotone=monotone)


def hashed_ids(ids: Iterable[str]) -> Words:
    """The first 128 bits of SHA-256 of every id, as two words, (rows, 2); no key is in it."""
    start = hashlib.sha256(DOMAIN)
    digests = bytearray()
    for one in ids:
        each = start.copy()
        each.update(one.encode())
        digests += each.digest()[:16]
    return np.frombuffer(bytes(digests), dtype=">u8").astype(np.uint64).reshape(-1, 2)


def keyed_words(hashed: Words, key: bytes) -> Words:
    """AES-256 of every hash, (rows, 2) -> (rows, 2); blocks apart, as each is an input of its own.

    Raises:
        ValueError: for a key of another length.
    """
    from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

    if len(key) != 32:
        raise ValueError("expected a key of 32 bytes.")
    # a pseudorandom function of distinct blocks is what is needed; nothing is encrypted
    cipher = Cipher(algorithms.AES256(key), modes.ECB()).encryptor()  # noqa: S305
    words = cipher.update(hashed.astype(">u8").tobytes()) + cipher.finalize()
    return np.frombuffer(words, dtype=">u8").astype(np.uint64).reshape(-1, 2)


def log_exponential(words: Words) -> Floats:
    """The logarithm of a standard exponential number by 128 bits w, (rows, 2) -> float64 (rows,).

    ``E = -log(1 - (w + 1/2) / 2^128)``, from the nearer end of the unit interval, so that its
    *relative* error is a few units everywhere: Gumbel noise reaches 89, where 53 bits end at 37.
    """
    low_half = words[:, 0] >> np.uint64(63) == 0
    near = np.where(low_half[:, None], words, ~words)
    share = near[:, 0] * 2.0**-64 + (near[:, 1].astype(np.float64) + 0.5) * 2.0**-128
    exponential = np.where(low_half, -np.log1p(-share), -np.log(share))
    logarithm: Floats = np.log(exponential)
    return logarithm


def _best(k: int, ids: Sequence[str], order: Words, values: Floats) -> Best:
    """The best k, equal values by their hash."""
    rows = _first(k, values)
    ranked = rows[np.lexsort((order[rows, 1], order[rows, 0], -values[rows]))]
    _check_distinct(order, ids)
    kept = ranked[:k]
    return Best(ids=tuple(ids[i] for i in kept.tolist()), order=order[kept], values=values[kept])


def _first(k: int, values: Floats) -> Indices:
    """Rows that may be among the best k: all that reach the k-th value."""
    if k >= len(values):
        return np.arange(len(values))
    least = np.partition(values, len(values) - k)[len(values) - k]
    return np.flatnonzero(values >= least)


def _check_distinct(order: Words, ids: Sequence[str]) -> None:
    first = np.sort(order[:, 0])
    if not (first[1:] == first[:-1]).any():  # as good as always, and a third of the time
        return
    by_hash = np.lexsort((order[:, 1], order[:, 0]))
    same = (order[by_hash[1:]] == order[by_hash[:-1]]).all(axis=1)
    if same.any():
        one = ids[int(by_hash[1:][same][0])]
        raise InputError("ids", f"found {one!r} on several rows", "give every row its own id")
