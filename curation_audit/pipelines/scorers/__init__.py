"""Scorers: how a pool row is valued against the private set.

To add one: write ``scorers/<name>.py``, add a line to ``SCORERS`` and a row to ``CASES`` in
``tests/pipelines/test_scorer_contract.py``.
"""

from typing import Final

from curation_audit.pipelines.base import Scorer
from curation_audit.pipelines.scorers.centroid_votes import CentroidVotes
from curation_audit.pipelines.scorers.classifier import Classifier
from curation_audit.pipelines.scorers.command import Command
from curation_audit.pipelines.scorers.confidence import Confidence
from curation_audit.pipelines.scorers.controls import PublicOnly, PublicScore, Random
from curation_audit.pipelines.scorers.d3m import D3m
from curation_audit.pipelines.scorers.decontaminate import Decontaminate
from curation_audit.pipelines.scorers.dsir import Dsir
from curation_audit.pipelines.scorers.flqmi import Flqmi
from curation_audit.pipelines.scorers.less import Less
from curation_audit.pipelines.scorers.mean import Mean
from curation_audit.pipelines.scorers.mlp_classifier import MlpClassifier
from curation_audit.pipelines.scorers.nearest import Nearest
from curation_audit.pipelines.scorers.perplexity import Perplexity
from curation_audit.pipelines.scorers.trak import Trak

SCORERS: Final[dict[str, type[Scorer]]] = {
    "centroid_votes": CentroidVotes,
    "classifier": Classifier,
    "command": Command,
    "confidence": Confidence,
    "d3m": D3m,
    "decontaminate": Decontaminate,
    "dsir": Dsir,
    "flqmi": Flqmi,
    "less": Less,
    "mean": Mean,
    "mlp_classifier": MlpClassifier,
    "nearest": Nearest,
    "perplexity": Perplexity,
    "public_only": PublicOnly,
    "public_score": PublicScore,
    "random": Random,
    "trak": Trak,
}
