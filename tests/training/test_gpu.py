"""The same answers on CUDA as on the CPU."""

import numpy as np
import pytest
import torch

from curation_audit.observations import Selection
from curation_audit.pipelines.base import PrivateRows, Rows
from curation_audit.pipelines.downstream import DOWNSTREAM
from curation_audit.pipelines.scorers import Classifier
from curation_audit.streams import Streams

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="torch sees no CUDA here"),
]


@pytest.fixture
def rows(rng):
    features = rng.standard_normal((400, 12))
    labels = (features[:, 0] + rng.standard_normal(400) > 0).astype(np.int64)
    return Rows(tuple(map(str, range(400))), features, labels)


def test_the_classifier_scorer(rows, rng):
    features = rng.standard_normal((40, 12)) + 0.5
    ids = tuple(map(str, range(40)))
    private = PrivateRows(ids, features, np.arange(40), ids)
    inclusion = rng.integers(0, 2, (8, 40)).astype(bool)
    streams = Streams(0).for_shadows("shadow", range(8))
    cpu, gpu = (
        Classifier(device=device)
        .fit(private, inclusion, rows, streams=streams)
        .score(rows.features)
        for device in ("cpu", "cuda")
    )
    np.testing.assert_allclose(gpu, cpu, atol=1e-9)


def two_layers(n_features, n_classes):
    return torch.nn.Sequential(
        torch.nn.Linear(n_features, 6), torch.nn.Tanh(), torch.nn.Linear(6, n_classes)
    )


NEEDED = {"cnn": {"shape": (3, 4), "channels": (4,)}, "module": {"module": two_layers}}
ON_DEVICE = sorted(set(DOWNSTREAM) - {"estimator", "knn"})


@pytest.mark.parametrize("name", ON_DEVICE)
def test_downstream_models(name, rows, rng):
    selection = Selection.from_mask(rng.random((8, 400)) < 0.2)
    streams = Streams(0).for_shadows("shadow", range(8))
    cpu, gpu = (
        DOWNSTREAM[name](device=device, **NEEDED.get(name, {}))
        .fit(rows, selection, 2, streams=streams)
        .predict_proba(rows.features)
        for device in ("cpu", "cuda")
    )
    np.testing.assert_allclose(gpu, cpu, atol=1e-6)
