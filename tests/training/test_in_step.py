"""Networks trained in step against one at a time under torch's own optimisers and schedules.

Measured: at most 7e-16 from the loop.
"""

import itertools
import warnings

import numpy as np
import pytest
import torch
from torch.optim import lr_scheduler

from curation_audit.streams import Streams
from curation_audit.training.cnn import ConvolutionalNetworks
from curation_audit.training.in_step import Examples, Validation, train_in_step
from curation_audit.training.mlp import Perceptrons, as_parameters, initial_layers, row_orders
from curation_audit.training.modules import ModulesInStep, OneModule, stacked, works_in_step
from curation_audit.training.recipe import EarlyStopping, Recipe
from tests.pipelines import reference

EXACT = 1e-10
S, M, D, C = 4, 40, 9, 3
SIZES = [23, 7, 1, 12]
EPOCHS, WARMUP = 7, 2
DRAWN = np.random.default_rng(0)
FEATURES = DRAWN.normal(size=(M, D))
LABELS = DRAWN.integers(0, C, M)
PICKED = [np.sort(DRAWN.choice(M, size, replace=False)) for size in SIZES]
ROWS, TARGETS = torch.as_tensor(FEATURES), torch.as_tensor(np.eye(C)[LABELS])
BASE = {"epochs": EPOCHS, "batch_size": 6, "learning_rate": 0.1, "weight_decay": 1e-2}


def streams(purpose: str) -> list[np.random.Generator]:
    return Streams(5).for_shadows("test", range(S)).generators(purpose)


def examples(picked=PICKED) -> Examples:
    real = np.arange(max(map(len, picked))) < np.array([[len(rows)] for rows in picked])
    index = np.zeros(real.shape, np.int64)
    index[real] = np.concatenate(picked)
    return Examples(ROWS, TARGETS, torch.as_tensor(index), real)


def orders(given: Examples) -> np.ndarray:
    return row_orders(given.real, EPOCHS, streams("order"))


def perceptrons():
    layers = initial_layers((D, 5, C), streams("weights"), ROWS)
    return Perceptrons(), as_parameters(layers)


def convolutional():
    networks = ConvolutionalNetworks((1, 3, 3), (4,), C)
    return networks, networks.initial(streams("weights"), ROWS)


def as_modules(parameters) -> list[torch.nn.Sequential]:
    """One plain torch module a shadow, with its share of stacked parameters."""
    made = []
    for s in range(S):
        own = [one[s].clone() for one in parameters]
        if own[0].ndim == 4:
            module = torch.nn.Sequential(
                torch.nn.Unflatten(1, (1, 3, 3)),
                torch.nn.Conv2d(1, 4, 3, padding=1),
                torch.nn.ReLU(),
                torch.nn.MaxPool2d(2),
                torch.nn.Flatten(),
                torch.nn.Linear(4, C),
            )
            layers = [module[1], module[5]]
        else:
            module = torch.nn.Sequential(
                torch.nn.Linear(D, 5), torch.nn.ReLU(), torch.nn.Linear(5, C)
            )
            layers = [module[0], module[2]]
        module.double()
        for layer, weight, bias in zip(layers, own[::2], own[1::2], strict=True):
            layer.weight.data = weight if weight.ndim == 4 else weight.T.contiguous()
            layer.bias.data = bias.flatten()
        made.append(module)
    return made


def logits_alone(modules) -> torch.Tensor:
    with torch.no_grad():
        return torch.stack([module.eval()(ROWS) for module in modules])


def farthest(networks, trained, modules) -> float:
    with torch.no_grad():
        together = networks.logits(trained.parameters, ROWS)
    return float((together - logits_alone(modules)).abs().max())


def draws_of(shadow: int, size: int) -> np.ndarray:
    return streams("order")[shadow].random((EPOCHS, size))


OPTIMISERS = {
    "sgd": lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9, weight_decay=1e-2),
    "adamw": lambda p: torch.optim.AdamW(p, lr=0.1, weight_decay=1e-2),
}
SCHEDULES = {
    "constant": lambda o, left: lr_scheduler.ConstantLR(o, factor=1.0),
    "cosine": lambda o, left: lr_scheduler.CosineAnnealingLR(o, T_max=left),
    "linear": lambda o, left: lr_scheduler.LinearLR(o, 1.0, 0.0, total_iters=left),
    "step": lambda o, left: lr_scheduler.StepLR(o, step_size=2, gamma=0.3),
}


