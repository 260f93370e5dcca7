"""Feature steps: public maps of rows, before any scorer sees them.

To add one: write ``features/<name>.py``, add a line to ``STEPS`` and a row to ``CASES`` in
``tests/pipelines/test_features.py``.
"""

from typing import Final

from curation_audit.pipelines.features.base import FeatureStep
from curation_audit.pipelines.features.encoder import Encoder
from curation_audit.pipelines.features.encoder_onnx import Onnx
from curation_audit.pipelines.features.encoder_safetensors import Safetensors
from curation_audit.pipelines.features.encoder_torchscript import TorchScript
from curation_audit.pipelines.features.hashed_ngrams import HashedNgrams
from curation_audit.pipelines.features.pca import Pca
from curation_audit.pipelines.features.tfidf import Tfidf
from curation_audit.pipelines.features.tokens import Tokens

STEPS: Final[dict[str, type[FeatureStep]]] = {
    "encoder": Encoder,
    "hashed_ngrams": HashedNgrams,
    "onnx": Onnx,
    "pca": Pca,
    "safetensors": Safetensors,
    "tfidf": Tfidf,
    "tokens": Tokens,
    "torchscript": TorchScript,
}

__all__ = ["STEPS", "FeatureStep"]
