"""Selection rules: how scores become picked rows.

To add one: write ``rules/<name>.py``, add a line to ``RULES`` and a row to ``CASES`` in
``tests/pipelines/test_rules.py``.
"""

from typing import Final

from curation_audit.pipelines.base import SelectionRule
from curation_audit.pipelines.rules.threshold import Threshold
from curation_audit.pipelines.rules.top import TopFraction, TopK

RULES: Final[dict[str, type[SelectionRule]]] = {
    "threshold": Threshold,
    "top_fraction": TopFraction,
    "top_k": TopK,
}
