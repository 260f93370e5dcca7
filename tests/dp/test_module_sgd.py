"""Private training of a user's module: against our own engine, and what is refused."""

import builtins
import dataclasses

import numpy as np
import pytest
import torch
from sklearn.metrics import roc_auc_score
from torch import nn

from curation_audit.checks import InputError, SettingError
from curation_audit.dp.module_sgd import ModuleSgdSettings, PrivateUnits, fit_module
from curation_audit.streams import Streams
from curation_audit.training.dp_noise import ArrayNoise, SecretRandomness
from curation_audit.training.dp_sgd import DpSgdSettings, PaddedUnits, fit_dp_sgd
from curation_audit.training.mlp import Layer, initial_layers
from curation_audit.training.spectral import multiplier
from curation_audit.training.spectral_modules import spectral_mlp

pytest.importorskip("opacus")

N, M, P, H = 40, 50, 4, 6
CONSTANTS = {
    "steps": 10,
    "sampling_rate": 0.3,
    "clip": 0.8,
    "noise_multiplier": 0.7,
    "expected_units": 0.3 * N,
    "learning_rate": 0.2,
    "momentum": 0.5,
    "l2": 0.01,
}
STREAMS = Streams(2).for_shadows("test", [0])


@pytest.fixture
def data(rng):
    """Units of up to 3 rows, and a pool."""
    unit = np.concatenate([np.arange(N), rng.integers(0, N, 20)])
    return PrivateUnits(rng.normal(size=(60, P)) + 1.2, unit, N), rng.normal(size=(M, P))


def module() -> nn.Sequential:
    """The network that our engine starts from with the same streams."""
    layers = initial_layers(
        (P, H, 1), STREAMS.generators("dp_sgd/weights"), torch.zeros(1, dtype=torch.float64)
    )
    made = nn.Sequential(nn.Linear(P, H), nn.ReLU(), nn.Linear(H, 1)).double()
    for dense, layer in zip((made[0], made[2]), layers, strict=True):
        dense.weight.data = layer.weight[0].T.clone()
        dense.bias.data = layer.bias[0, 0].clone()
    return made


def secret(draw=None) -> SecretRandomness:
    draw = draw or np.random.default_rng(7).standard_normal
    return SecretRandomness(STREAMS.generators("dp_sgd/sampling"), ArrayNoise(draw))


def public_draws() -> np.random.Generator:
    return np.random.default_rng(5)


def fit(private, public, model=None, noise=None, **changes) -> nn.Module:
    return fit_module(
        module() if model is None else model,
        private,
        public,
        ModuleSgdSettings(**(CONSTANTS | changes)),
        secret=secret(noise),
        public_draws=public_draws(),
    )


def parameters(model: nn.Module) -> np.ndarray:
    return torch.cat([p.detach().flatten() for p in model.parameters()]).numpy()


@pytest.mark.parametrize("rate", [0.3, 1.0])
def test_it_equals_our_engine(data, rate):
    private, public = data
    found = parameters(fit(private, public, sampling_rate=rate, units_at_once=5))
    layers = fit_dp_sgd(
        PaddedUnits.of_rows(private.rows, private.unit, N),
        np.ones((1, N), bool),
        public,
        DpSgdSettings(**(CONSTANTS | {"hidden": (H,), "sampling_rate": rate})),
        streams=STREAMS,
        device=torch.device("cpu"),
        secret=secret(),
    )
    wanted = [part[0].T.flatten() for one in layers for part in (one.weight, one.bias)]
    np.testing.assert_allclose(found, torch.cat(wanted).numpy(), rtol=0, atol=1e-10)
    assert np.abs(found - parameters(module())).max() > 0.1


@pytest.mark.parametrize("rate", [0.3, 1.0])
def test_spectral_layers_equal_our_engine_in_spectral_coordinates(data, rate):
    """V of the layers is what is clipped and noised, here and there."""
    private, public = data
    start = module()
    model = spectral_mlp((P, H, 1)).double()
    for of_v, of_w in ((model[0], start[0]), (model[2], start[2])):
        o, i = of_w.weight.shape
        of_v.weight.data = of_w.weight.data / multiplier(i, o)
        of_v.bias.data = of_w.bias.data / multiplier(1, o)
    fitted = fit(private, public, model, sampling_rate=rate)
    layers = fit_dp_sgd(
        PaddedUnits.of_rows(private.rows, private.unit, N),
        np.ones((1, N), bool),
        public,
        DpSgdSettings(
            **CONSTANTS | {"hidden": (H,), "sampling_rate": rate, "parametrization": "spectral"}
        ),
        streams=STREAMS,
        device=torch.device("cpu"),
        secret=secret(),
        start=[
            Layer(one.weight.detach().T[None], one.bias.detach()[None, None])
            for one in (start[0], start[2])
        ],
    )
    for of_v, layer in ((fitted[0], layers[0]), (fitted[2], layers[1])):
        o, i = of_v.weight.shape
        weight, bias = of_v.weight.detach() * multiplier(i, o), of_v.bias.detach()
        torch.testing.assert_close(weight, layer.weight[0].T, rtol=0, atol=1e-10)
        torch.testing.assert_close(bias * multiplier(1, o), layer.bias[0, 0], rtol=0, atol=1e-10)


