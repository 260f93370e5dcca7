"""torch modules of users: in step, alone, and what goes wrong with them."""

import functools
from importlib import metadata

import numpy as np
import pytest
import torch

from curation_audit.auditing.chunks import describe
from curation_audit.checks import InputError, SettingError
from curation_audit.config.sections import build_downstream
from curation_audit.observations import Selection
from curation_audit.pipelines.base import Rows
from curation_audit.pipelines.downstream import module as module_file
from curation_audit.pipelines.downstream.mlp import Mlp
from curation_audit.pipelines.downstream.module import LoopedModules, Module
from curation_audit.pipelines.downstream.networks import NetworkModels, task_of
from curation_audit.streams import Streams
from curation_audit.training.mlp import Layer, forward, row_orders, train
from curation_audit.training.spectral_modules import spectral_mlp
from tests.pipelines import reference

EXACT = 1e-6  # of probabilities in float32; the weights are compared in tests/training
S, M, D, C = 4, 60, 4, 3
DRAWN = np.random.default_rng(0)
FEATURES = DRAWN.normal(size=(M, D))
POOL = Rows(tuple(map(str, range(M))), FEATURES, DRAWN.integers(0, C, M).astype(np.int64))
MASK = DRAWN.random((S, M)) < np.array([0.5, 0.2, 0.8, 0.4])[:, None]
ASKED = DRAWN.normal(size=(9, D))
SETTINGS = {"epochs": 3, "batch_size": 8, "learning_rate": 0.1, "device": "cpu"}
VALUE = 91735.53125


def plain(n_features, n_classes):
    return torch.nn.Sequential(
        torch.nn.Linear(n_features, 6), torch.nn.Tanh(), torch.nn.Linear(6, n_classes)
    )


def normalised(n_features, n_classes):
    return torch.nn.Sequential(
        torch.nn.Linear(n_features, 6),
        torch.nn.BatchNorm1d(6),
        torch.nn.ReLU(),
        torch.nn.Linear(6, n_classes),
    )


def dropping(n_features, n_classes):
    return torch.nn.Sequential(torch.nn.Dropout(0.3), plain(n_features, n_classes))


def frozen(n_features, n_classes):
    made = plain(n_features, n_classes)
    made[0].requires_grad_(False)
    return made


LOOPED = [normalised, dropping, frozen]


def fitted(factory, mask=MASK, shadows=range(S), **settings):
    model = Module(module=factory, **(SETTINGS | settings))
    streams = Streams(3).for_shadows("test", shadows)
    return model.fit(POOL, Selection.from_mask(mask), C, streams=streams)


@pytest.mark.parametrize("optimiser", ["sgd", "adamw"])
@pytest.mark.parametrize("factory", [plain, *LOOPED])
def test_training_equals_torch_one_module_at_a_time(factory, optimiser):
    models = fitted(factory, optimiser=optimiser)
    assert isinstance(models, LoopedModules if factory in LOOPED else NetworkModels)
    found = models.predict_proba(ASKED)
    streams = Streams(3).for_shadows("test", range(S))
    seeds, orders = streams.generators("initial weights"), streams.generators("row order")
    for s, mask in enumerate(MASK):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(int(seeds[s].integers(2**63)))
            network = factory(D, C).double()
            own = [one for one in network.parameters() if one.requires_grad]
            reference.train_module(
                network,
                FEATURES[mask],
                POOL.labels[mask],
                orders[s].random((3, mask.sum())),
                batch_size=8,
                smallest_batch=2 if factory is normalised else 1,
                optimiser=lambda parameters, own=own: (
                    torch.optim.SGD(own, lr=0.1, momentum=0.9, weight_decay=1e-4)
                    if optimiser == "sgd"
                    else torch.optim.AdamW(own, lr=0.1, weight_decay=1e-4)
                ),
            )
        wanted = reference.module_says(network, ASKED)
        np.testing.assert_allclose(found[s], wanted, rtol=0, atol=EXACT)


