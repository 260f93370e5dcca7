"""Private training after the picks: equality with a plain loop, and what one unit can change.

Measured against the loop over shadows and units: at most 3e-15 in float64.
"""

import dataclasses
import itertools

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from curation_audit.observations import Selection
from curation_audit.pipelines.base import ALWAYS_IN, PrivateRows, Rows
from curation_audit.pipelines.downstream.dense import DenseModels, dense_models, with_ones
from curation_audit.pipelines.downstream.fine_tune import FineTune
from curation_audit.pipelines.downstream.knn import Knn
from curation_audit.pipelines.downstream.logistic import Logistic
from curation_audit.pipelines.downstream.mlp import Mlp
from curation_audit.streams import Streams
from curation_audit.training.dp_noise import ArrayNoise, SecretRandomness, TorchNoise
from curation_audit.training.dp_sgd import DpSgdSettings
from curation_audit.training.mlp import Layer
from curation_audit.training.poisson import poisson_batches

S, N, M, D = 4, 24, 50, 3
ALPHA = 1e-3  # false-alarm rate of each statistical test
CLIP = 0.4
CPU = torch.device("cpu")
CASES = {
    "two classes, full batch": (Logistic(device="cpu"), 2, {"sampling_rate": 1.0}),
    "three classes, sampled": (
        Logistic(device="cpu"),
        3,
        {"sampling_rate": 0.3, "momentum": 0.6, "l2": 0.05},
    ),
    "perceptron, full batch": (
        Mlp(hidden=(5,), epochs=2, device="cpu"),
        3,
        {"sampling_rate": 1.0, "hidden": (5,)},
    ),
    "perceptron, sampled": (
        Mlp(hidden=(6, 4), epochs=2, device="cpu"),
        2,
        {"sampling_rate": 0.4, "hidden": (6, 4), "momentum": 0.3},
    ),
    "perceptron in spectral coordinates": (
        Mlp(hidden=(7, 4), epochs=2, parametrization="spectral", base_width=5, device="cpu"),
        3,
        {
            "sampling_rate": 0.4,
            "hidden": (7, 4),
            "momentum": 0.3,
            "l2": 0.05,
            "parametrization": "spectral",
        },
    ),
}
every_case = pytest.mark.parametrize("case", CASES.values(), ids=CASES)


def settings(n_classes: int, **changes) -> DpSgdSettings:
    own = {"steps": 7, "clip": CLIP, "noise_multiplier": 0.9, "learning_rate": 0.4}
    own |= {"outputs": n_classes, "sampling_rate": 1.0} | changes
    return DpSgdSettings(**{"expected_units": own["sampling_rate"] * N, **own})


def streams(shadows=range(S), scope="test"):
    return Streams(8).for_shadows(scope, list(shadows))


def pool(n_classes: int) -> Rows:
    rng = np.random.default_rng(1)
    return Rows(
        tuple(f"r{i}" for i in range(M)), rng.standard_normal((M, D)), np.arange(M) % n_classes
    )


def private(n_classes: int) -> PrivateRows:
    """Units of up to three rows; two units are always in, one of them of two rows."""
    rng = np.random.default_rng(2)
    unit = np.concatenate([np.arange(N - 2), rng.integers(0, N - 2, 12), [ALWAYS_IN] * 3])
    owner = np.concatenate([unit[unit != ALWAYS_IN], [N - 2, N - 1, N - 1]])
    return PrivateRows(
        ids=tuple(map(str, range(len(unit)))),
        features=rng.standard_normal((len(unit), D)) * 1.5,
        unit=unit,
        unit_ids=tuple(f"u{i}" for i in range(N - 2)),
        labels=rng.integers(0, n_classes, len(unit)),
        owner=owner,
    )


def start_of(model, n_classes: int):
    picks = Selection.from_mask(np.random.default_rng(3).random((S, M)) < 0.5)
    return model.fit(pool(n_classes), picks, n_classes, streams=streams())


def coins() -> np.ndarray:
    return np.random.default_rng(4).random((S, N - 2)) < 0.5


def multipliers_of(of: DpSgdSettings) -> list[float]:
    """s of ``W = s V``, of weights and biases in turn; ones where weights are trained as such."""
    by = of.multipliers(D)
    ones = [1.0] * (2 * len(of.hidden) + 2 if of.hidden else 1)
    return ones if by is None else [s for pair in by for s in pair]


