"""Feature steps: public maps of rows, before any scorer sees them.

To add one: write ``features/<name>.py``, add a line to ``STEPS`` and a row to ``CASES`` in
``tests/pipelines/test_features.py``.
"""

from typing import Final

from curation_audit.pipelines.features.base import FeatureStep
from curation_audit.pipelines.features.hashed_ngrams import HashedNgrams
from curation_audit.pipelines.features.pca import Pca
from curation_audit.pipelines.features.tfidf import Tfidf
from curation_audit.pipelines.features.tokens import Tokens

STEPS: Final[dict[str, type[FeatureStep]]] = {
    "hashed_ngrams": HashedNgrams,
    "pca": Pca,
    "tfidf": Tfidf,
    "tokens": Tokens,
}

__all__ = ["STEPS", "FeatureStep"]
