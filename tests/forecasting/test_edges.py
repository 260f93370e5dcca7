"""The edge of stability of scorers and models, against Hessians that are written out."""

import numpy as np
import pytest
import torch

from curation_audit.auditing.chunks import Task, run_task
from curation_audit.auditing.curation import trained
from curation_audit.forecasting.at_training import (
    network_of,
    network_without_noise,
    real_streams,
)
from curation_audit.forecasting.edges import (
    Edge,
    _real_picks,
    _trained,
    edge_of_model,
    edge_of_scorer,
    edges_of,
    notes_on,
)
from curation_audit.pipelines.downstream.logistic import Logistic
from curation_audit.pipelines.downstream.mlp import Mlp
from curation_audit.pipelines.protection.dp_sgd import DpGd, DpSgd
from curation_audit.pipelines.scorers.mlp_classifier import MlpClassifier
from curation_audit.training.mlp import as_layers, as_parameters, forward
from curation_audit.training.recipe import EarlyStopping
from tests.analytic.worlds import LOGIT, MEAN, plan
from tests.forecasting.test_gradients import protected

SMALL = {"hidden": (4,), "epochs": 5, "device": "cpu"}


def largest(parameters, rows, classes, spread, decay):
    """The largest eigenvalue of D (H + decay) D, all of it written out."""
    targets = torch.as_tensor(classes)

    def loss(parts):
        logits = forward(as_layers(parts), torch.as_tensor(rows).double())[-1]
        return torch.nn.functional.cross_entropy(logits, targets)

    return largest_of(loss, parameters, spread, decay)


def largest_of(loss, parameters, spread, decay):
    """The same of any loss."""
    shapes = [one.shape for one in parameters]

    def of_flat(vector):
        split = vector.split([shape.numel() for shape in shapes])
        return loss(tuple(one.reshape(s) for one, s in zip(split, shapes, strict=True)))

    at = torch.cat([one.double().flatten() for one in parameters])
    flat = [
        torch.as_tensor(s).double().expand(shape).flatten()
        for s, shape in zip(spread, shapes, strict=True)
    ]
    of_decay = [torch.full(shape, d).flatten() for d, shape in zip(decay, shapes, strict=True)]
    d = torch.cat(flat)
    hessian = torch.autograd.functional.hessian(of_flat, at) + torch.diag(torch.cat(of_decay))
    return float(torch.linalg.eigvalsh(d[:, None] * hessian * d)[-1])


@pytest.mark.parametrize("parametrization", ["standard", "spectral"])
def test_of_a_network_scorer_it_is_that_of_its_descent(parametrization):
    """Under the spectral rule rates differ by layer, and count into the curvature."""
    scorer = MlpClassifier(parametrization=parametrization, base_width=2, **SMALL)
    of = plan(scorer)
    found = edge_of_scorer(of)
    private, pool = of.data.private, of.data.pool
    rows = np.concatenate([private.features, pool.features])
    classes = np.arange(len(rows)) < len(private)
    scales = scorer.rule().dense_scales(scorer.recipe(), (rows.shape[1], 4, 2))
    rates = [1.0] * 4 if scales is None else [one.rate for one in scales]
    expected = largest(
        as_parameters(network_of(of, scorer)),
        rows,
        classes.astype(int),
        np.sqrt(rates),
        [1e-4 / rate for rate in rates],
    )
    assert found.eta_lambda_max == pytest.approx(0.05 * expected, rel=1e-2)
    assert (found.part, found.threshold) == ("scorer", pytest.approx(3.8))
    assert (max(rates) > 1) == (parametrization == "spectral")


def picked_of(of):
    selection, _ = _real_picks(of)
    at = selection.indices
    return of.data.pool.features[at], of.data.pool.labels[at]


