"""The best rows of every group of the pool."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import ClassVar

import numpy as np

from curation_audit.checks import SettingError, did_you_mean, in_open_unit, positive
from curation_audit.observations import Selection
from curation_audit.pipelines.base import Rows
from curation_audit.pipelines.rules.top import picks_of, ranking
from curation_audit.streams import ShadowStreams
from curation_audit.types import Indices, Scores

PATH = "curate.select"


@dataclass(frozen=True, slots=True, kw_only=True)
class PerGroup:
    """The best rows of every group, of the column ``by`` of ``public.columns.groups``.

    One of three: ``k`` rows of each; the best ``fraction`` of each, ``round(fraction * rows)`` and
    at least one; or ``quotas``, the number of rows by group, where a group that is left out gives
    none (domain quotas of QuRating and DSIR). A group with fewer rows than it shall give is
    refused, never filled up from elsewhere: sizes of groups are public, so that every shadow
    picks the same number.
    """

    name: ClassVar[str] = "per_group"
    by_rank: ClassVar[bool] = True
    one_cut: ClassVar[bool] = False
    by: str
    k: int | None = None
    fraction: float | None = None
    quotas: Mapping[str, int] | None = None

    def __post_init__(self) -> None:
        """Check the numbers."""
        given = [name for name in ("k", "fraction", "quotas") if getattr(self, name) is not None]
        if len(given) != 1:
            found = " and ".join(given) or "none"
            raise ValueError(f"expected one of k, fraction and quotas, got {found}.")
        if self.k is not None:
            positive(k=self.k)
        if self.fraction is not None:
            in_open_unit(fraction=self.fraction)
        if self.quotas is not None:
            wrong = [name for name, quota in self.quotas.items() if quota < 0]
            if wrong:
                raise ValueError(f"quotas must be 0 or more, got {wrong[0]!r}.")
            positive(quotas=sum(self.quotas.values()))

    def counts(self, rows: Mapping[str, int]) -> dict[str, int]:
        """How many rows each group gives, by its name; ``rows``: how many it has.

        Raises:
            SettingError: for a quota of no group, or a group with too few rows.
        """
        if self.fraction is not None:
            return {name: max(1, round(self.fraction * n)) for name, n in rows.items()}
        if self.quotas is None:
            wanted = {name: self.k or 0 for name in rows}
        else:
            wanted = {name: self.quotas.get(name, 0) for name in rows}
            for name in sorted({*self.quotas} - {*rows}):
                problem = f"found {name!r}, which is no group of {self.by!r}"
                raise SettingError(f"{PATH}.quotas", problem, did_you_mean(name, rows))
        place = "k" if self.quotas is None else "quotas"
        for name, quota in wanted.items():
            if quota > rows[name]:
                problem = f"found {quota} for {name!r}, which has {rows[name]} rows"
                hint = "pick fewer, or give every group a quota of its own"
                raise SettingError(f"{PATH}.{place}", problem, hint)
        return wanted

    def select(
        self,
        scores: Scores,
        tie_order: Indices,
        streams: ShadowStreams | None = None,
        pool: Rows | None = None,
    ) -> Selection:
        """Pick the best rows of every group and shadow.

        Raises:
            SettingError: for a pool without these groups, and as ``counts``.
        """
        known = {} if pool is None else pool.groups
        if self.by not in known:
            raise no_groups(self.by, known)
        names, codes = coded(known[self.by])
        n_rows = np.bincount(codes, minlength=len(names))
        wanted = self.counts(dict(zip(names, n_rows.tolist(), strict=True)))
        ranked = ranking(scores, tie_order)
        # by group, and in each by rank: the columns of a group are those of every shadow
        by_group = np.argsort(codes[ranked], axis=1, kind="stable")
        columns = _first_of_each(n_rows, np.array([wanted[name] for name in names]))
        rows = np.take_along_axis(ranked, by_group[:, columns], axis=1)
        return picks_of(rows, scores.shape[1])


def no_groups(by: str, known: Collection[str]) -> SettingError:
    """What to say of a pool without these groups; ``known``: those that it has."""
    hint = did_you_mean(by, known) if known else "the pool has none"
    return SettingError(
        f"{PATH}.by",
        f"found {by!r}, which is no column of groups of the pool",
        f"{hint}; name it in public.columns.groups",
    )


def code_groups(groups: Sequence[str]) -> tuple[tuple[str, ...], Indices]:
    """The names of the groups, sorted, and which of them each row is in, int64 (rows,)."""
    names = sorted(set(groups))
    places = {name: i for i, name in enumerate(names)}
    codes = np.fromiter((places[name] for name in groups), np.int64, len(groups))
    codes.setflags(write=False)
    return tuple(names), codes


coded = lru_cache(maxsize=8)(code_groups)  # one pool is picked from again and again


def _first_of_each(n_rows: Indices, wanted: Indices) -> Indices:
    """The first ``wanted`` places of blocks of ``n_rows`` places, one block after the other."""
    starts = np.repeat(np.cumsum(n_rows) - n_rows, wanted)
    within = np.arange(wanted.sum()) - np.repeat(np.cumsum(wanted) - wanted, wanted)
    places: Indices = starts + within
    return places
