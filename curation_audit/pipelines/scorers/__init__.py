"""Scorers: how a pool row is valued against the private set.

To add one: write ``scorers/<name>.py``, add a line to ``SCORERS`` and a row to ``CASES`` in
``tests/pipelines/test_scorer_contract.py``.
"""

from typing import Final

from curation_audit.pipelines.base import Scorer
from curation_audit.pipelines.scorers.classifier import Classifier
from curation_audit.pipelines.scorers.mean import Mean
from curation_audit.pipelines.scorers.nearest import Nearest

SCORERS: Final[dict[str, type[Scorer]]] = {
    "classifier": Classifier,
    "mean": Mean,
    "nearest": Nearest,
}
