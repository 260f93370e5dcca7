"""Networks at once against one network at a time under torch's autograd and SGD.

Measured: at most 6e-16 from the loop in float64, 5e-7 in float32.
"""

import numpy as np
import pytest
import torch

from curation_audit.streams import Streams
from curation_audit.training.in_step import Examples, train_in_step
from curation_audit.training.mlp import (
    Layer,
    Perceptrons,
    as_layers,
    as_parameters,
    forward,
    gradients,
    initial_layers,
    row_orders,
    train,
)
from curation_audit.training.mlp_in_cache import Dense, batches, networks_in_cache
from curation_audit.training.recipe import Recipe

EXACT, SINGLE = 1e-10, 2e-5
S, K, D, C = 4, 23, 3, 3
WIDTHS = (D, 7, 5, C)
SETTINGS = Recipe(epochs=4, batch_size=6, learning_rate=0.1, momentum=0.9, weight_decay=1e-2)
RAGGED = [23, 7, 1, 12]


def streams(purpose: str, shadows=range(S)) -> list[np.random.Generator]:
    return Streams(5).for_shadows("test", shadows).generators(purpose)


def problem(sizes, dtype=torch.float64, shadows=range(S)):
    """Rows, one-hot targets, real entries, orders and initial layers of some shadows."""
    drawn = np.random.default_rng(0)
    rows = drawn.normal(size=(S, K, D))
    targets = np.eye(C)[drawn.integers(0, C, (S, K))]
    pick = list(shadows)
    real = np.arange(max(1, max(sizes))) < np.array(sizes)[:, None]
    k_max = real.shape[1]
    rows = torch.as_tensor(rows[pick][:, :k_max], dtype=dtype)
    targets = torch.as_tensor(targets[pick][:, :k_max], dtype=dtype)
    orders = row_orders(real, SETTINGS.epochs, streams("order", shadows))
    layers = initial_layers(WIDTHS, streams("weights", shadows), rows)
    return layers, rows, targets, real, orders


def examples_of(rows, targets, real):
    """All rows in one set, of which each shadow has its own."""
    places = torch.arange(real.size).view(real.shape)
    return Examples(rows.flatten(0, 1), targets.flatten(0, 1), places, real)


def trained_on(layers, rows, targets, real, orders, settings=SETTINGS):
    return train(layers, examples_of(rows, targets, real), orders, settings)


def by_autograd(layers, rows, targets, sizes, orders, settings=SETTINGS):
    """One shadow at a time: plain loops, autograd, ``torch.optim.SGD``."""
    found = []
    for s, size in enumerate(sizes):
        parameters = [
            part[s].clone().requires_grad_(True)
            for layer in layers
            for part in (layer.weight, layer.bias)
        ]
        optimiser = torch.optim.SGD(
            parameters,
            lr=settings.learning_rate,
            momentum=settings.momentum,
            weight_decay=settings.weight_decay,
        )
        for epoch in range(settings.epochs):
            own = [i for i in orders[epoch, s].tolist() if i < size][:size]
            for start in range(0, size, settings.batch_size):
                batch = own[start : start + settings.batch_size]
                hidden = rows[s, batch]
                for i in range(0, len(parameters), 2):
                    hidden = hidden @ parameters[i] + parameters[i + 1]
                    if i + 2 < len(parameters):
                        hidden = torch.relu(hidden)
                loss = torch.nn.functional.cross_entropy(hidden, targets[s, batch])
                optimiser.zero_grad()
                loss.backward()
                optimiser.step()
        found.append([parameter.detach() for parameter in parameters])
    return found


def flat(layers: list[Layer]) -> list[torch.Tensor]:
    return [part for layer in layers for part in (layer.weight, layer.bias)]


def farthest(layers: list[Layer], expected) -> float:
    return max(
        float((part[s] - one).abs().max())
        for s, parts in enumerate(expected)
        for part, one in zip(flat(layers), parts, strict=True)
    )


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, EXACT), (torch.float32, SINGLE)])
@pytest.mark.parametrize("sizes", [[K] * S, RAGGED], ids=["equal", "ragged"])
def test_training_equals_one_network_at_a_time(sizes, dtype, tolerance):
    layers, rows, targets, real, orders = problem(sizes, dtype)
    trained = trained_on(layers, rows, targets, real, orders)
    expected = by_autograd(layers, rows, targets, sizes, orders)
    assert farthest(layers, expected) > 0.05  # it learns something
    assert farthest(trained, expected) < tolerance


def test_a_shadow_without_rows_keeps_its_initial_weights():
    sizes = [5, 0, 3, 0]
    layers, rows, targets, real, orders = problem(sizes)
    trained = trained_on(layers, rows, targets, real, orders)
    for before, after in zip(flat(layers), flat(trained), strict=True):
        np.testing.assert_array_equal(after[[1, 3]], before[[1, 3]])
        assert not torch.equal(after[0], before[0])


def test_gradients_equal_autograd():
    layers, rows, targets, _, _ = problem([K] * S)
    share = torch.as_tensor(np.random.default_rng(1).random((S, K)))
    parameters = [part.clone().requires_grad_(True) for part in flat(layers)]
    as_layers = [Layer(*parameters[i : i + 2]) for i in range(0, len(parameters), 2)]
    logits = forward(as_layers, rows)[-1]
    losses = -(targets * torch.log_softmax(logits, dim=2)).sum(dim=2)
    expected = torch.autograd.grad((share * losses).sum(), parameters)
    for found, wanted in zip(flat(gradients(layers, rows, targets, share)), expected, strict=True):
        torch.testing.assert_close(found, wanted, rtol=1e-12, atol=1e-13)