def test_the_model_is_the_one_of_the_real_curation():
    """As an audit trains it; the two ways to train differ in their last digits."""
    of = plan(LOGIT, train=Mlp(optimiser="adamw", learning_rate=0.01, **SMALL))
    curated = run_task(of, Task("real", 0, 1), None)
    selection, streams = _real_picks(of)
    np.testing.assert_array_equal(selection.indices, curated.observation.selection.indices)
    as_audited = trained(of, selection, streams, None)
    again = _trained(of.downstream, of.data.pool, selection, 2, real_streams(of))[0]
    for one, other in zip(as_audited.parameters, again.parameters, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("stop", [None, EarlyStopping(share=0.2, patience=2)])
@pytest.mark.parametrize("parametrization", ["standard", "spectral"])
def test_of_adamw_the_curvature_is_preconditioned(parametrization, stop):
    model = Mlp(
        optimiser="adamw", learning_rate=0.02, parametrization=parametrization, base_width=2,
        stop=stop, **SMALL,
    )  # fmt: skip
    of = plan(LOGIT, train=model)
    found = edge_of_model(of)
    selection, streams = _real_picks(of)
    done, scales = _trained(model, of.data.pool, selection, 2, streams)
    factors = [(1.0, 1.0)] * 4 if scales is None else [(s.rate, s.epsilon) for s in scales]
    spread = [
        (rate / (square[0].sqrt() + 1e-8 * epsilon)).sqrt()
        for (rate, epsilon), square in zip(factors, done.state, strict=True)
    ]
    if stop is None:
        rows, classes = picked_of(of)
        parameters = tuple(one[0] for one in done.parameters)
        expected = 0.02 * largest(parameters, rows, classes, spread, [0.0] * 4)
        assert found.eta_lambda_max == pytest.approx(expected, rel=1e-2)
    assert found.threshold == pytest.approx(38)
    assert found.descent == "AdamW, preconditioned"
    assert 0 < found.eta_lambda_max < np.inf


def test_of_sgd_it_is_plain():
    of = plan(LOGIT, train=Mlp(momentum=0.5, weight_decay=0.1, learning_rate=0.1, **SMALL))
    found = edge_of_model(of)
    selection, streams = _real_picks(of)
    done, _ = _trained(of.downstream, of.data.pool, selection, 2, streams)
    rows, classes = picked_of(of)
    parameters = tuple(one[0] for one in done.parameters)
    expected = 0.1 * largest(parameters, rows, classes, [1.0] * 4, [0.1] * 4)
    assert found.eta_lambda_max == pytest.approx(expected, rel=1e-2)
    assert (found.part, found.threshold) == ("model", 3.0)


@pytest.mark.parametrize(
    ("model", "because"),
    [
        (Logistic(device="cpu"), "logistic is no descent of a fixed rate"),
        (Mlp(schedule="cosine", **SMALL), "its rate follows a schedule (cosine)"),
        (Mlp(optimiser="muon", **SMALL), "of muon no threshold is known"),
    ],
)
def test_what_is_no_descent_of_a_fixed_rate_is_told(model, because):
    of = plan(LOGIT, train=model)
    assert because in edge_of_model(of)
    found = edges_of(of)
    assert found.found == ()
    assert [one for one in notes_on(found) if because in one]


@pytest.mark.parametrize("optimiser", ["sgd", "adamw"])
def test_a_model_that_diverged_has_no_edge(optimiser):
    model = Mlp(optimiser=optimiser, learning_rate=1e200, **SMALL)
    found = edges_of(plan(LOGIT, train=model))
    assert found.found == ()
    assert [one for one in found.notes if "of the model" in one and "training diverged" in one]


def test_without_a_model_only_the_scorer_is_spoken_of():
    assert len(edges_of(plan(MEAN, train=None)).notes) == 1


def test_clipping_makes_a_private_regression_bend_less():
    """With a clip that cuts nothing, the regression's curvature is that of the whole loss."""
    wide, tight = (
        edge_of_scorer(protected(DpGd(steps=60, clip=clip, learning_rate=0.1, precondition=False)))
        for clip in (1e3, 0.2)
    )
    assert tight.eta_lambda_max < wide.eta_lambda_max
    assert wide.threshold == 2


@pytest.mark.parametrize("parametrization", ["standard", "spectral"])
def test_a_private_network_has_an_edge_in_the_coordinates_that_descend(parametrization):
    made = DpSgd(
        steps=30, hidden=(8,), clip=1.0, learning_rate=0.1, parametrization=parametrization,
        base_width=8,
    )  # fmt: skip
    found = edge_of_scorer(protected(made))
    assert isinstance(found, Edge)
    assert found.descent == "dp_sgd without its noise"
    assert 0 < found.eta_lambda_max < np.inf
    twice = edge_of_scorer(protected(made, epsilon=1.0))
    assert twice.eta_lambda_max == found.eta_lambda_max  # no noise enters


@pytest.mark.parametrize("parametrization", ["standard", "spectral"])
def test_of_a_private_network_that_clips_nobody_it_is_that_of_the_whole_loss(parametrization):
    made = DpSgd(
        steps=20, hidden=(4,), clip=1e6, learning_rate=0.1, l2=0.01, base_width=4,
        parametrization=parametrization,
    )  # fmt: skip
    of = protected(made, epsilon=np.inf)
    found, scorer = edge_of_scorer(of), of.scorer
    data, settings = of.data, scorer.settings
    private, public = (
        torch.as_tensor(scorer.embed(one.features)).double() for one in (data.private, data.pool)
    )
    n_units = settings.expected_units / settings.sampling_rate

    def loss(parts):
        layers, softplus = as_layers(parts), torch.nn.functional.softplus
        of_private = softplus(-forward(layers, private)[-1]).sum() / n_units
        return of_private + softplus(forward(layers, public)[-1]).mean()

    by = settings.multipliers(private.shape[1])
    spread = [1.0] * 4 if by is None else [s for pair in by for s in pair]
    parameters = as_parameters(network_without_noise(of, scorer))
    expected = largest_of(loss, parameters, spread, [0.01 / s**2 for s in spread])
    assert found.eta_lambda_max == pytest.approx(settings.learning_rate * expected, rel=1e-2)


def test_near_the_edge_is_told_by_part():
    def descent(rate):
        return protected(
            DpGd(steps=200, learning_rate=rate, clip=100.0, precondition=False), epsilon=np.inf
        )

    calm = edge_of_scorer(descent(0.01))
    found = edges_of(descent(0.01 * 1.2 * calm.threshold / calm.eta_lambda_max))
    (edge,) = (one for one in found.found if one.part == "scorer")
    assert edge.near
    assert not calm.near
    assert any("of the scorer" in one and "do not trust" in one for one in notes_on(found))