def test_in_step_and_looped_give_the_same(monkeypatch):
    together = fitted(plain, optimiser="adamw", stop=None).predict_proba(ASKED)
    monkeypatch.setattr(module_file, "works_in_step", lambda modules, rows: False)
    looped = fitted(plain, optimiser="adamw", stop=None)
    assert isinstance(looped, LoopedModules)
    np.testing.assert_allclose(looped.predict_proba(ASKED), together, rtol=0, atol=1e-7)


@pytest.mark.parametrize("factory", LOOPED)
def test_a_shadow_alone_is_as_among_many(factory):
    together = fitted(factory).predict_proba(ASKED)
    alone = fitted(factory, mask=MASK[2:3], shadows=[2]).predict_proba(ASKED)
    np.testing.assert_array_equal(alone[0], together[2])
    np.testing.assert_array_equal(fitted(factory).predict_proba(ASKED), together)


def test_the_number_of_workers_changes_nothing():
    one, two = (fitted(dropping, workers=n).predict_proba(ASKED) for n in (1, 2))
    np.testing.assert_array_equal(one, two)


def test_the_generators_of_torch_stay_as_they_were():
    before = torch.random.get_rng_state()
    fitted(dropping)
    fitted(plain)
    assert torch.equal(torch.random.get_rng_state(), before)


@pytest.mark.parametrize("factory", [plain, *LOOPED])
def test_shadows_with_one_row_and_none(factory):
    mask = np.zeros((3, M), bool)
    mask[1, 5] = True
    mask[2] = True
    found = fitted(factory, mask=mask, shadows=range(3)).predict_proba(ASKED)
    np.testing.assert_allclose(found.sum(axis=2), 1, atol=1e-6)


def test_a_last_batch_of_one_row_is_left_out_where_batches_are_normalised():
    mask = np.arange(M)[None] < 9  # a batch of eight, and one
    found = fitted(normalised, mask=mask, shadows=[0], epochs=1).predict_proba(ASKED)
    whole = fitted(normalised, mask=mask, shadows=[0], epochs=1, batch_size=9).predict_proba(ASKED)
    assert np.isfinite(found).all()
    assert np.abs(found - whole).max() > 1e-4


def test_one_module_given_again_and_again_is_not_shared():
    shared = plain(D, C).double()
    before = shared[0].weight.detach().clone()
    found = fitted(lambda n, c: shared).predict_proba(ASKED)
    assert torch.equal(shared[0].weight, before)
    assert len({one.tobytes() for one in found}) == S


def test_frozen_parameters_do_not_move():
    models = fitted(frozen)
    streams = Streams(3).for_shadows("test", range(S))
    for model, rng in zip(models.modules, streams.generators("initial weights"), strict=True):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(int(rng.integers(2**63)))
            initial = frozen(D, C).double()
        assert torch.equal(model[0].weight, initial[0].weight)
        assert not torch.equal(model[2].weight, initial[2].weight)


class Quotes(torch.nn.Module):
    """Tells a row in its exception."""

    def __init__(self, n_features, n_classes):
        super().__init__()
        self.one = torch.nn.Linear(n_features, n_classes)

    def forward(self, rows):
        raise RuntimeError(f"bad row {rows[0]} {VALUE}")


class InTraining(torch.nn.Module):
    """The same, while it is trained."""

    def __init__(self, n_features, n_classes):
        super().__init__()
        self.one = torch.nn.Linear(n_features, n_classes)

    def forward(self, rows):
        if self.training:
            raise RuntimeError(f"bad row {rows[0]} {VALUE}")
        return self.one(rows)


@pytest.mark.parametrize(
    ("factory", "error", "message"),
    [
        (Quotes, InputError, "^train module: asking it raised RuntimeError; call it by itself"),
        (
            lambda n, c: torch.nn.Sequential(torch.nn.BatchNorm1d(n), torch.nn.Linear(n, 1)),
            InputError,
            r"gave logits of shape \(2, 1\); expected \(2, 3\)",
        ),
        (InTraining, InputError, r"^train module: training on \d+ rows raised RuntimeError"),
        (lambda n: None, InputError, "^train module: making it raised TypeError"),
        (lambda n, c: None, SettingError, "its factory gave NoneType; expected an nn.Module"),
        (lambda n, c: torch.nn.Identity(), SettingError, "Identity has no parameter to train"),
        (
            lambda n, c: torch.nn.Linear(n, c + 1),
            InputError,
            r"gave logits of shape \(2, 4\); expected \(2, 3\)",
        ),
    ],
)
def test_a_broken_module_is_one_line_without_values(factory, error, message):
    with pytest.raises(error, match=message) as told:
        fitted(factory)
    assert str(VALUE) not in str(told.value)


