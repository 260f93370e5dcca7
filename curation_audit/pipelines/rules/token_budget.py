"""The best rows until a budget of tokens is spent."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from curation_audit.checks import SettingError, positive
from curation_audit.observations import Selection
from curation_audit.pipelines.base import Rows
from curation_audit.pipelines.rules.top import ranking
from curation_audit.streams import ShadowStreams
from curation_audit.types import Indices, Scores

PATH = "curate.select"


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenBudget:
    """The longest run of best rows whose public sizes add up to at most ``budget`` (QuRating).

    It stops at the first row that does not fit, and does not look for smaller rows after it: what
    is kept is the top of the ranking, so that one cut describes it, and the budget is never
    exceeded. A shadow whose best row is larger than the budget keeps none. Sizes are
    ``public.columns.size``; those of 0 fit anywhere.
    """

    name: ClassVar[str] = "token_budget"
    by_rank: ClassVar[bool] = True
    one_cut: ClassVar[bool] = True
    budget: int

    def __post_init__(self) -> None:
        """Check the budget."""
        positive(budget=self.budget)

    def check_total(self, total: int) -> None:
        """Raise ``SettingError`` where all sizes of a pool together are below the budget."""
        if self.budget > total:
            raise SettingError(
                f"{PATH}.budget",
                f"found {self.budget}, but the sizes of the pool add up to {total}",
                "spend less",
            )

    def check_sizes(self, sizes: Indices) -> None:
        """Raise ``SettingError`` where the sizes of a pool do not suit the budget."""
        self.check_total(int(sizes.sum()))
        if self.budget < sizes.min():
            problem = f"found {self.budget}, but the smallest row of the pool has {sizes.min()}"
            raise SettingError(f"{PATH}.budget", problem, "spend more")

    def select(
        self,
        scores: Scores,
        tie_order: Indices,
        streams: ShadowStreams | None = None,
        pool: Rows | None = None,
    ) -> Selection:
        """Pick the run of every shadow.

        Raises:
            SettingError: for a pool without sizes, or a budget that does not suit it.
        """
        if pool is None or pool.sizes is None:
            raise no_sizes()
        sizes = pool.sizes
        self.check_sizes(sizes)
        ranked = ranking(scores, tie_order)
        fits = np.cumsum(sizes[ranked], axis=1) <= self.budget  # sizes are 0 or more: a run
        picked = np.zeros(scores.shape, dtype=bool)
        np.put_along_axis(picked, ranked, fits, axis=1)
        return Selection.from_mask(picked)


def no_sizes() -> SettingError:
    """What to say of a pool without sizes."""
    problem = "token_budget needs the size of every pool row"
    return SettingError(PATH, problem, "name their column in public.columns.size")
