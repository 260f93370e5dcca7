"""Whole private trainings against one shadow at a time; what is constant, and that it learns."""

import numpy as np
import pytest
import torch
from sklearn.metrics import roc_auc_score

from curation_audit.streams import Streams
from curation_audit.training.dp_sgd import DpSgdSettings, PaddedUnits, fit_dp_sgd
from curation_audit.training.mlp import Layer, forward

CPU = torch.device("cpu")
S, N, M, P = 6, 60, 90, 4
PUBLIC = {"steps": 12, "clip": 1.0, "noise_multiplier": 0.8, "learning_rate": 0.3}
CASES = {
    "linear, full batch": {"sampling_rate": 1.0},
    "linear, sampled": {"sampling_rate": 0.2, "momentum": 0.9, "public_batch": 16},
    "mlp, full batch": {"sampling_rate": 1.0, "hidden": (5,), "average": True},
    "mlp, sampled": {"sampling_rate": 0.1, "hidden": (7, 5), "l2": 0.1, "momentum": 0.5},
}


def settings(**changes) -> DpSgdSettings:
    merged = PUBLIC | changes
    return DpSgdSettings(**({"expected_units": merged["sampling_rate"] * N} | merged))


@pytest.fixture
def problem(rng):
    """Private rows apart from public ones, with a column of ones, in units of up to 3 rows."""
    unit = np.concatenate([np.arange(N), rng.integers(0, N, 40)])
    private = np.concatenate([rng.normal(size=(100, P)) + 1.5, np.ones((100, 1))], axis=1)
    public = np.concatenate([rng.normal(size=(M, P)), np.ones((M, 1))], axis=1)
    held = rng.random((S, N)) < 0.5
    return PaddedUnits.of_rows(private, unit), held, public


def fit(problem, shadows=range(S), **changes) -> list[Layer]:
    units, held, public = problem
    streams = Streams(3).for_shadows("test", list(shadows))
    return fit_dp_sgd(
        units, held[list(shadows)], public, settings(**changes), streams=streams, device=CPU
    )


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_a_shadow_ends_the_same_whatever_is_trained_beside_it(problem, case):
    together = fit(problem, **case)
    for shadows in ([0, 1, 2], [5, 3], [4]):
        apart = fit(problem, shadows, **case)
        for one, all_of_them in zip(apart, together, strict=True):
            torch.testing.assert_close(one.weight, all_of_them.weight[shadows], rtol=0, atol=1e-12)
            torch.testing.assert_close(one.bias, all_of_them.bias[shadows], rtol=0, atol=1e-12)


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_it_learns(problem, case):
    units, held, public = problem
    layers = fit(problem, **(case | {"steps": 40, "noise_multiplier": 0.3}))
    private = units.features[units.present]
    rows = torch.as_tensor(np.concatenate([private, public]))
    truth = np.arange(len(rows)) < len(private)
    scores = forward(layers, rows)[-1][..., 0].numpy()
    assert min(roc_auc_score(truth, row) for row in scores) > 0.93