def test_the_initial_weights_are_he_normal_and_the_biases_zero():
    layers = initial_layers((200, 300, 4), streams("weights"), torch.zeros(1, dtype=torch.float64))
    spread = float(layers[0].weight.std())
    # 240,000 draws: the sd of their sd is .0014 of it
    assert spread == pytest.approx(np.sqrt(2 / 200), rel=0.01)
    assert all(not layer.bias.any() for layer in layers)


def test_an_order_holds_every_row_once_in_every_epoch():
    real = np.arange(K) < np.array(RAGGED)[:, None]
    orders = row_orders(real, 5, streams("order"))
    for s, size in enumerate(RAGGED):
        np.testing.assert_array_equal(
            np.sort(orders[:, s, :size], axis=1), np.tile(np.arange(size), (5, 1))
        )
        np.testing.assert_array_equal(orders[:, s, size:], np.arange(size, K)[None].repeat(5, 0))
    assert len({tuple(order) for order in orders[:, 0]}) == 5


def test_the_same_streams_give_the_same_bits():
    one, two = (trained_on(*problem(RAGGED)) for _ in range(2))
    assert all(torch.equal(a, b) for a, b in zip(flat(one), flat(two), strict=True))


def test_shadows_end_the_same_whatever_is_trained_beside_them():
    together = trained_on(*problem(RAGGED))
    for shadows in ([0, 1], [2, 3], [1]):
        sizes = [RAGGED[s] for s in shadows]
        apart = trained_on(*problem(sizes, shadows=shadows))
        for one, all_of_them in zip(flat(apart), flat(together), strict=True):
            assert torch.equal(one, all_of_them[shadows])  # to the bit


RECIPES = {
    "plain": Recipe(epochs=5, batch_size=6, learning_rate=0.1, momentum=0.0, weight_decay=0.0),
    "cosine": Recipe(epochs=5, batch_size=6, learning_rate=0.1, schedule="cosine", warmup=2),
    "adamw": Recipe(
        epochs=5, batch_size=6, learning_rate=0.02, optimiser="adamw", weight_decay=0.1
    ),
    "adamw, steps": Recipe(
        epochs=5,
        batch_size=30,
        learning_rate=0.02,
        optimiser="adamw",
        weight_decay=0.0,
        schedule="step",
        step_epochs=2,
    ),
}


@pytest.mark.parametrize("recipe", RECIPES.values(), ids=RECIPES)
@pytest.mark.parametrize("hidden", [(), (7,), (7, 5, 6)], ids=len)
@pytest.mark.parametrize("together", [1, 3])
def test_what_stays_in_cache_equals_what_a_gpu_does(recipe, hidden, together, monkeypatch):
    """Against ``train_in_step``, which itself equals torch's optimisers (``test_in_step``)."""
    monkeypatch.setattr("curation_audit.training.mlp_in_cache.MOST_NETWORKS", together)
    _, rows, targets, real, _ = problem(RAGGED)
    layers = initial_layers((D, *hidden, C), streams("weights"), rows)
    orders = row_orders(real, recipe.epochs, streams("order"))
    before = [one.clone() for one in flat(layers)]
    found = trained_on(layers, rows, targets, real, orders, recipe)
    examples = examples_of(rows, targets, real)
    in_step = train_in_step(Perceptrons(), as_parameters(layers), examples, orders, recipe)
    for one, other, start in zip(flat(found), in_step.parameters, before, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-12)
        assert not torch.equal(one, start)
    for one, start in zip(flat(layers), before, strict=True):
        assert torch.equal(one, start)  # what it was given stays as it was
    assert len(as_layers(in_step.parameters)) == len(hidden) + 1


def test_batches_are_each_networks_own():
    """Of 7, 5, 5 and 2 rows, three at a time: full ones first, then equal rests together."""
    sizes = np.array([7, 5, 5, 2])
    places = np.arange(28).reshape(4, 7)
    found = [(who.start, who.stop, rows.tolist()) for who, rows in batches(places, sizes, 3)]
    assert found == [
        (0, 3, [[0, 1, 2], [7, 8, 9], [14, 15, 16]]),
        (0, 1, [[3, 4, 5]]),
        (3, 4, [[21, 22]]),
        (1, 3, [[10, 11], [17, 18]]),
        (0, 1, [[6]]),
    ]
    assert list(batches(places[:0], sizes[:0], 3)) == []
    assert list(batches(places[:1], np.array([0]), 3)) == []


def test_so_many_networks_at_a_time_as_fit():
    def layers(width):
        return [Dense(np.zeros((2, width, width), np.float32), np.zeros((2, 1, width), np.float32))]

    assert networks_in_cache(layers(8)) == 16
    # three times 4 * 128 * 129 bytes: ten of them are 2 MiB
    assert networks_in_cache(layers(128)) == 10
    assert networks_in_cache(layers(4096)) == 1


def test_rows_that_are_not_there_are_refused():
    layers, rows, targets, real, orders = problem([K] * S)
    examples = examples_of(rows, targets, real)
    examples.index[0, 0] = 10**6
    with pytest.raises(ValueError, match="place must be within the 92 rows"):
        train(layers, examples, orders, SETTINGS)
