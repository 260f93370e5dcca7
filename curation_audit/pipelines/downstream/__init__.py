"""Downstream models: what is trained on the picked rows.

To add one: write ``downstream/<name>.py``, add a line to ``DOWNSTREAM`` and a row to ``CASES`` in
``tests/pipelines/test_downstream.py``.
"""

from typing import Final

from curation_audit.pipelines.base import Downstream
from curation_audit.pipelines.downstream.cnn import Cnn
from curation_audit.pipelines.downstream.estimator import Estimator
from curation_audit.pipelines.downstream.knn import Knn
from curation_audit.pipelines.downstream.logistic import Logistic
from curation_audit.pipelines.downstream.mlp import Mlp
from curation_audit.pipelines.downstream.module import Module
from curation_audit.pipelines.downstream.ngram_text import NgramText

DOWNSTREAM: Final[dict[str, type[Downstream]]] = {
    "cnn": Cnn,
    "estimator": Estimator,
    "knn": Knn,
    "logistic": Logistic,
    "mlp": Mlp,
    "module": Module,
    "ngram_text": NgramText,
}