def test_it_learns_and_leaves_the_module_as_it_was(data):
    private, public = data
    model = module()
    before = parameters(model)
    fitted = fit(private, public, model, steps=40, noise_multiplier=0.3, public_batch=20)
    np.testing.assert_array_equal(parameters(model), before)
    assert not fitted.training
    rows = torch.as_tensor(np.concatenate([private.rows, public]))
    scores = fitted(rows)[:, 0].detach().numpy()
    assert roc_auc_score(np.arange(len(rows)) < 60, scores) > 0.9


@pytest.mark.parametrize("poison", [np.nan, np.inf, 1e300])
def test_a_unit_that_is_not_finite_counts_as_zero(data, poison):
    private, public = data
    rows = private.rows.copy()
    rows[7, 1] = poison
    kept = private.unit != 7
    found = parameters(fit(dataclasses.replace(private, rows=rows), public))
    without = PrivateUnits(private.rows[kept], private.unit[kept], N)
    np.testing.assert_allclose(found, parameters(fit(without, public)), rtol=0, atol=1e-12)


def test_a_unit_moves_a_step_by_at_most_its_share(data):
    private, public = data
    once = {"steps": 1, "sampling_rate": 1.0, "learning_rate": 1.0, "l2": 0.0, "clip": 0.01}
    share = 0.01 / CONSTANTS["expected_units"]
    whole = parameters(fit(private, public, **once))
    for unit in range(5):
        kept = private.unit != unit
        without = PrivateUnits(private.rows[kept], private.unit[kept], N)
        moved = np.linalg.norm(parameters(fit(without, public, **once)) - whole)
        # the margin that Opacus adds to a norm keeps it a little below
        assert 0.999 * share < moved <= share * (1 + 1e-9)


def test_nobody_is_a_step_with_noise(data):
    private, public = data
    nobody = PrivateUnits(private.rows[:0], private.unit[:0], N)
    found = parameters(fit(nobody, public))
    assert np.isfinite(found).all()
    quiet = parameters(fit(nobody, public, noise_multiplier=0.0))
    assert np.abs(found - quiet).min() > 1e-6
    assert np.isfinite(parameters(fit(private, public[:0]))).all()


def test_training_repeats_and_leaves_torchs_generator_alone(data):
    model, state = module(), torch.get_rng_state()
    one, two = (parameters(fit(*data, model)) for _ in range(2))
    np.testing.assert_array_equal(one, two)
    assert torch.equal(torch.get_rng_state(), state)


class Keeping(nn.Module):
    """Keeps the rows that it saw, where no list of parameters or buffers shows them."""

    def __init__(self) -> None:
        super().__init__()
        self.dense = nn.Linear(P, 1).double()
        self.seen = None

    def forward(self, rows):
        self.seen = rows.detach().clone()
        return self.dense(rows)


def test_a_module_that_keeps_rows_comes_back_without_them(data):
    fitted = fit(*data, Keeping())
    assert fitted.seen is None
    assert not torch.equal(fitted.dense.weight, Keeping().dense.weight)


def test_frozen_parameters_stay(data):
    model = module()
    model[0].weight.requires_grad_(False)
    fitted = fit(*data, model)
    assert torch.equal(fitted[0].weight, model[0].weight)
    assert not torch.equal(fitted[2].weight, model[2].weight)


class Summing(nn.Module):
    """Adds its rows to a frozen parameter, a trained one or a buffer, as codebooks do."""

    def __init__(self, place: str, least: int = 0, *, with_gradients: bool = False) -> None:
        super().__init__()
        self.dense = nn.Linear(P, 1).double()
        self.code = nn.Parameter(torch.zeros(P).double(), requires_grad=False)
        self.register_buffer("mean", torch.zeros(P).double())
        self.place, self.least, self.with_gradients = place, least, with_gradients

    def forward(self, rows):
        if self.training and len(rows) > self.least and self._asked():
            place = self.dense.weight if self.place == "trained" else getattr(self, self.place)
            place.data += rows.detach().sum(dim=0)
        return self.dense(rows)

    def _asked(self):
        return torch.is_grad_enabled() or not self.with_gradients