def at_v(flat: np.ndarray, of: DpSgdSettings) -> np.ndarray:
    """What is trained, (S, P), from the weights that are seen."""
    widths = of.widths(D if of.hidden else D + 1)
    sizes = [n for i, o in itertools.pairwise(widths) for n in (i * o, o)]
    return flat / np.repeat(multipliers_of(of), sizes[: len(multipliers_of(of))])


def parameters(models: DenseModels) -> np.ndarray:
    """Everything that was trained, (S, P); the bias of one layer is a weight of it."""
    parts = [part for layer in models.layers for part in (layer.weight, layer.bias)]
    parts = parts if len(models.layers) > 1 else parts[:1]
    return torch.cat([part.mT.flatten(1) for part in parts], dim=1).numpy()


class Frozen:
    """Noise that is the same every time: by shadow and step."""

    def __init__(self, shadows=range(S)) -> None:
        self.shadows, self.step = list(shadows), 0

    def draw(self, shape):
        self.step += 1
        each = [np.random.default_rng((self.step, s)) for s in self.shadows]
        return np.array([rng.standard_normal(shape[1]) for rng in each])

    def secret(self) -> SecretRandomness:
        own = streams(self.shadows, "test/fine-tuning")
        return SecretRandomness(own.generators("dp_sgd/sampling"), ArrayNoise(self.draw))


# --- equality


def plain(models, rows: PrivateRows, held: np.ndarray, of: DpSgdSettings, s: int) -> np.ndarray:
    """One shadow, unit after unit, by autograd."""
    layers = dense_models(models).layers
    w = [part[s].clone() for layer in layers for part in (layer.weight, layer.bias)]
    w = w if len(layers) > 1 else w[:1]
    by = multipliers_of(of)
    w = [part / size for part, size in zip(w, by, strict=True)]
    v = [torch.zeros_like(part) for part in w]
    features = rows.features if len(layers) > 1 else with_ones(rows.features)
    inside = rows.unit_inclusion(held)[[s]]
    sampling = streams([s], "test/fine-tuning").generators("dp_sgd/sampling")
    batches = (
        [(np.arange(N)[None], inside)] * of.steps
        if of.sampling_rate == 1
        else poisson_batches(inside, of.sampling_rate, of.steps, sampling)
    )
    frozen = Frozen([s])
    for joined, real in batches:
        total = [torch.zeros_like(part) for part in w]
        for unit in joined[real]:
            own = rows.owners == unit
            its = torch.as_tensor(features[own]), torch.as_tensor(rows.labels[own])
            g = gradient(w, by, *its)
            norm = float(torch.cat([part.flatten() for part in g]).norm())
            factor = min(1, of.clip / (norm + 1e-6))
            total = [t + factor * part for t, part in zip(total, g, strict=True)]
        noise = torch.as_tensor(frozen.draw((1, sum(part.numel() for part in w)))[0])
        pieces = noise.split([part.numel() for part in w])
        for i, part in enumerate(w):
            drawn = pieces[i].reshape(part.T.shape).T
            g = (total[i] + of.noise_multiplier * of.clip * drawn) / of.expected_units
            v[i] = of.momentum * v[i] + g + of.l2 * part
            w[i] = part - of.learning_rate * v[i]
    seen = [part * size for part, size in zip(w, by, strict=True)]
    return torch.cat([part.T.flatten() for part in seen]).numpy()


def gradient(w, by, rows, labels):
    """Of the cross-entropy summed over a unit's rows, at what is trained."""
    w = [part.clone().requires_grad_(True) for part in w]
    hidden = rows
    for i in range(0, len(w), 2):
        hidden = hidden @ (by[i] * w[i]) + (by[i + 1] * w[i + 1] if len(w) > 1 else 0)
        hidden = torch.relu(hidden) if i + 2 < len(w) else hidden
    return torch.autograd.grad(
        torch.nn.functional.cross_entropy(hidden, labels, reduction="sum"), w
    )


@every_case
def test_all_shadows_at_once_are_one_shadow_and_one_unit_at_a_time(case):
    model, n_classes, changes = case
    models, rows, held = start_of(model, n_classes), private(n_classes), coins()
    of = settings(n_classes, **changes)
    found = parameters(tuned(models, rows, held, of, secret=Frozen().secret()))
    expected = np.stack([plain(models, rows, held, of, s) for s in range(S)])
    assert np.abs(found - expected).max() < 1e-12
    assert np.abs(found - parameters(dense_models(models))).max() > 0.05  # something was learned