def scheduler(name: str, warmup: int):
    def made(optimiser):
        later = SCHEDULES[name](optimiser, EPOCHS - warmup)
        if not warmup:
            return later
        rise = lr_scheduler.LinearLR(optimiser, 1 / (warmup + 1), 1.0, total_iters=warmup)
        return lr_scheduler.SequentialLR(optimiser, [rise, later], milestones=[warmup])

    return made


@pytest.mark.parametrize("warmup", [0, WARMUP])
@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("optimiser", OPTIMISERS)
@pytest.mark.parametrize("kind", [perceptrons, convolutional])
def test_optimisers_and_schedules_equal_those_of_torch(kind, optimiser, schedule, warmup):
    recipe = Recipe(
        **BASE,
        optimiser=optimiser,
        schedule=schedule,
        warmup=warmup,
        step_epochs=2,
        step_factor=0.3,
    )
    networks, initial = kind()
    given = examples()
    trained = train_in_step(networks, initial, given, orders(given), recipe)
    modules = as_modules(initial)
    assert farthest(networks, trained, modules) > 0.05  # it learns something
    with warnings.catch_warnings():
        # of the schedulers about their own inner calls
        warnings.filterwarnings("ignore", message=".*epoch parameter|.*lr_scheduler.step")
        for s, (module, rows) in enumerate(zip(modules, PICKED, strict=True)):
            reference.train_module(
                module,
                FEATURES[rows],
                LABELS[rows],
                draws_of(s, len(rows)),
                batch_size=6,
                optimiser=OPTIMISERS[optimiser],
                schedule=scheduler(schedule, warmup),
            )
    assert farthest(networks, trained, modules) < EXACT


def test_a_slightly_different_optimiser_is_told_apart():
    networks, initial = perceptrons()
    given = examples()
    one, other = (
        train_in_step(networks, initial, given, orders(given), Recipe(**BASE, **how))
        for how in ({"optimiser": "adamw"}, {"optimiser": "adamw", "schedule": "cosine"})
    )
    assert (
        max(
            float((a - b).abs().max())
            for a, b in zip(one.parameters, other.parameters, strict=True)
        )
        > 1e-3
    )


def stopped_alone(module, rows, draws, optimiser, apart, patience):
    """Train one module, and give the best epoch's weights and how many epochs there were."""
    losses, kept = [], []

    def after_epoch():
        with torch.no_grad():
            found = torch.nn.functional.cross_entropy(
                module.eval()(ROWS[apart]), torch.as_tensor(LABELS[apart])
            )
        losses.append(float(found))
        kept.append({name: one.clone() for name, one in module.state_dict().items()})
        return len(losses) - 1 - int(np.argmin(losses)) < patience

    reference.train_module(
        module,
        FEATURES[rows],
        LABELS[rows],
        draws,
        batch_size=6,
        optimiser=optimiser,
        after_epoch=after_epoch,
    )
    if losses:
        module.load_state_dict(kept[int(np.argmin(losses))])
    return len(losses)


@pytest.mark.parametrize("optimiser", OPTIMISERS)
@pytest.mark.parametrize("kind", [perceptrons, convolutional])
def test_early_stopping_equals_one_network_at_a_time(kind, optimiser):
    networks, initial = kind()
    apart = np.arange(0, M, 5)
    given = examples([np.setdiff1d(rows, apart) for rows in PICKED])
    recipe = Recipe(**BASE, optimiser=optimiser, stop=EarlyStopping(patience=2))
    validation = Validation(ROWS[apart], TARGETS[apart], recipe.stop.patience)
    trained = train_in_step(networks, initial, given, orders(given), recipe, validation)
    modules = as_modules(initial)
    lasted = []
    for s, module in enumerate(modules):
        rows = np.setdiff1d(PICKED[s], apart)
        draws = draws_of(s, len(rows))
        lasted.append(stopped_alone(module, rows, draws, OPTIMISERS[optimiser], apart, 2))
    assert min(lasted) < EPOCHS  # somebody stops before the end
    assert len(set(lasted)) > 1  # and not everybody at once
    assert farthest(networks, trained, modules) < EXACT


