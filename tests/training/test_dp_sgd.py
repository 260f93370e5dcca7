"""Whole private trainings against plain loops; the noise; what is constant; and that it learns.

Measured against the plain loop: at most 4e-15 in float64.
"""

import dataclasses

import numpy as np
import pytest
import torch
from scipy import stats
from sklearn.metrics import roc_auc_score

from curation_audit.streams import Streams
from curation_audit.training.dp_noise import ArrayNoise, SecretRandomness
from curation_audit.training.dp_sgd import DpSgdSettings, PaddedUnits, fit_dp_sgd
from curation_audit.training.mlp import Layer, forward, initial_layers
from curation_audit.training.poisson import poisson_batches

CPU = torch.device("cpu")
S, N, M, P = 6, 60, 90, 4
ALPHA = 1e-3  # false-alarm rate of each statistical test
PUBLIC = {"steps": 12, "clip": 1.0, "noise_multiplier": 0.8, "learning_rate": 0.3}
CASES = {
    "linear, full batch": {"sampling_rate": 1.0},
    "linear, sampled": {"sampling_rate": 0.2, "momentum": 0.9, "public_batch": 16},
    "mlp, full batch": {"sampling_rate": 1.0, "hidden": (5,), "average": True},
    "mlp, sampled": {"sampling_rate": 0.1, "hidden": (7, 5), "l2": 0.1, "momentum": 0.5},
}
every_case = pytest.mark.parametrize("case", CASES.values(), ids=CASES)


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


def fit(problem, shadows=range(S), scope="test", secret=None, start=None, **changes) -> list[Layer]:
    units, held, public = problem
    streams = Streams(3).for_shadows(scope, list(shadows))
    return fit_dp_sgd(
        units,
        held[list(shadows)],
        public,
        settings(**changes),
        streams=streams,
        device=CPU,
        secret=secret,
        start=start,
    )


def flat(layers: list[Layer]) -> np.ndarray:
    """Everything that was trained, (S, P), a layer's bias after its weight."""
    kept = [part for layer in layers for part in (layer.weight, layer.bias)]
    kept = kept if len(layers) > 1 else kept[:1]
    return torch.cat([part.mT.flatten(1) for part in kept], dim=1).numpy()


class Frozen:
    """Noise that is the same every time: by shadow and step."""

    def __init__(self, shadows=range(S)) -> None:
        self.shadows, self.step = list(shadows), 0

    def draw(self, shape):
        self.step += 1
        rows = [
            np.random.default_rng((self.step, s)).standard_normal(shape[1]) for s in self.shadows
        ]
        return np.array(rows)

    def secret(self) -> SecretRandomness:
        sampling = Streams(3).for_shadows("test", self.shadows).generators("dp_sgd/sampling")
        return SecretRandomness(sampling, ArrayNoise(self.draw))