def tuned(models, rows, held, of: DpSgdSettings, shadows=range(S), scope="test", secret=None):
    made = FineTune(settings=of, adjacency_of_claim="zero_out", device="cpu")
    return made.fit(models, rows, held, streams=streams(shadows, scope), secret=secret)


def test_a_shadow_is_the_same_whatever_is_trained_beside_it():
    models, rows, held = start_of(Logistic(device="cpu"), 3), private(3), coins()
    of = settings(3, sampling_rate=0.3)
    alone = dense_models(models).layers[0]
    one = DenseModels([Layer(alone.weight[2:3], alone.bias[2:3])])
    both = parameters(tuned(models, rows, held, of))
    assert np.array_equal(both[2:3], parameters(tuned(one, rows, held[2:3], of, [2])))


@pytest.mark.parametrize(
    ("model", "n_classes"),
    [
        (Logistic(device="cpu"), 2),
        (Logistic(device="cpu"), 3),
        (Mlp(hidden=(), epochs=2, device="cpu"), 3),
        (Mlp(hidden=(4,), epochs=2, device="cpu"), 2),
    ],
)
def test_the_start_says_what_the_first_stage_says(model, n_classes):
    models, asked = start_of(model, n_classes), private(n_classes).features
    found = dense_models(models).predict_proba(asked)
    assert np.abs(found - models.predict_proba(asked)).max() < 1e-6


def test_models_that_are_not_dense_are_refused():
    nearest = start_of(Knn(k=3), 3)
    with pytest.raises(TypeError, match="dense layers"):
        dense_models(nearest)


# --- what one unit can change

VALUES = st.sampled_from([0.0, 1e-3, 1.0, 50.0, 1e30, 1e200, np.inf, -np.inf, np.nan])


def one_sum(rows: PrivateRows, held: np.ndarray, of: DpSgdSettings, models) -> np.ndarray:
    """What enters the noise of one step: one step of rate 1, divided by 1."""
    alone = dataclasses.replace(of, steps=1, expected_units=1.0, learning_rate=1.0, l2=0.0)
    quiet = dataclasses.replace(alone, noise_multiplier=0.0)
    before = parameters(dense_models(models))
    return at_v(before, of) - at_v(parameters(tuned(models, rows, held, quiet)), of)


@every_case
@given(seed=st.integers(0, 10**6), scale=VALUES, unit=st.integers(0, N - 3))
def test_one_unit_moves_a_sum_by_at_most_the_clipping_norm(case, seed, scale, unit):
    """Records of D and D' with the coins frozen: out, or replaced by adversarial rows."""
    model, n_classes, changes = case
    models, rows, of = (
        start_of(model, n_classes),
        private(n_classes),
        settings(n_classes, **changes),
    )
    rng = np.random.default_rng(seed)
    held = np.ones((S, N - 2), dtype=bool)
    without = held.copy()
    without[:, unit] = False
    features, labels = rows.features.copy(), rows.labels.copy()
    own = rows.unit == unit
    with np.errstate(invalid="ignore", over="ignore"):
        features[own] = scale * rng.standard_normal((int(own.sum()), D))
    labels[own] = rng.integers(-1, n_classes + 1, int(own.sum()))
    other = dataclasses.replace(rows, features=features, labels=labels)
    first, second = (one_sum(one, held, of, models) for one in (rows, other))
    neither = one_sum(rows, without, of, models)
    assert np.array_equal(neither, one_sum(other, without, of, models))
    for one in (first, second):
        assert np.isfinite(one).all()
        assert np.linalg.norm(one - neither, axis=1).max() <= CLIP * (1 + 1e-9)
    assert np.linalg.norm(first - second, axis=1).max() <= 2 * CLIP * (1 + 1e-9)


def test_the_clipping_norm_is_reached():
    """The bound above is no more than it must be: a unit far off moves a sum by C."""
    rows, models = private(3), start_of(Logistic(device="cpu"), 3)
    rows.features[rows.unit == 5] = 100.0
    held = np.ones((S, N - 2), dtype=bool)
    without = held.copy()
    without[:, 5] = False
    moved = one_sum(rows, held, settings(3), models) - one_sum(rows, without, settings(3), models)
    assert np.linalg.norm(moved, axis=1) == pytest.approx([CLIP] * S, rel=1e-4)


