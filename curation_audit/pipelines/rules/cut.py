"""From a column of scores to one public cut, which every worker of a job applies alone.

A cut is a score and, among the rows with exactly that score, a bound on a keyed hash of the row's
id: which rows it keeps depends neither on their order nor on their shards.
"""

import hashlib
import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from curation_audit.checks import SettingError
from curation_audit.pipelines.rules.levels import Nonnegative, OccupiedClusters, ScoreRange
from curation_audit.pipelines.rules.threshold import Threshold
from curation_audit.pipelines.rules.token_budget import TokenBudget
from curation_audit.pipelines.rules.top import TopFraction, TopK
from curation_audit.types import Indices, Mask

Keys = NDArray[np.uint64]
SIGN: Final = np.uint64(1 << 63)
LARGEST: Final = (1 << 64) - 1
NOBODY: Final = -1  # below every hash
Levelled = Threshold | Nonnegative | OccupiedClusters | ScoreRange
Counted = TopK | TopFraction  # a Greedy is a TopK
DRAWS: Final = "it draws noise, so that the scores alone do not tell which rows are kept"
NO_CUTS: Final = {
    "per_group": "it is one cut for every group: use select_groups",
    "gumbel_top_k": DRAWS,
    "noisy_top_k": DRAWS,
    "pareto": DRAWS,
}


@dataclass(frozen=True, slots=True)
class Cut:
    """Keeps rows with a score above ``score``, and some of those with just that score.

    These are the rows whose hash of the id under ``salt`` is at most ``tie_bound``. Rows without a
    score (NaN) come last: they are kept only where ``score`` is NaN itself. No row above
    ``highest`` is kept.
    """

    score: float
    tie_bound: int
    salt: str = "0"
    highest: float = math.inf

    def mask(self, scores: Any, ids: Any = None) -> Mask:
        """Which rows are kept, (rows,) -> bool (rows,).

        ``ids`` are those that the cut was made with, by default names of the rows by number.
        """
        keys, at = order_keys(scores), _key(self.score)
        kept: Mask = (keys > at) & (keys <= _key(self.highest))
        tied = np.flatnonzero(keys == at)
        if len(tied):
            kept[tied] = tie_hashes(ids_at(ids, tied, len(keys)), self.salt) <= self.tie_bound
        return kept

    def indices(self, scores: Any, ids: Any = None) -> Indices:
        """The kept rows in the order of the table, int64."""
        return np.flatnonzero(self.mask(scores, ids))


def select(scores: Any, rule: Any, ids: Any = None, *, sizes: Any = None, salt: str = "0") -> Cut:
    """The cut by which a rule keeps rows.

    Args:
        scores: of all rows of the pool, float32 or float64 (m,).
        rule: ``TopK``, ``TopFraction``, ``Greedy``, ``Threshold``, ``Nonnegative``,
            ``OccupiedClusters``, ``ScoreRange`` or ``TokenBudget``; its numbers are public.
        ids: of the rows; equal scores are told apart by them, by default by the row's number.
        sizes: whole numbers (m,), for a ``TokenBudget``.
        salt: a public word that shuffles equal scores.

    Raises:
        SettingError: for more than the pool holds, or a rule that is no cut of one column.
    """
    keys = order_keys(scores)
    if isinstance(rule, Levelled):
        return cut_at_levels(rule, salt)
    if isinstance(rule, Counted):
        k = rule.size(len(keys))
        if k == len(keys):
            return everything(salt)
        at = np.partition(keys, len(keys) - k)[len(keys) - k]
        units = np.broadcast_to(np.int64(1), len(keys))
        left = k - int((keys > at).sum())
    elif isinstance(rule, TokenBudget):
        units = whole_sizes(sizes, len(keys))
        rule.check_total(int(units.sum()))
        if rule.budget == units.sum():
            return everything(salt)
        at = _first_beyond(keys, units, rule.budget)
        left = rule.budget - int(units[keys > at].sum())
    else:
        raise no_cut(rule)
    tied = np.flatnonzero(keys == at)
    bound = LARGEST
    if left < units[tied].sum():
        bound = tie_bound(tie_hashes(ids_at(ids, tied, len(keys)), salt), units[tied], left)
    return Cut(float(np.asarray(scores, dtype=np.float64)[tied[0]]), bound, salt)