@pytest.mark.parametrize("factory", [Quotes, lambda n, c: torch.nn.Linear(n, c + 1)])
def test_a_broken_module_is_seen_beforehand(factory):
    with pytest.raises(InputError, match="train module"):
        Module(module=factory, device="cpu").check(POOL)


class Offered:
    name = "plain"

    def load(self):
        return plain


def test_in_a_file(monkeypatch):
    monkeypatch.setattr(metadata, "entry_points", lambda *, group: [Offered()])
    section = {"model": "module", "module": "plain", "epochs": 5, "schedule": "cosine"}
    model = build_downstream(section, "cpu")
    assert (model.factory(), model.epochs, model.schedule) == (plain, 5, "cosine")
    with pytest.raises(SettingError, match="did you mean 'plain'"):
        build_downstream(section | {"module": "plane"}, "cpu")
    monkeypatch.setattr(metadata, "entry_points", lambda *, group: [])
    with pytest.raises(SettingError, match="no installed package offers one"):
        build_downstream(section, "cpu")
    with pytest.raises(SettingError, match="found int; expected a factory"):
        build_downstream(section | {"module": 3}, "cpu")


def test_descriptions_tell_modules_and_settings_apart_but_not_workers():
    base = describe(Module(module=plain, **SETTINGS))
    assert base["defined"].endswith("test_module.plain")
    assert base["epochs"] == 3
    assert describe(Module(module=plain, workers=2, **SETTINGS)) == base
    assert describe(Module(module=normalised, **SETTINGS)) != base
    assert describe(Module(module=plain, **(SETTINGS | {"epochs": 4}))) != base


def of_width(width):
    def factory(n_features, n_classes):
        return torch.nn.Sequential(
            torch.nn.Linear(n_features, width), torch.nn.Linear(width, n_classes)
        )

    return factory


def sized(n_features, n_classes, width=3):
    return of_width(width)(n_features, n_classes)


class Maker:
    def __init__(self, width):
        self.width = width

    def make(self, n_features, n_classes):
        return of_width(self.width)(n_features, n_classes)


def test_networks_of_one_definition_are_told_apart_by_what_they_carry():
    def told(factory):
        return describe(Module(module=factory, **SETTINGS))

    assert told(of_width(3)) == told(of_width(3)) != told(of_width(4))
    three, four = (functools.partial(sized, width=width) for width in (3, 4))
    assert told(three) == told(functools.partial(sized, width=3)) != told(four)
    assert told(Maker(3).make) == told(Maker(3).make) != told(Maker(4).make)
    one, other = (lambda n, c: sized(n, c, 3)), (lambda n, c: sized(n, c, 4))
    assert told(one) != told(other)


def test_a_network_for_just_the_classes_that_there_are_is_checked_with_these():
    rows = Rows(("a", "b", "c"), np.zeros((3, 2)), np.array([0, 1, 2]))
    Module(module=lambda n, c: torch.nn.Linear(n, 3), **SETTINGS).check(rows)
    with pytest.raises(InputError, match=r"logits of shape \(2, 3\)"):
        Module(module=lambda n, c: torch.nn.Linear(n, 3), **SETTINGS).check(
            Rows(("a", "b"), np.zeros((2, 2)), np.array([0, 1]))
        )


# --- the spectral parametrisation

SPECTRAL = {"width": 16, "base_width": 4, "parametrization": "spectral"}


def dense(n_features, n_classes, width):
    return torch.nn.Sequential(
        torch.nn.Linear(n_features, width), torch.nn.ReLU(), torch.nn.Linear(width, n_classes)
    )


