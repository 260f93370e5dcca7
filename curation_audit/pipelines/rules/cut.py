"""From a column of scores to one public cut, which every worker of a job applies alone.

A cut is a score and, among the rows with exactly that score, a bound on a keyed hash of the row's
id: which rows it keeps depends neither on their order nor on their shards.
"""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from curation_audit.checks import SettingError
from curation_audit.pipelines.rules.threshold import Threshold
from curation_audit.pipelines.rules.top import TopFraction, TopK
from curation_audit.types import Indices, Mask

Keys = NDArray[np.uint64]
SIGN: Final = np.uint64(1 << 63)
LARGEST: Final = (1 << 64) - 1


@dataclass(frozen=True, slots=True)
class Cut:
    """Keeps rows with a score above ``score``, and some of those with just that score.

    These are the rows whose hash of the id under ``salt`` is at most ``tie_bound``. Rows without a
    score (NaN) come last: they are kept only where ``score`` is NaN itself.
    """

    score: float
    tie_bound: int
    salt: str = "0"

    def mask(self, scores: Any, ids: Any = None) -> Mask:
        """Which rows are kept, (rows,) -> bool (rows,).

        ``ids`` are those that the cut was made with, by default names of the rows by number.
        """
        keys, at = order_keys(scores), _key(self.score)
        kept: Mask = keys > at
        tied = np.flatnonzero(keys == at)
        if len(tied):
            kept[tied] = tie_hashes(_ids_at(ids, tied, len(keys)), self.salt) <= self.tie_bound
        return kept

    def indices(self, scores: Any, ids: Any = None) -> Indices:
        """The kept rows in the order of the table, int64."""
        return np.flatnonzero(self.mask(scores, ids))


def select(scores: Any, rule: Any, ids: Any = None, *, salt: str = "0") -> Cut:
    """The cut by which a rule keeps rows.

    Args:
        scores: of all rows of the pool, float32 or float64 (m,).
        rule: ``TopK``, ``TopFraction`` or ``Threshold``; its numbers are public.
        ids: of the rows; equal scores are told apart by them, by default by the row's number.
        salt: a public word that shuffles equal scores.

    Raises:
        SettingError: for more rows than there are, or a rule that is no cut of one column.
    """
    keys = order_keys(scores)
    if isinstance(rule, Threshold):
        return Cut(rule.minimum, LARGEST, salt)
    if not isinstance(rule, TopK | TopFraction):
        hint = "expected TopK, TopFraction or Threshold"
        raise SettingError("rule", f"found {type(rule).__name__}", hint)
    k = rule.size(len(keys))
    if k == len(keys):
        return Cut(float("nan"), LARGEST, salt)
    at = np.partition(keys, len(keys) - k)[len(keys) - k]
    tied = np.flatnonzero(keys == at)
    places = k - int((keys > at).sum())
    bound = LARGEST
    if places < len(tied):
        hashes = tie_hashes(_ids_at(ids, tied, len(keys)), salt)
        bound = int(np.partition(hashes, places - 1)[places - 1])
        if int((hashes <= bound).sum()) > places:
            raise SettingError("ids", "found one id on several rows", "give every row its own id")
    return Cut(float(np.asarray(scores, dtype=np.float64)[tied[0]]), bound, salt)


def order_keys(scores: Any) -> Keys:
    """Unsigned integers in the order of the scores: NaN lowest, -0.0 as 0.0, (m,) -> (m,)."""
    values = np.asarray(scores)
    if values.ndim != 1 or values.dtype.kind not in "iuf":
        problem = f"found {values.dtype} {values.shape}"
        raise SettingError("scores", problem, "expected numbers (m,)")
    bits = (values.astype(np.float64) + 0.0).view(np.uint64)
    keys: Keys = np.where(bits & SIGN, ~bits, bits | SIGN)
    keys[np.isnan(values)] = 0
    return keys


def tie_hashes(ids: Iterable[Any], salt: str) -> Keys:
    """A 64-bit hash of every id under a public salt, uint64."""
    key = hashlib.sha256(f"ties {salt}".encode()).digest()
    digests = b"".join(
        hashlib.blake2b(_text(one).encode(), digest_size=8, key=key).digest() for one in ids
    )
    return np.frombuffer(digests, dtype=">u8").astype(np.uint64)


def _text(one: Any) -> str:
    """An id as text: whole floats as integers, as some tools make floats of ids."""
    if hasattr(one, "as_py"):
        one = one.as_py()
    if one is None or one != one:
        raise SettingError("ids", "an id is missing on a row at the cut", "give every row an id")
    if isinstance(one, float) and one.is_integer():
        one = int(one)
    return str(one)


def _key(score: float) -> np.uint64:
    key: np.uint64 = order_keys(np.array([score]))[0]
    return key


def _ids_at(ids: Any, rows: Indices, m: int) -> Iterable[Any]:
    if ids is None:
        return (f"row-{i + 1}" for i in rows.tolist())
    if len(ids) != m:
        raise SettingError("ids", f"found {len(ids)} for {m} rows", "expected one per row")
    if hasattr(ids, "take"):  # arrays, columns and series, which know how to do it at once
        taken: Iterable[Any] = ids.take(rows)
        return taken
    return (ids[i] for i in rows.tolist())