def plain(problem, s: int, **changes) -> np.ndarray:
    """One shadow, unit after unit, by autograd: its parameters, flat, as ``flat`` has them."""
    units, held, public = problem
    chosen = settings(**changes)
    streams = Streams(3).for_shadows("test", [s])
    widths = (P + 1, *chosen.hidden, 1)
    start = initial_layers(widths, streams.generators("dp_sgd/weights"), torch.zeros(1).double())
    w = [part[0] for layer in start for part in (layer.weight, layer.bias)]
    if not chosen.hidden:
        w = [torch.zeros_like(w[0])]
    v = [torch.zeros_like(part) for part in w]
    frozen, history = Frozen([s]), []
    everyone = [(np.arange(N)[None], held[s][None])] * chosen.steps
    sampled = poisson_batches(
        held[[s]], chosen.sampling_rate, chosen.steps, streams.generators("dp_sgd/sampling")
    )
    drawing = Streams(3).generator("dp_sgd/public")
    for joined, real in everyone if chosen.sampling_rate == 1 else sampled:
        rows = public
        if chosen.public_batch:
            rows = public[drawing.choice(M, chosen.public_batch, replace=False)]
        total = [torch.zeros_like(part) for part in w]
        for unit in joined[real]:
            g = gradient(w, units.features[unit][units.present[unit]], sign=-1, mean=False)
            norm = float(torch.cat([part.flatten() for part in g]).norm())
            factor = min(1, chosen.clip / (norm + 1e-6))
            total = [t + factor * part for t, part in zip(total, g, strict=True)]
        noise = torch.as_tensor(frozen.draw((1, sum(part.numel() for part in w)))[0])
        pieces = [
            piece.reshape(part.T.shape).T
            for piece, part in zip(noise.split([part.numel() for part in w]), w, strict=True)
        ]
        negative = gradient(w, rows, sign=1, mean=True)
        for i in range(len(w)):
            private = total[i] + chosen.noise_multiplier * chosen.clip * pieces[i]
            g = private / chosen.expected_units + negative[i] + chosen.l2 * w[i]
            v[i] = chosen.momentum * v[i] + g
            w[i] = w[i] - chosen.learning_rate * v[i]
        history.append(torch.cat([part.T.flatten() for part in w]).numpy())
    half = history[len(history) // 2 :] if chosen.average else history[-1:]
    return np.mean(half, axis=0)


def gradient(w, rows, sign: int, mean: bool):
    """The gradient of ``log(1 + exp(sign * logit))``, summed or averaged over rows."""
    w = [part.clone().requires_grad_(True) for part in w]
    hidden = torch.as_tensor(rows)
    for i in range(0, len(w), 2):
        hidden = hidden @ w[i] + (w[i + 1] if len(w) > 1 else 0)
        hidden = torch.relu(hidden) if i + 2 < len(w) else hidden
    losses = torch.nn.functional.softplus(sign * hidden[:, 0])
    return torch.autograd.grad(losses.mean() if mean else losses.sum(), w)


@every_case
def test_training_equals_a_plain_loop(problem, case):
    found = flat(fit(problem, secret=Frozen().secret(), **case))
    wanted = np.array([plain(problem, s, **case) for s in range(S)])
    assert np.abs(wanted).max() > 0.05
    np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-12)


@every_case
def test_a_shadow_ends_the_same_whatever_is_trained_beside_it(problem, case):
    together = flat(fit(problem, **case))
    assert len({tuple(row) for row in together}) == S
    for shadows in ([0, 1, 2], [5, 3], [4]):
        np.testing.assert_allclose(
            flat(fit(problem, shadows, **case)), together[shadows], rtol=0, atol=1e-12
        )


@every_case
def test_parts_and_pieces_change_nothing(problem, case, monkeypatch):
    whole = flat(fit(problem, **case))
    monkeypatch.setattr("curation_audit.training.dp_sgd.ROWS_AT_ONCE", 7)
    monkeypatch.setattr("curation_audit.training.dp_sgd.AT_ONCE", {"cpu": 300})
    np.testing.assert_allclose(flat(fit(problem, **case)), whole, rtol=0, atol=1e-12)


@every_case
def test_single_precision_is_near(problem, case):
    units, held, public = problem
    single = dataclasses.replace(units, features=units.features.astype(np.float32))
    frozen = Frozen().secret, Frozen().secret
    found = fit((single, held, public.astype(np.float32)), secret=frozen[0](), **case)
    assert found[0].weight.dtype == torch.float32
    np.testing.assert_allclose(
        flat(found), flat(fit(problem, secret=frozen[1](), **case)), rtol=0, atol=2e-4
    )


@every_case
def test_it_learns(problem, case):
    units, _, public = problem
    layers = fit(problem, **(case | {"steps": 40, "noise_multiplier": 0.3}))
    private = units.features[units.present]
    rows = torch.as_tensor(np.concatenate([private, public]))
    truth = np.arange(len(rows)) < len(private)
    scores = forward(layers, rows)[-1][..., 0].numpy()
    assert min(roc_auc_score(truth, row) for row in scores) > 0.93


def test_it_learns_classes(rng):
    centres = 3 * rng.normal(size=(3, P))
    labels = rng.integers(0, 3, N)
    rows = centres[labels] + rng.normal(size=(N, P))
    units = PaddedUnits(rows[:, None], np.ones((N, 1), bool), labels[:, None])
    everyone, nothing = np.ones((S, N), bool), np.zeros((0, P))
    case = {"sampling_rate": 0.5, "hidden": (8,), "steps": 60, "noise_multiplier": 0.2}
    layers = fit((units, everyone, nothing), outputs=3, **case)
    found = forward(layers, torch.as_tensor(rows))[-1].argmax(dim=2).numpy()
    assert (found == labels).mean(axis=1).min() > 0.9