def test_a_shadow_without_rows_keeps_its_initial_weights():
    given = examples([PICKED[0], PICKED[0][:0], PICKED[2], PICKED[3]])
    apart = Validation(ROWS[:5], TARGETS[:5], 2)
    for kind, how, validation in itertools.product(
        (perceptrons, convolutional), ("sgd", "adamw"), (None, apart)
    ):
        networks, initial = kind()
        recipe = Recipe(**BASE, optimiser=how)
        trained = train_in_step(networks, initial, given, orders(given), recipe, validation)
        for before, after in zip(initial, trained.parameters, strict=True):
            assert torch.equal(before[1], after[1])
            assert not torch.equal(before[0], after[0])


def test_the_initial_kernels_are_he_normal():
    networks = ConvolutionalNetworks((30, 8, 8), (60, 50), 3)
    parameters = networks.initial(streams("weights"), ROWS)
    assert [tuple(one.shape[1:]) for one in parameters] == [
        (60, 30, 3, 3), (60,), (50, 60, 3, 3), (50,), (200, 3), (1, 3),
    ]  # fmt: skip
    # 64,800 and 108,000 draws: the sds of their sds are .3 and .2 % of them
    assert float(parameters[0].std()) == pytest.approx(np.sqrt(2 / 270), rel=0.015)
    assert float(parameters[2].std()) == pytest.approx(np.sqrt(2 / 540), rel=0.015)
    assert all(not one.any() for one in parameters[1::2])


class Residual(torch.nn.Module):
    """A module of a user's."""

    def __init__(self, **settings) -> None:
        super().__init__()
        self.first, self.last = torch.nn.Linear(D, D), torch.nn.Linear(D, C)
        self.scale = torch.nn.Parameter(torch.ones(()))
        self.never_used = torch.nn.Parameter(torch.ones(2))

    def forward(self, rows):
        return self.last(rows + self.scale * torch.tanh(self.first(rows)))


def residuals() -> list[torch.nn.Module]:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        return [Residual().double() for _ in range(S)]


@pytest.mark.parametrize("stop", [None, EarlyStopping(patience=2)])
@pytest.mark.parametrize("optimiser", OPTIMISERS)
def test_a_module_in_step_and_one_by_one_give_the_same(optimiser, stop):
    modules = residuals()
    assert works_in_step(modules, ROWS[:2])
    recipe = Recipe(**BASE, optimiser=optimiser, schedule="linear", stop=stop)
    validation = None if stop is None else Validation(ROWS[:8], TARGETS[:8], stop.patience)
    given = examples()
    order = orders(given)
    networks = ModulesInStep(modules[0])
    together = train_in_step(networks, stacked(modules), given, order, recipe, validation)
    for s, module in enumerate(residuals()):
        size = SIZES[s]
        own = Examples(ROWS, TARGETS, given.index[s : s + 1, :size], given.real[s : s + 1, :size])
        alone = train_in_step(
            OneModule(module),
            stacked([module]),
            own,
            order[:, s : s + 1, :size],
            recipe,
            validation,
        )
        for one, every in zip(alone.parameters, together.parameters, strict=True):
            torch.testing.assert_close(one[0], every[s], rtol=0, atol=EXACT)


@pytest.mark.parametrize(
    "make",
    [
        lambda: torch.nn.Sequential(torch.nn.BatchNorm1d(D), torch.nn.Linear(D, C)),
        lambda: torch.nn.Sequential(torch.nn.Dropout(0.5), torch.nn.Linear(D, C)),
        lambda: torch.nn.Sequential(
            torch.nn.Linear(D, D).requires_grad_(False), torch.nn.Linear(D, C)
        ),
        lambda: Rounding(),
        lambda: Centring(),
    ],
    ids=["batch norm", "dropout", "frozen", "numbers taken out of tensors", "mixes rows"],
)
def test_what_does_not_work_in_step_is_seen(make):
    assert not works_in_step([make().double() for _ in range(3)], ROWS[:4])


class Rounding(Residual):
    def forward(self, rows):
        return super().forward(rows) * round(float(rows.sum()) * 0 + 1)


class Centring(Residual):
    def forward(self, rows):
        return super().forward(rows - rows.mean(dim=0))