def in_coordinates(n_features, n_classes, width):
    return spectral_mlp((n_features, width, n_classes))


def one_by_one(n_features, n_classes, width):
    made = dense(n_features, n_classes, width)
    return torch.nn.Sequential(made[0], torch.nn.BatchNorm1d(width), *made[1:])


@pytest.mark.parametrize("optimiser", ["sgd", "adamw", "muon"])
def test_a_dense_module_is_trained_as_a_spectral_perceptron(optimiser):
    """From the same start, at rates that follow from the shapes at 16 and at 4 units."""
    recipe = SETTINGS | {"optimiser": optimiser}
    found = fitted(dense, **recipe | SPECTRAL)
    streams = Streams(3).for_shadows("test", range(S))
    modules = []
    for rng in streams.generators("initial weights"):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(int(rng.integers(2**63)))
            modules.append(dense(D, C, 16).double())
    start = [
        Layer(
            torch.stack([one[i].weight.detach().T for one in modules]),
            torch.stack([one[i].bias.detach()[None] for one in modules]),
        )
        for i in (0, 2)
    ]
    model = Mlp(hidden=(16,), base_width=4, parametrization="spectral", **recipe)
    task = task_of(POOL, Selection.from_mask(MASK), C, model, "cpu")
    orders = row_orders(task.examples.real, model.epochs, streams.generators("row order"))
    scales = model.rule().dense_scales(model, (D, 16, C))
    layers = train(start, task.examples, orders, model, scales)
    wanted = torch.softmax(forward(layers, torch.as_tensor(ASKED))[-1], dim=2).numpy()
    np.testing.assert_allclose(found.predict_proba(ASKED), wanted, rtol=0, atol=EXACT)


@pytest.mark.parametrize("factory", [dense, in_coordinates, one_by_one])
def test_the_parametrisation_matters_but_at_the_base_width(factory):
    settings = {"optimiser": "adamw", "width": 16}
    spectral, standard, at_base = (
        fitted(factory, **settings | more).predict_proba(ASKED)
        for more in (SPECTRAL, {}, SPECTRAL | {"base_width": 16})
    )
    assert np.abs(spectral - standard).max() > 1e-3
    np.testing.assert_array_equal(at_base, standard)


@pytest.mark.parametrize("factory", [in_coordinates, one_by_one])
def test_a_spectral_shadow_alone_is_as_among_many(factory):
    together = fitted(factory, **SPECTRAL).predict_proba(ASKED)
    alone = fitted(factory, mask=MASK[2:3], shadows=[2], **SPECTRAL).predict_proba(ASKED)
    np.testing.assert_allclose(alone[0], together[2], rtol=0, atol=EXACT)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"width": None}, r"train\.width: is missing, and parametrization: spectral"),
        ({"parametrization": "mup"}, r"train\.parametrization: found 'mup'"),
        ({"width": 0}, "width must be positive"),
        ({"base_width": 0}, "base_width must be positive"),
    ],
)
def test_widths_that_say_nothing_are_refused(changes, expected):
    with pytest.raises((SettingError, ValueError), match=expected):
        Module(module=dense, **SETTINGS | SPECTRAL | changes)


def transposed(n_features, n_classes, width):
    return torch.nn.Sequential(
        torch.nn.Unflatten(1, (1, n_features)),
        torch.nn.ConvTranspose1d(1, width, 1),
        torch.nn.Flatten(),
        torch.nn.Linear(width * n_features, n_classes),
    )


def test_a_layer_without_a_rule_is_seen_beforehand():
    of = Module(module=transposed, **SETTINGS | SPECTRAL)
    with pytest.raises(
        SettingError, match=r"1\.weight \(1, 16, 1\) of ConvTranspose1d has no rule"
    ):
        of.check(POOL)
    Module(module=transposed, **SETTINGS | {"width": 16}).check(POOL)


def test_a_factory_that_knows_no_width_is_one_line():
    with pytest.raises(InputError, match="making it raised TypeError"):
        Module(module=plain, **SETTINGS | SPECTRAL).check(POOL)
