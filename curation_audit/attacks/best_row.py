"""One pool row per candidate: the one whose value moves most with the candidate's membership.

Leaving a pair out changes a row's sum by no more than the row's largest change within any pair.
So for each candidate only few rows can be the best for any pair, and only these are looked at.
"""

from dataclasses import dataclass

import numpy as np

from curation_audit.attacks.base import OtherPairs
from curation_audit.types import Floats, Inclusion, Indices, Mask, Scores

BYTES_PER_BLOCK = 2**25
SAME = 1e-12  # of the largest sum: rows closer than this tie, and the first is taken


@dataclass(frozen=True, slots=True)
class BestRows:
    """For each pair and candidate the chosen row, and that row's values elsewhere.

    ``column`` int64 (P, N). ``tested`` (P, 2, N): the row's value in the two shadows of the
    pair. ``mean`` and ``square`` (P, 2, N): mean of the value and of its square over the other
    pairs' shadows that hold the candidate (first) and that do not (second).
    """

    column: Indices
    tested: Floats
    mean: Floats
    square: Floats


@dataclass(frozen=True, slots=True)
class Changes:
    """Values by pairs: ``first`` and ``second`` (P, m) are those of the two shadows of each.

    ``change`` (P, m) is their difference, zero in pairs that are not learnt from; ``largest``
    (m,) its largest size.
    """

    first: Floats
    second: Floats
    change: Floats
    largest: Floats

    @classmethod
    def of(cls, values: Floats, others: OtherPairs) -> "Changes":
        """Split values (S, m)."""
        first, second = values[0::2], values[1::2]
        change = (first - second) * others.known[:, None]
        return cls(first, second, change, np.abs(change).max(axis=0))


def best_rows(
    observed: Scores, inclusion: Inclusion, others: OtherPairs, center: Floats | None = None
) -> BestRows:
    """Choose ``argmax_k |mean_in - mean_out|`` over the other pairs, for values (S, m).

    ``center`` (m,) is subtracted first, so that sums of squares do not cancel; without it, sums
    of picks stay whole numbers, so that ties between rows break alike whatever the coins of the
    tested pair were. Candidates come in blocks, so that memory does not grow with N m.
    """
    values: Floats = np.asarray(observed, dtype=np.float64)
    if center is not None:
        values = values - center
    changes = Changes.of(values, others)
    signs = np.where(inclusion[0::2], 1.0, -1.0)
    width = max(1, BYTES_PER_BLOCK // (8 * values.shape[1]))
    columns = [
        _most_telling(signs[:, start : start + width], changes)
        for start in range(0, signs.shape[1], width)
    ]
    return _described(np.concatenate(columns, axis=1), signs, changes, others)


def _most_telling(signs: Floats, changes: Changes) -> Indices:
    """For each pair ``argmax_k |sum of changes less the pair's own|``, signs (P, B): (P, B)."""
    difference = signs.T @ changes.change
    kept = within_reach(difference, changes.largest)
    candidate, column = np.nonzero(kept)
    starts = np.searchsorted(candidate, np.arange(signs.shape[1]))
    ends = np.append(starts[1:], len(candidate))
    sums = difference[candidate, column]
    room = max(1, BYTES_PER_BLOCK // (8 * signs.shape[0]))
    parts, done = [], 0
    while done < len(starts):  # as many candidates at a time as memory allows
        upto = max(done + 1, int(np.searchsorted(ends, starts[done] + room, side="right")))
        entries = slice(starts[done], ends[upto - 1])
        here = Entries(candidate[entries], column[entries], sums[entries])
        parts.append(_exact_choice(here, starts[done:upto] - starts[done], signs, changes))
        done = upto
    return np.concatenate(parts, axis=1)


def within_reach(difference: Floats, largest: Floats) -> Mask:
    """Which rows can be the best for some pair: sums (B, m), largest changes (m,) -> (B, m).

    Rows that never change are all alike; the first of them stands for all.
    """
    size = np.abs(difference)
    surely = (size - largest).max(axis=1, keepdims=True)
    size += largest
    kept: Mask = size >= surely - SAME * np.abs(surely)
    still = np.flatnonzero(largest == 0)
    kept[:, still[1:]] = False
    return kept


@dataclass(frozen=True, slots=True)
class Entries:
    """Rows in question, sorted by candidate: each with its sum over all known pairs, (E,)."""

    candidate: Indices
    column: Indices
    total: Floats


def _exact_choice(entries: Entries, starts: Indices, signs: Floats, changes: Changes) -> Indices:
    """The first best entry of each candidate for each pair: (P, candidates)."""
    less = signs[:, entries.candidate] * changes.change[:, entries.column]
    np.subtract(entries.total, less, out=less)
    np.abs(less, out=less)
    best = np.maximum.reduceat(less, starts, axis=1) * (1 - SAME)
    sizes = np.diff(np.append(starts, len(entries.column)))
    behind = less < np.repeat(best, sizes, axis=1)
    place = np.where(behind, len(entries.column), np.arange(len(entries.column)))
    first: Indices = entries.column[np.minimum.reduceat(place, starts, axis=1)]
    return first


def _described(column: Indices, signs: Floats, changes: Changes, others: OtherPairs) -> BestRows:
    """What the chosen rows are in the tested pair and, on average, in the others."""
    first = np.take_along_axis(changes.first, column, axis=1)
    second = np.take_along_axis(changes.second, column, axis=1)
    pairs = np.stack([first, second], axis=1)
    own = np.where(signs[:, None] > 0, pairs, pairs[:, ::-1])
    part = others.known[:, None, None]  # a pair that is not learnt from is in no sum
    counts = others.counts[:, None, None]
    sums, squares = _in_and_out(column, signs, changes, others)
    return BestRows(
        column=column,
        tested=pairs,
        mean=(sums - part * own) / counts,
        square=(squares - part * own**2) / counts,
    )


def _in_and_out(
    column: Indices, signs: Floats, changes: Changes, others: OtherPairs
) -> tuple[Floats, Floats]:
    """Sums of values and of squares over the known shadows with and without: each (P, 2, N).

    Pairs mostly choose the same row, so each row in question is summed once per candidate.
    """
    n_candidates, n_pool = column.shape[1], changes.largest.shape[0]
    chosen, where = np.unique(np.arange(n_candidates) * n_pool + column, return_inverse=True)
    where = where.reshape(column.shape)
    candidate, row = np.divmod(chosen, n_pool)
    width = max(1, BYTES_PER_BLOCK // (8 * signs.shape[0]))
    sums, squares = np.empty((2, len(chosen))), np.empty((2, len(chosen)))
    for start in range(0, len(chosen), width):
        entries = slice(start, start + width)
        held = signs[others.known][:, candidate[entries]] > 0
        first = changes.first[others.known][:, row[entries]]
        second = changes.second[others.known][:, row[entries]]
        inside, outside = np.where(held, first, second), np.where(held, second, first)
        sums[:, entries] = inside.sum(axis=0), outside.sum(axis=0)
        squares[:, entries] = (inside**2).sum(axis=0), (outside**2).sum(axis=0)
    return sums[:, where].transpose(1, 0, 2), squares[:, where].transpose(1, 0, 2)
