"""Selection rules: how scores become picked rows.

To add one: write ``rules/<name>.py``, add a line to ``RULES`` and a row to ``CASES`` in
``tests/pipelines/test_rules.py``.
"""

from typing import Final

from curation_audit.pipelines.base import SelectionRule
from curation_audit.pipelines.rules.levels import Nonnegative, OccupiedClusters, ScoreRange
from curation_audit.pipelines.rules.per_group import PerGroup
from curation_audit.pipelines.rules.sampled import GumbelTopK, Pareto
from curation_audit.pipelines.rules.threshold import Threshold
from curation_audit.pipelines.rules.token_budget import TokenBudget
from curation_audit.pipelines.rules.top import Greedy, TopFraction, TopK

RULES: Final[dict[str, type[SelectionRule]]] = {
    "greedy": Greedy,
    "gumbel_top_k": GumbelTopK,
    "nonnegative": Nonnegative,
    "occupied_clusters": OccupiedClusters,
    "pareto": Pareto,
    "per_group": PerGroup,
    "range": ScoreRange,
    "threshold": Threshold,
    "token_budget": TokenBudget,
    "top_fraction": TopFraction,
    "top_k": TopK,
}