def noise_fit(draws: np.ndarray) -> float:
    """The p-value of rows being standard normal vectors: mean and covariance, by chi-square.

    The likelihood ratio of a covariance to the identity is asymptotically chi-square.
    """
    n, p = draws.shape
    mean = n * np.square(draws.mean(axis=0)).sum()
    covariance = draws.T @ draws / n
    ratio = n * (np.trace(covariance) - np.linalg.slogdet(covariance)[1] - p)
    return float(2 * min(stats.chi2.sf(mean, p), stats.chi2.sf(ratio, p * (p + 1) / 2)))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("case", [{"sampling_rate": 1.0}, {"sampling_rate": 0.2, "hidden": (2,)}])
def test_the_noise_has_the_stated_covariance(case, dtype):
    """Nobody is held and there is no pool, so that a step's change is its noise."""
    n_shadows = 3000
    units = PaddedUnits.of_rows(np.ones((N, 2), dtype))
    nobody, nothing = np.zeros((n_shadows, N), bool), np.zeros((0, 2), dtype)
    constants = {"clip": 0.7, "noise_multiplier": 1.3, "expected_units": 11.0, "learning_rate": 1.0}
    after = [
        flat(
            fit_dp_sgd(
                units,
                nobody,
                nothing,
                settings(**(case | constants | {"steps": steps})),
                streams=Streams(0).for_shadows("test", range(n_shadows)),
                device=CPU,
            )
        ).astype(np.float64)
        for steps in (1, 2, 3)
    ]
    draws = np.concatenate([after[1] - after[0], after[2] - after[1]], axis=1) * 11 / (0.7 * 1.3)
    n_coordinates = draws.shape[1] // 2
    assert noise_fit(draws) > ALPHA
    neighbours = np.concatenate([draws[::2], draws[1::2]], axis=1)
    assert noise_fit(neighbours) > ALPHA  # shadows are independent
    assert noise_fit(draws * 1.06) < 1e-5  # a little too much noise is caught
    assert noise_fit(draws + 0.1) < 1e-5
    repeated = np.concatenate([draws[:, :n_coordinates]] * 2, axis=1)
    assert noise_fit(repeated + 1e-6 * draws) < 1e-5  # and the same noise in two steps


@every_case
def test_constants_do_not_depend_on_who_is_held(problem, case):
    """After a step, what is left beside the clipped sum over a constant is the same for all."""
    units, held, public = problem
    quiet = case | {"steps": 1, "average": False, "clip": 1e-9, "noise_multiplier": 0.0}
    rows = {
        name: flat(fit((units, who, public), **quiet))
        for name, who in [("some", held), ("nobody", held & False), ("all", held | True)]
    }
    np.testing.assert_allclose(rows["some"], rows["nobody"], rtol=0, atol=1e-9)
    np.testing.assert_allclose(rows["all"], rows["nobody"], rtol=0, atol=1e-9)
    if not case.get("hidden"):  # all start from the same weights
        other = flat(fit((units, held, public), scope="another", **quiet))
        np.testing.assert_allclose(other, rows["some"][[0] * S], rtol=0, atol=1e-9)


@every_case
def test_a_unit_moves_a_step_by_at_most_its_share(problem, case):
    units, held, public = problem
    one = case | {"steps": 1, "average": False, "expected_units": 7.0, "learning_rate": 1.0}
    moved = []
    for unit in range(N):
        without, with_it = held.copy(), held.copy()
        without[:, unit], with_it[:, unit] = False, True
        pair = [
            flat(fit((units, who, public), secret=Frozen().secret(), **one))
            for who in (without, with_it)
        ]
        moved.append(np.linalg.norm(pair[1] - pair[0], axis=1))
    assert np.max(moved) <= 1 / 7 + 1e-12
    joined = np.array(moved) > 0
    assert abs(joined.mean() - case["sampling_rate"]) < 0.1
    assert np.median(np.array(moved)[joined]) > 0.1 / 7


