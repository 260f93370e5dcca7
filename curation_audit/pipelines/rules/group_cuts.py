"""One public cut for every group of a pool."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from curation_audit.checks import SettingError
from curation_audit.pipelines.rules.cut import Cut, ids_at, select
from curation_audit.pipelines.rules.per_group import PerGroup, code_groups
from curation_audit.pipelines.rules.top import TopK
from curation_audit.types import Indices, Mask


@dataclass(frozen=True, slots=True)
class GroupCuts:
    """The cuts by the names of their groups; of a group without one nothing is kept."""

    cuts: Mapping[str, Cut]

    def mask(self, scores: Any, groups: Any, ids: Any = None) -> Mask:
        """Which rows are kept, (rows,) -> bool (rows,); ``ids`` as in ``Cut.mask``."""
        values = np.asarray(scores)
        kept = np.zeros(len(values), dtype=bool)
        for name, rows in rows_by_group(groups, len(values)):
            if name in self.cuts:
                own = list(ids_at(ids, rows, len(values)))
                kept[rows] = self.cuts[name].mask(values[rows], own)
        return kept


def select_groups(
    scores: Any, rule: PerGroup, groups: Any, ids: Any = None, *, salt: str = "0"
) -> GroupCuts:
    """The cuts by which ``PerGroup`` keeps rows, as ``select`` for rules of one cut.

    Args:
        scores: of all rows of the pool, float32 or float64 (m,).
        rule: its numbers are public.
        groups: texts (m,), the column that the rule goes ``by``.
        ids: of the rows; equal scores are told apart by them, by default by the row's number.
        salt: a public word that shuffles equal scores.

    Raises:
        SettingError: for a group with too few rows, or a quota of no group.
    """
    values = np.asarray(scores)
    rows = dict(rows_by_group(groups, len(values)))
    wanted = rule.counts({name: len(own) for name, own in rows.items()})
    cuts = {}
    for name, k in wanted.items():
        if k > 0:
            own = list(ids_at(ids, rows[name], len(values)))
            cuts[name] = select(values[rows[name]], TopK(k=k), own, salt=salt)
    return GroupCuts(cuts)


def rows_by_group(groups: Any, n_rows: int) -> Iterator[tuple[str, Indices]]:
    """The name of every group, sorted, and its rows, ascending."""
    names, codes = code_groups(np.asarray(groups).tolist())
    if len(codes) != n_rows:
        problem = f"found {len(codes)} for {n_rows} rows"
        raise SettingError("groups", problem, "expected one per row")
    in_groups = np.argsort(codes, kind="stable")
    ends = np.cumsum(np.bincount(codes, minlength=len(names)))
    for name, start, end in zip(names, [0, *ends.tolist()], ends.tolist(), strict=False):
        yield name, in_groups[start:end]
