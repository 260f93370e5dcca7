"""Neighbours move what a mechanism adds noise to by no more than it declares, and nothing else.

Each check is also run on a mechanism that was broken on purpose, and must notice.
"""

import dataclasses
import itertools
from collections.abc import Callable
from unittest import mock

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from curation_audit.pipelines.base import PrivateRows, Rows
from curation_audit.pipelines.protection.base import Budget
from curation_audit.pipelines.protection.dp_sgd import DpGd, DpSgd
from curation_audit.pipelines.protection.gaussian_mean import GaussianMean
from curation_audit.pipelines.protection.noisy_top_k import NoisySelection
from curation_audit.pipelines.protection.protect import Protected
from curation_audit.pipelines.scorers.private_classifier import PrivateClassifier
from curation_audit.releases.public_maps import MeanMap
from curation_audit.training import dp_gradients
from curation_audit.training.dp_batches import PaddedUnits, UnitTable
from curation_audit.training.mlp import Layer
from tests.pipelines.neighbours import (
    ROUNDING,
    Neighbours,
    neighbours,
    private_sets,
    replay,
    worst_case,
)
from tests.pipelines.protected import CASES, Case, pool_rows, protected, site_of, streams

ADJACENCIES = ("add_remove", "zero_out", "replace_one")
POOL = pool_rows()
PLAIN_SUMS = (
    "gaussian_mean",
    "centroid_votes",
    "rff_density",
    "ulsif",
    "domain_votes",
    "trak_sum",
    "less_sums",
    "dsir_histogram",
)
SUMS = [name for name in CASES if name.startswith(PLAIN_SUMS)]
SELECTIONS = {
    "gumbel": CASES["noisy_top_k, gumbel"],
    "exponential": CASES["noisy_top_k, exponential"],
    "permute_and_flip": CASES["noisy_top_k, permute_and_flip"],
    "gaussian": CASES["noisy_top_k, gaussian"],
    "votes, gumbel": dataclasses.replace(
        CASES["centroid_votes + noisy_top_k"], selection=NoisySelection()
    ),
}
BUDGET = Budget(epsilon=2.0, delta=1e-2)  # five units have a delta below 1 / 5
few_cases = settings(max_examples=60)


def both(case: Case, of: Neighbours, adjacency) -> list[tuple[Protected, PrivateRows, np.ndarray]]:
    """The pipeline as it is built from D and from D', and who is held."""
    found = []
    for i, private in enumerate(private_sets(of, adjacency)):
        held = np.ones(private.n_units, dtype=bool)
        if adjacency == "zero_out" and i:
            held[of.changed] = False
        mechanism = protected(case, private, POOL, adjacency=adjacency, budget=BUDGET)
        found.append((mechanism, private, held))
    return found


def check(case: Case, of: Neighbours, adjacency) -> None:
    """Inputs of Gaussian sums and of noisy picks move by what is declared, all else not at all."""
    runs = both(case, of, adjacency)
    before, after = (replay(built, private, POOL, held) for built, private, held in runs)
    assert before.constants == after.constants
    for one, other in zip(before.sums, after.sums, strict=True):
        allowed = runs[0][0].scorer.mechanism.sum_sensitivity
        assert np.linalg.norm(one - other) <= allowed * (1 + ROUNDING)
    for one, other in zip(before.noise, after.noise, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-7 * max(1, np.abs(one).max()))
    noisy = zip(before.noisy_scores, after.noisy_scores, strict=True)
    for (one, scale, k), (other, same_scale, same_k) in noisy:
        assert (scale, k) == (same_scale, same_k)
        if case.mechanism == "noisy_top_k":  # else picks follow from what is private already
            check_scores(case, runs[0][1], one - other, adjacency)


def check_scores(case: Case, private: PrivateRows, moved: np.ndarray, adjacency) -> None:
    site = site_of(case, private, POOL, adjacency)
    bounded = (case.selection or NoisySelection()).bounded(site, case.scorer)
    slack = 1 + ROUNDING
    assert np.abs(moved).max() <= bounded.delta_inf * slack
    assert np.ptp(moved) <= (1 if bounded.monotone else 2) * bounded.delta_inf * slack
    if bounded.monotone:
        assert (moved >= -1e-12).all() or (moved <= 1e-12).all()
    if bounded.delta_2 is not None:
        assert np.linalg.norm(moved) <= bounded.delta_2 * slack


adjacencies = st.sampled_from(ADJACENCIES)


@pytest.mark.parametrize("name", SUMS)
@given(of=neighbours(POOL), adjacency=adjacencies)
@few_cases
def test_sums(name, of, adjacency):
    check(CASES[name], of, adjacency)