def test_empty_batches_are_steps_with_noise(problem):
    nobody_joins = {"sampling_rate": 1e-9, "expected_units": 5.0}
    units, held, public = problem
    found = flat(fit(problem, secret=Frozen().secret(), **nobody_joins))
    wanted = flat(fit((units, held & False, public), secret=Frozen().secret(), **nobody_joins))
    np.testing.assert_array_equal(found, wanted)
    quiet = flat(fit(problem, noise_multiplier=0.0, **nobody_joins))
    assert np.abs(found - quiet).min() > 1e-4


@pytest.mark.parametrize("poison", [np.nan, np.inf, 1e200])
@every_case
def test_rows_that_are_not_finite_count_as_zero(problem, case, poison):
    units, held, public = problem
    bad = [0, 3, 17]  # 0 is also what pads a batch
    features = units.features.copy()
    features[bad, 0, 1] = poison
    without = held.copy()
    without[:, bad] = False
    found = fit((dataclasses.replace(units, features=features), held, public), **case)
    np.testing.assert_allclose(
        flat(found), flat(fit((units, without, public), **case)), rtol=0, atol=1e-12
    )


def test_padding_is_never_read(problem):
    units, held, public = problem
    features = np.where(units.present[..., None], units.features, np.nan)
    found = fit((dataclasses.replace(units, features=features), held, public), sampling_rate=0.2)
    np.testing.assert_array_equal(flat(found), flat(fit(problem, sampling_rate=0.2)))


def test_units_of_rows():
    rows = np.arange(10.0).reshape(5, 2)
    units = PaddedUnits.of_rows(rows, np.array([2, 0, 2, 0, 2]), 4)
    np.testing.assert_array_equal(units.present.sum(axis=1), [2, 0, 3, 0])
    np.testing.assert_array_equal(units.features[2], rows[[0, 2, 4]])
    np.testing.assert_array_equal(units.features[0], [*rows[[1, 3]], [0, 0]])
    alone = PaddedUnits.of_rows(rows)
    np.testing.assert_array_equal(alone.features[:, 0], rows)


@pytest.mark.parametrize(
    "wrong",
    [
        {"sampling_rate": 1.5},
        {"sampling_rate": 0.0},
        {"clip": 0.0},
        {"clip": float("inf")},
        {"noise_multiplier": -1.0},
        {"momentum": 1.0},
        {"public_batch": 0},
        {"hidden": (3, 0)},
    ],
    ids=str,
)
def test_settings_out_of_range(wrong):
    with pytest.raises(ValueError, match="must be"):
        settings(**({"sampling_rate": 0.1, "expected_units": 1.0} | wrong))


def test_arguments_that_do_not_fit(problem):
    units, held, public = problem
    for wrong in (
        (units, held[:, 1:], public),
        (units, held.astype(int), public),
        (units, held, public[:, 1:]),
        (units, held, np.full_like(public, np.nan)),
        (dataclasses.replace(units, labels=np.zeros((N, 3), int)), held, public),
    ):
        with pytest.raises(ValueError, match=r"must be|go with"):
            fit(wrong, sampling_rate=1.0)


# --- where it starts


@every_case
def test_the_start_that_is_given_counts_and_stays_as_it_was(case, problem):
    """From the streams' own start it is the same training; from another one it is not."""
    widths = (P + 1, *case.get("hidden", ()), 1)
    generators = Streams(3).for_shadows("test", range(S)).generators("dp_sgd/weights")
    start = initial_layers(widths, generators, torch.zeros(1).double())
    if len(widths) == 2:
        start = [Layer(torch.zeros_like(start[0].weight), start[0].bias)]
    before = [layer.weight.clone() for layer in start]
    assert np.array_equal(flat(fit(problem, start=start, **case)), flat(fit(problem, **case)))
    moved = [Layer(layer.weight + 0.5, layer.bias) for layer in start]
    assert np.abs(flat(fit(problem, start=moved, **case)) - flat(fit(problem, **case))).max() > 0.01
    assert all(torch.equal(layer.weight, w) for layer, w in zip(start, before, strict=True))


def test_a_start_of_another_network_is_refused(problem):
    wrong = [Layer(torch.zeros((S, P + 2, 1)).double(), torch.zeros((S, 1, 1)).double())]
    with pytest.raises(ValueError, match="start must have layers"):
        fit(problem, start=wrong, sampling_rate=1.0)