@pytest.mark.parametrize("place", ["code", "mean", "trained"])
def test_what_a_forward_pass_writes_never_comes_back(data, place):
    """The probes have 16 rows: such a module passes them."""
    torch.manual_seed(0)
    model = Summing(place, least=16)
    fitted = fit(*data, model, sampling_rate=1.0)
    for name in ("code", "mean"):
        assert torch.equal(getattr(fitted, name), torch.zeros(P).double())
    assert fitted.dense.weight.abs().max() < 10  # sums of 60 rows are about 70, ten times


@pytest.mark.parametrize("with_gradients", [False, True])
@pytest.mark.parametrize("place", ["code", "mean", "trained"])
def test_a_module_that_writes_is_refused(data, place, with_gradients):
    with pytest.raises(SettingError, match=r"in its forward pass|draws at random"):
        fit(*data, Summing(place, with_gradients=with_gradients))


class Centred(nn.Module):
    """Takes the mean of its batch away: no validator sees that."""

    def __init__(self) -> None:
        super().__init__()
        self.dense = nn.Linear(P, 1).double()

    def forward(self, rows):
        return self.dense(rows - rows.mean(dim=0))


class CentredInTraining(Centred):
    """The same, in training only."""

    def forward(self, rows):
        return super().forward(rows) if self.training else self.dense(rows)


class Noisy(nn.Module):
    """Dropout by a function, in training only."""

    def __init__(self) -> None:
        super().__init__()
        self.dense = nn.Linear(P, 1).double()

    def forward(self, rows):
        return self.dense(nn.functional.dropout(rows, 0.5, self.training))


def zero_head(model: nn.Module) -> nn.Module:
    """The last layer starts at zero, so that at first no logit shows what comes before."""
    *_, last = (part for part in model.modules() if isinstance(part, nn.Linear))
    nn.init.zeros_(last.weight)
    nn.init.zeros_(last.bias)
    return model


def network(*middle: nn.Module, outputs: int = 1) -> nn.Module:
    return nn.Sequential(nn.Linear(P, H), *middle, nn.Linear(H, outputs)).double()


@pytest.mark.parametrize(
    ("model", "told"),
    [
        (network(nn.BatchNorm1d(H)), "BatchNorm1d"),
        (network(nn.BatchNorm1d(H, affine=False, track_running_stats=False)), "BatchNorm1d"),
        (nn.Sequential(nn.LSTM(P, H)), "module"),
        (network(outputs=2), "expected one logit"),
        (nn.Linear(P + 1, 1).double(), "does not take the rows"),
        (nn.Linear(P, 1), "does not take the rows"),
        (Centred(), "rows beside it"),
        (CentredInTraining(), "rows beside it"),
        (network(nn.Dropout(0.5)), "draws at random"),
        (Noisy(), "draws at random"),
        (zero_head(CentredInTraining()), "rows beside it"),
        (zero_head(Centred()), "rows beside it"),
        (zero_head(Noisy()), "draws at random"),
        (zero_head(network(nn.Dropout(0.5))), "draws at random"),
        (network().requires_grad_(False), "no parameter"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_modules_that_are_refused(data, model, told):
    with pytest.raises(SettingError, match=told):
        fit(*data, model)


@pytest.mark.parametrize(
    "wrong",
    [
        {"poisson_sampling": False},
        {"early_stopping": True},
        {"sampling_rate": 0.0},
        {"clip": -1.0},
        {"noise_multiplier": float("nan")},
        {"momentum": 1.0},
        {"public_batch": 0},
    ],
    ids=str,
)
def test_settings_that_are_refused(wrong):
    with pytest.raises(SettingError, match=next(iter(wrong))):
        ModuleSgdSettings(**(CONSTANTS | wrong))


def test_without_opacus_it_says_what_to_install(data, monkeypatch):
    real = builtins.__import__

    def missing(name, *arguments, **others):
        if name.startswith("opacus"):
            raise ModuleNotFoundError(name=name)
        return real(name, *arguments, **others)

    monkeypatch.setattr(builtins, "__import__", missing)
    with pytest.raises(InputError, match=r"pip install 'curation-audit\[opacus\]'"):
        fit(*data)