def test_a_row_of_a_label_that_the_pool_lacks_counts_as_no_row():
    rows, models, held = private(3), start_of(Logistic(device="cpu"), 3), coins()
    of, strange = settings(3, sampling_rate=0.4), [N, N + 2, N + 5, N + 6]  # further rows of units
    labels, features = rows.labels.copy(), rows.features.copy()
    labels[strange], features[strange] = [3, 3, -1, 7], np.nan
    kept = np.setdiff1d(np.arange(len(rows)), strange)
    without = dataclasses.replace(
        rows,
        ids=tuple(rows.ids[i] for i in kept),
        features=rows.features[kept],
        labels=rows.labels[kept],
        unit=rows.unit[kept],
        owner=rows.owner[kept],
    )
    with_them = dataclasses.replace(rows, features=features, labels=labels)
    found = parameters(tuned(models, with_them, held, of))
    assert np.array_equal(found, parameters(tuned(models, without, held, of)))
    assert not np.array_equal(found, parameters(tuned(models, rows, held, of)))


def test_a_unit_without_any_label_of_the_pool_is_like_one_that_is_out():
    rows, models = private(3), start_of(Logistic(device="cpu"), 3)
    held = np.ones((S, N - 2), dtype=bool)
    out = held.copy()
    out[:, 3] = False
    nothing = dataclasses.replace(rows, labels=np.where(rows.unit == 3, -1, rows.labels))
    of = settings(3, sampling_rate=0.6)
    assert np.array_equal(
        parameters(tuned(models, nothing, held, of)), parameters(tuned(models, rows, out, of))
    )


# --- the noise


def test_the_noise_is_as_large_as_it_says():
    """Nobody is held: what is left are ``steps`` draws of rate x sigma x C over the divisor."""
    n_shadows, of = 400, settings(3, steps=5, sampling_rate=0.5, noise_multiplier=1.3)
    start = Layer(
        torch.zeros((n_shadows, D + 1, 3)).double(), torch.zeros((n_shadows, 1, 3)).double()
    )
    nobody = dataclasses.replace(private(3), labels=np.full(len(private(3)), -1))
    held = np.ones((n_shadows, N - 2), dtype=bool)
    moved = parameters(tuned(DenseModels([start]), nobody, held, of, range(n_shadows)))
    each = of.learning_rate * of.noise_multiplier * of.clip / of.expected_units
    statistic = (moved**2).sum() / (of.steps * each**2)
    low, high = stats.chi2.ppf([ALPHA / 2, 1 - ALPHA / 2], moved.size)
    assert low < statistic < high
    assert np.unique(moved).size == moved.size


def test_its_noise_is_not_the_scorers():
    """A private scorer has streams of the same names: were they shared, noise would cancel."""
    n_shadows, of = 3, settings(3, steps=1, learning_rate=1.0, noise_multiplier=1.0)
    of = dataclasses.replace(of, expected_units=of.clip)  # a step is minus the noise
    start = Layer(
        torch.zeros((n_shadows, D + 1, 3)).double(), torch.zeros((n_shadows, 1, 3)).double()
    )
    nobody = dataclasses.replace(private(3), labels=np.full(len(private(3)), -1))
    held = np.ones((n_shadows, N - 2), dtype=bool)
    moved = -parameters(tuned(DenseModels([start]), nobody, held, of, range(n_shadows)))
    drawn = {}
    for scope in ("test", "test/fine-tuning"):
        noise = torch.zeros((n_shadows, moved.shape[1])).double()
        of_scope = streams(range(n_shadows), scope).generators("dp_sgd/noise")
        TorchNoise.of_streams(of_scope, CPU).fill(noise)
        drawn[scope] = noise.numpy()
    assert moved == pytest.approx(drawn["test/fine-tuning"], abs=1e-12)
    assert np.abs(moved - drawn["test"]).max() > 0.1
    assert np.abs(moved[0] - moved[1]).max() > 0.1


def test_it_needs_labels():
    rows = dataclasses.replace(private(3), labels=None)
    with pytest.raises(ValueError, match="labels"):
        tuned(start_of(Logistic(device="cpu"), 3), rows, coins(), settings(3))