def cut_at_levels(rule: Levelled, salt: str) -> Cut:
    """The cut of a rule whose levels do not hang on the scores."""
    if isinstance(rule, ScoreRange):
        return Cut(rule.low, LARGEST, salt, rule.high)
    return Cut(rule.minimum, LARGEST, salt)


def everything(salt: str) -> Cut:
    """The cut that keeps every row, of any shard."""
    return Cut(float("nan"), LARGEST, salt)


def _first_beyond(keys: Keys, sizes: Indices, budget: int) -> np.uint64:
    """The key of the best row that the budget does not reach, which is the same however ties go."""
    ranked = np.argsort(keys)[::-1]
    first = np.searchsorted(np.cumsum(sizes[ranked]), budget, side="right")
    key: np.uint64 = keys[ranked[first]]
    return key


def tie_bound(hashes: Keys, sizes: Indices, budget: int) -> int:
    """The largest hash of the first tied rows that fit into the budget; -1 where none does.

    Raises:
        SettingError: where the last that fits and the first that does not have one id.
    """
    order = np.argsort(hashes, kind="stable")
    n_fit = int(np.searchsorted(np.cumsum(sizes[order]), budget, side="right"))
    if n_fit == len(hashes):
        return LARGEST
    if n_fit == 0:
        return NOBODY
    bound, beyond = hashes[order[n_fit - 1]], hashes[order[n_fit]]
    if bound == beyond:
        raise SettingError("ids", "found one id on several rows", "give every row its own id")
    return int(bound)


def no_cut(rule: Any) -> SettingError:
    """What to say of a rule that is no cut of one column."""
    hint = NO_CUTS.get(getattr(rule, "name", ""))
    if hint is None:
        hint = (
            "expected TopK, TopFraction or Threshold, or else Greedy, Nonnegative, "
            "OccupiedClusters, ScoreRange or TokenBudget"
        )
    return SettingError("rule", f"found {type(rule).__name__}", hint)


def whole_sizes(sizes: Any, n_rows: int) -> Indices:
    """Sizes of rows as int64 (rows,), checked.

    Raises:
        SettingError: for what is no whole number of 0 or more on every row.
    """
    if sizes is None:
        raise SettingError("sizes", "are missing", "a token budget needs the size of every row")
    values = np.asarray(sizes)
    if values.shape != (n_rows,) or values.dtype.kind not in "iuf":
        problem = f"found {values.dtype} {values.shape}"
        raise SettingError("sizes", problem, f"expected numbers ({n_rows},)")
    whole = np.isfinite(values) & (values >= 0) & (values == np.floor(values))
    if not whole.all():
        raise SettingError("sizes", "found what is no whole number", "expected 0 or more")
    return values.astype(np.int64)


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


def tie_order(ids: Iterable[str], seed: int) -> Indices:
    """The rank of every pool row by a keyed hash of its id, int64 (m,).

    Equal scores are ordered by it, so that the picks depend neither on the order of the pool nor
    on its shards.
    """
    order = np.argsort(tie_hashes(ids, str(seed)), kind="stable")
    rank = np.empty(len(order), dtype=np.int64)
    rank[order] = np.arange(len(order))
    return rank


def _key(score: float) -> np.uint64:
    key: np.uint64 = order_keys(np.array([score]))[0]
    return key


def ids_at(ids: Any, rows: Indices, m: int) -> Iterable[Any]:
    """The ids of some of m rows."""
    if ids is None:
        return (f"row-{i + 1}" for i in rows.tolist())
    if len(ids) != m:
        raise SettingError("ids", f"found {len(ids)} for {m} rows", "expected one per row")
    if hasattr(ids, "take"):  # arrays, columns and series, which know how to do it at once
        taken: Iterable[Any] = ids.take(rows)
        return taken
    return (ids[i] for i in rows.tolist())
