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


@pytest.mark.parametrize("name", sorted(DOWNSTREAM))
def test_downstream_models(name, rows, rng):
    selection = Selection.from_mask(rng.random((8, 400)) < 0.2)
    streams = Streams(0).for_shadows("shadow", range(8))
    cpu, gpu = (
        DOWNSTREAM[name](device=device)
        .fit(rows, selection, 2, streams=streams)
        .predict_proba(rows.features)
        for device in ("cpu", "cuda")
    )
    np.testing.assert_allclose(gpu, cpu, atol=1e-6)