@pytest.mark.parametrize("name", SELECTIONS)
@given(of=neighbours(POOL), adjacency=adjacencies)
@few_cases
def test_scores_that_enter_noisy_picks(name, of, adjacency):
    check(SELECTIONS[name], of, adjacency)


@pytest.mark.parametrize("name", ["noisy_top_k of logits", "noisy_top_k of nearest"])
@given(of=neighbours(POOL, finite=True), adjacency=adjacencies)
@settings(max_examples=15)
def test_scores_of_scorers_that_are_not_private(name, of, adjacency):
    """Finite rows only: others are refused when they are read, and these scorers would fail."""
    check(CASES[name], of, adjacency)


@pytest.mark.parametrize("adjacency", ADJACENCIES)
@pytest.mark.parametrize("name", ["gaussian_mean", "centroid_votes"])
def test_the_worst_case_uses_the_sensitivity_up(name, adjacency):
    of = worst_case()
    if name == "centroid_votes":
        of = dataclasses.replace(of, other=np.array([[-9.0, 2, 0, 0, 0]]))
    runs = both(CASES[name], of, adjacency)
    sums = [replay(built, private, POOL, held).sums[0] for built, private, held in runs]
    sensitivity = runs[0][0].scorer.mechanism.sum_sensitivity
    assert np.linalg.norm(sums[0] - sums[1]) == pytest.approx(sensitivity, rel=1e-9)


# --- gradients


GRADIENTS = {
    "dp_gd": CASES["dp_gd"],
    "dp_sgd": CASES["dp_sgd"],
    "one step": dataclasses.replace(CASES["dp_gd"], settings=DpGd(steps=1, expected_units=4.0)),
    "perceptron": dataclasses.replace(
        CASES["dp_gd"], settings=DpSgd(steps=2, sampling_rate=1, hidden=(3,), expected_units=4.0)
    ),
}
GRADIENTS["perceptron"] = dataclasses.replace(GRADIENTS["perceptron"], mechanism="dp_sgd")
GRADIENTS["spectral perceptron"] = dataclasses.replace(
    GRADIENTS["perceptron"],
    settings=dataclasses.replace(
        GRADIENTS["perceptron"].settings, parametrization="spectral", learning_rate=0.3
    ),
)


def clipped_gradients(
    scorer: PrivateClassifier, private: PrivateRows, held: np.ndarray, seed: int
) -> np.ndarray:
    """The mechanism's input at some weights, flat (P,)."""
    embedded = scorer.embed(private.features)
    table = UnitTable.of_units(
        PaddedUnits.of_rows(embedded, private.owners, private.n_units), torch.device("cpu")
    )
    rng, layers = np.random.default_rng(seed), []
    widths = scorer.settings.widths(embedded.shape[1])
    for i, o in itertools.pairwise(widths):
        weight, bias = torch.as_tensor(rng.normal(size=(1, i, o))), torch.zeros((1, 1, o))
        layers.append(Layer(weight, bias.double()))
    total = 0.0
    for batch in table.everyone(held[None], 3):
        by = scorer.settings.multipliers(embedded.shape[1])
        sums = dp_gradients.clipped_sum(layers, batch, scorer.settings.clip, by)
        parts = [part for layer in sums for part in (layer.weight, layer.bias)]
        total = total + torch.cat([part.flatten() for part in parts]).numpy()
    return np.asarray(total)


def check_gradients(case: Case, of: Neighbours, adjacency, seed: int = 0) -> None:
    runs = both(case, of, adjacency)
    told = [(repr(b.claim), repr(b.protection), b.scorer.describe()) for b, _, _ in runs]
    assert told[0] == told[1]
    sums = [clipped_gradients(b.scorer, private, held, seed) for b, private, held in runs]
    allowed = runs[0][0].scorer.settings.clip * (2 if adjacency == "replace_one" else 1)
    assert np.linalg.norm(sums[0] - sums[1]) <= allowed * (1 + ROUNDING)


@pytest.mark.parametrize("name", GRADIENTS)
@given(of=neighbours(POOL), adjacency=adjacencies, seed=st.integers(0, 9))
@settings(max_examples=25)
def test_sums_of_gradients(name, of, adjacency, seed):
    if name == "dp_sgd":
        adjacency = "zero_out"  # one calibration takes seconds
    check_gradients(GRADIENTS[name], of, adjacency, seed)


