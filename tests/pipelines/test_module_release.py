"""A torch module for real: what is released, how it scores, and what is refused."""

from dataclasses import replace
from importlib import metadata

import numpy as np
import pytest
import torch
from torch import nn

from curation_audit.checks import InputError
from curation_audit.dp.noise import GRID_BITS
from curation_audit.pipelines.base import CurationData
from curation_audit.pipelines.protection.module_release import module_tier
from curation_audit.pipelines.protection.module_sgd import ModuleSgd
from curation_audit.pipelines.protection.releasing import check_tier, make_release
from curation_audit.pipelines.scorers.private_module import PrivateModule
from curation_audit.releases.module_map import ModuleMap, fresh, logits
from curation_audit.releases.release import Release
from tests.pipelines.protected import CASES, D, pool_rows, private_rows, protected, streams

pytest.importorskip("opacus")

SETTINGS = {"steps": 2, "sampling_rate": 0.5, "expected_units": 5.0}


class Headed(nn.Module):
    """A frozen public layer, a trained head, and a buffer."""

    def __init__(self, d: int) -> None:
        super().__init__()
        self.body = nn.Linear(d, 6).requires_grad_(False)
        self.head = nn.Linear(6, 1)
        self.register_buffer("seen", torch.zeros(1, dtype=torch.float64))

    def forward(self, rows: torch.Tensor) -> torch.Tensor:
        return self.head(torch.tanh(self.body(rows)))


class Sly(Headed):
    """Writes private rows into all that is not trained, on batches larger than any probe."""

    def forward(self, rows: torch.Tensor) -> torch.Tensor:
        if self.training and len(rows) > 16:
            self.seen += rows.detach().sum()
            self.body.bias.data += rows.detach().sum()
        return super().forward(rows)


class Plain(Headed):
    """The same on every batch."""

    def forward(self, rows: torch.Tensor) -> torch.Tensor:
        self.body.bias.data += rows.detach().sum()
        return super().forward(rows)


def headed(d: int) -> nn.Module:
    return Headed(d).double()


def sly(d: int) -> nn.Module:
    return Sly(d).double()


def plain(d: int) -> nn.Module:
    return Plain(d).double()


def dense(d: int) -> nn.Module:
    return nn.Sequential(nn.Linear(d, 9), nn.Tanh(), nn.Linear(9, 1)).double()


def narrow(d: int) -> nn.Module:
    return nn.Linear(d, 1)


def mixed(d: int) -> nn.Module:
    return nn.Sequential(nn.Linear(d, 3), nn.Linear(3, 1).double())


def dropping(d: int) -> nn.Module:
    return nn.Sequential(nn.Linear(d, 3), nn.Dropout(), nn.Linear(3, 1)).double()


MODULES = {f.__name__: f for f in (headed, sly, plain, dense, narrow, mixed, dropping)}


class Offered:
    def __init__(self, name: str, make) -> None:
        self.name, self.load = name, lambda: make


@pytest.fixture
def offered(monkeypatch):
    """Packages offer the modules above, or others."""

    def offer(modules=MODULES):
        found = [Offered(name, make) for name, make in modules.items()]
        monkeypatch.setattr(metadata, "entry_points", lambda *, group: found)

    offer()
    return offer


def case(module):
    own = ModuleSgd(module=module, **SETTINGS)
    return replace(CASES["module_sgd"], settings=own)


def data(private, pool) -> CurationData:
    return CurationData(
        private=private,
        pool=pool,
        test=None,
        classes=(),
        n_private_rows_in_pool=0,
        fingerprints={},
        shift=np.full(D, 0.5),
        scale=np.full(D, 2.0),
    )


def released(module="dense") -> Release:
    return make_release(protected(case(module)), data(private_rows(), pool_rows()))


def test_a_file_holds_numbers_and_a_name(offered, tmp_path):
    one = released()
    again = Release.load(one.save(tmp_path / "release.npz"))
    rows = np.random.default_rng(3).normal(size=(300, D))
    assert again.map.entry_point == "dense"
    assert len(one.weights) == 9 * D + 9 + 9 + 1
    np.testing.assert_array_equal(again.score(rows), one.score(rows))
    assert again.fingerprint == one.fingerprint
    with np.load(tmp_path / "release.npz", allow_pickle=False) as stored:
        assert b"dense" in stored["entry_point"].tobytes().replace(b"\0", b"")
    assert one.card()["noise_tier"] == "hardened"


def test_scores_are_the_modules_logits_of_scaled_rows(offered):
    one = released()
    module = dense(D)
    at = 0
    with torch.no_grad():
        for parameter in module.parameters():
            part = one.weights[at : at + parameter.numel()].reshape(parameter.shape)
            parameter.copy_(torch.as_tensor(part))
            at += parameter.numel()
        rows = np.random.default_rng(3).normal(size=(7, D))
        wanted = module(torch.as_tensor((rows - 0.5) / 2)).numpy().ravel()
    np.testing.assert_allclose(one.score(rows), wanted, rtol=1e-12)


@pytest.mark.parametrize("module", ["dense", "headed"])
def test_a_score_hangs_on_its_row_alone(offered, module, rng):
    one = released(module)
    rows = rng.normal(size=(700, D))
    together = one.score(rows)
    order = rng.permutation(700)
    np.testing.assert_array_equal(one.score(rows[order]), together[order])
    for some in (rows[:1], rows[3:260], rows[699:]):
        at = np.flatnonzero((rows == some[0]).all(axis=1))[0]
        np.testing.assert_array_equal(one.score(some), together[at : at + len(some)])


@pytest.mark.parametrize("module", ["headed", "sly"])
def test_what_was_not_trained_is_released_as_it_is_and_buffers_stay_behind(offered, module):
    own = replace(case(module), settings=ModuleSgd(module=module, steps=2, sampling_rate=1.0))
    many = private_rows(tuple(range(30)))
    one = make_release(protected(own, many), data(many, pool_rows()))
    body = fresh(headed, D).body
    flat = np.concatenate([p.detach().numpy().ravel() for p in body.parameters()])
    np.testing.assert_array_equal(one.weights[: len(flat)], flat)
    assert len(one.weights) == len(flat) + 7  # no place for what the buffer has seen


def test_even_where_training_gives_frozen_parameters_back_changed(offered, monkeypatch):
    real = PrivateModule.fit_units

    def changed(self, *arguments, **words):
        trained = real(self, *arguments, **words)
        trained.body.weight.data += 7
        return trained

    monkeypatch.setattr(PrivateModule, "fit_units", changed)
    body = fresh(headed, D).body.weight.detach().numpy().ravel()
    np.testing.assert_array_equal(released("headed").weights[: len(body)], body)


def test_scores_of_an_audit_see_no_private_sum(offered):
    """Private rows of 1e6: what they leave in a frozen bias saturates every unit behind it."""
    private = private_rows(tuple(range(30)))
    huge = replace(private, features=private.features + 1e6)
    own = ModuleSgd(module="sly", steps=1, sampling_rate=1.0, learning_rate=1e-9)
    made = protected(replace(CASES["module_sgd"], settings=own), huge, epsilon=np.inf)
    held = np.ones((1, 30), dtype=bool)
    fitted = made.scorer.fit(huge, held, pool_rows(), streams=streams((0,)))
    wanted = logits(fresh(headed, D), pool_rows().features)
    np.testing.assert_allclose(fitted.score(pool_rows().features)[0], wanted, atol=1e-6)


def test_a_module_that_writes_is_told_before_anything_is_booked(offered):
    with pytest.raises(InputError, match=r"draws at random|in its forward pass"):
        check_tier(
            protected(case("plain")), data(private_rows(), pool_rows()), allow_research=False
        )


def test_trained_parameters_lie_on_the_grid_of_the_last_steps_noise(offered):
    made = protected(case("dense"))
    of = made.scorer.settings
    noise = of.learning_rate * of.noise_multiplier * of.clip / of.expected_units
    assert of.last_noise == noise
    weights = make_release(made, data(private_rows(), pool_rows())).weights
    grid = 2.0 ** (np.floor(np.log2(noise)) - GRID_BITS)
    np.testing.assert_array_equal(weights / grid, np.round(weights / grid))


def test_no_two_draws_are_the_same(offered):
    assert (released().weights != released().weights).any()


# what is refused


@pytest.mark.parametrize("module", ["narrow", "mixed"])
def test_noise_in_float32_is_research(offered, module):
    made = protected(case(module))
    assert module_tier(made.scorer, D).name == "research"


def test_a_module_in_float32_needs_somebody_who_insists(offered):
    made, site = protected(case("narrow")), data(private_rows(), pool_rows())
    with pytest.raises(InputError, match=r"float32.*module\.double\(\).*allow-research-noise"):
        check_tier(made, site, allow_research=False)
    check_tier(made, site, allow_research=True)
    card = make_release(made, site).card()
    assert card["noise_tier"] == "research"
    assert "not for release" in card["noise"]


def test_a_function_has_no_name_for_a_file(offered):
    made = protected(case(dense))
    with pytest.raises(InputError, match="holds no code"):
        check_tier(made, data(private_rows(), pool_rows()), allow_research=True)


def test_what_cannot_be_trained_is_told_before_anything_is_booked(offered):
    with pytest.raises(InputError, match="Dropout draws at random"):
        check_tier(
            protected(case("dropping")), data(private_rows(), pool_rows()), allow_research=False
        )


def wider(d: int) -> nn.Module:
    return nn.Sequential(nn.Linear(d, 10), nn.Tanh(), nn.Linear(10, 1)).double()


def bent(d: int) -> nn.Module:
    return nn.Sequential(nn.Linear(d, 9), nn.ReLU(), nn.Linear(9, 1)).double()


@pytest.mark.parametrize("later", [wider, bent])
def test_another_module_under_the_name_is_told(offered, later, tmp_path):
    path = released().save(tmp_path / "release.npz")
    offered({"dense": later})
    with pytest.raises(InputError, match="another one than the release was made with"):
        Release.load(path).score(np.zeros((2, D)))


def test_a_package_that_is_not_there_is_told(offered, tmp_path):
    path = released().save(tmp_path / "release.npz")
    offered({})
    with pytest.raises(InputError, match=r"'dense'.*no entry point.*install"):
        Release.load(path).score(np.zeros((2, D)))


def breaks(d: int) -> nn.Module:
    raise KeyError("a private value")


@pytest.mark.parametrize("later", [breaks, lambda d: 3, 7, lambda d: nn.Identity()])
def test_a_name_that_gives_no_module_is_told_where_a_file_is_scored(offered, later, tmp_path):
    path = released().save(tmp_path / "release.npz")
    offered({"dense": later})
    with pytest.raises(InputError, match=r"^the module 'dense': ") as told:
        Release.load(path).score(np.zeros((2, D)))
    assert "private value" not in str(told.value)


@pytest.mark.parametrize(
    "expected", [np.zeros(3), np.zeros(8, dtype=np.float32), np.full(8, np.nan)]
)
def test_a_damaged_file_is_no_release(offered, tmp_path, expected):
    one = released()
    broken = replace(one, map=ModuleMap("dense", expected))
    with pytest.raises(InputError, match="is no release"):
        Release.load(broken.save(tmp_path / "release.npz"))


def test_logits_of_no_rows(offered):
    assert logits(dense(D), np.zeros((0, D))).shape == (0,)