@given(of=neighbours(POOL), adjacency=adjacencies)
@few_cases
def test_one_whole_step(of, adjacency):
    """With the noise frozen, weights after a step differ by rate * sensitivity / divisor."""
    runs = both(GRADIENTS["one step"], of, adjacency)
    before, after = (
        built.scorer.fit(private, held[None], POOL, streams=streams([0])).weights[0]
        for built, private, held in runs
    )
    of_run = runs[0][0].scorer.settings
    allowed = of_run.clip * (2 if adjacency == "replace_one" else 1)
    allowed *= of_run.learning_rate / of_run.expected_units
    assert np.linalg.norm(before - after) <= allowed * (1 + ROUNDING)


# --- mechanisms that are broken on purpose


def unclipped(vectors, norm):
    return np.where(np.isfinite(vectors), vectors, 0)


def scaled_on_private(self, site):
    centred = site.private.features.mean(axis=0)
    return MeanMap("inner_product", centred)


def by_own_number(self, vectors, held):
    counts = held.sum(axis=1, keepdims=True)
    return held.astype(float) @ vectors * (vectors.shape[0] / np.maximum(counts, 1))


def rows_clipped(rows, owner, n_units):
    sums = np.zeros((n_units, rows.shape[1]))
    np.add.at(sums, owner, rows / np.maximum(1, np.linalg.norm(rows, axis=1, keepdims=True)))
    return sums


SUM, MODULE = "curation_audit.dp.gaussian_sum", "curation_audit.pipelines.scorers.noisy_sum"
BROKEN: dict[str, tuple[Case, str, Callable]] = {
    "no clipping": (CASES["gaussian_mean"], f"{SUM}.clipped", unclipped),
    "no clipping, noisy picks": (CASES["noisy_top_k, gumbel"], f"{SUM}.clipped", unclipped),
    "scaler on private rows": (
        CASES["gaussian_mean"],
        f"{GaussianMean.__module__}.GaussianMean.map",
        scaled_on_private,
    ),
    "own number as denominator": (
        CASES["gaussian_mean"],
        f"{SUM}.GaussianSum.exact",
        by_own_number,
    ),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_mechanism_is_noticed(name):
    case, target, wrong = BROKEN[name]
    of = worst_case(others=-1.0)
    adjacency = "replace_one" if "scaler" in name else "zero_out"
    check(case, of, adjacency)
    with mock.patch(target, wrong), pytest.raises(AssertionError):
        check(case, of, adjacency)


def test_clipping_rows_in_place_of_units_is_noticed():
    of, case = worst_case(), CASES["gaussian_mean"]
    with (
        mock.patch(f"{MODULE}.unit_sums", rows_clipped),
        mock.patch(f"{SUM}.clipped", lambda vectors, norm: vectors),
        pytest.raises(AssertionError),
    ):
        check(case, of, "zero_out")


def test_unclipped_gradients_are_noticed():
    of, case = worst_case(), GRADIENTS["dp_gd"]
    check_gradients(case, of, "zero_out")
    norms = "curation_audit.training.dp_gradients._unit_norms"

    def short(flow, batch, biased):
        return torch.zeros(batch.counted.shape[:2], dtype=torch.float64)

    with mock.patch(norms, short), pytest.raises(AssertionError):
        check_gradients(case, of, "zero_out")


def test_rounding_of_scores_is_noticed():
    """Sums of many rows in float32 move by more than a unit's share where only picks are noised."""
    private, pool = many_rows(np.float32), Rows(POOL.ids, POOL.features.astype(np.float32))
    scorer = protected(CASES["noisy_top_k, gumbel"], private, pool, adjacency="add_remove").scorer
    scorer = dataclasses.replace(scorer, mechanism=dataclasses.replace(scorer.mechanism, clip=0.7))
    held = np.arange(private.n_candidates) >= np.arange(8)[:, None]  # one leaves after another
    scores = scorer.fit(private, held, pool, streams=streams(range(8))).score(pool.features)
    longest = np.linalg.norm(scorer.embed(pool.features).astype(float), axis=1).max()
    allowed = scorer.mechanism.sum_sensitivity * longest
    assert np.abs(np.diff(scores, axis=0)).max() <= allowed * (1 + ROUNDING)
    rounded = scores.astype(np.float32).astype(np.float64)
    assert np.abs(np.diff(rounded, axis=0)).max() > allowed * (1 + 1e-5)


def many_rows(dtype) -> PrivateRows:
    direction = POOL.features[:1] / np.linalg.norm(POOL.features[0])
    n = 20_000
    rows = np.repeat(direction, n, axis=0).astype(dtype)
    names = tuple(map(str, range(n)))
    return PrivateRows(names, rows, np.arange(n), names, owner=np.arange(n))
