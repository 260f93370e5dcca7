"""What every scorer owes, and the equality of each with the plain reference.

Measured: in float64 at most 1e-11 from the reference for the classifier and 7e-16 for the
others, in float32 1.5e-4 for the classifier (whose solver stops at 1e-5 of a coefficient) and
4e-7 for the others.
"""

from collections.abc import Callable

import numpy as np
import pytest

from curation_audit.pipelines.base import ALWAYS_IN, PrivateRows, Rows, Scorer
from curation_audit.pipelines.scorers import SCORERS
from curation_audit.pipelines.scorers.classifier import Classifier
from curation_audit.pipelines.scorers.mean import Mean
from curation_audit.pipelines.scorers.nearest import N_NEAREST, Nearest
from curation_audit.streams import Streams
from tests.pipelines import reference
from tests.pipelines.gradient_cases import gradient_cases
from tests.pipelines.text_cases import text_cases
from tests.pipelines.vector_cases import vector_cases

EXACT = 1e-10
SINGLE = {"classifier": 5e-4, "mean": 2e-6, "nearest": 2e-6}
N, M, D, S = 12, 40, 5, 6
STREAMS = Streams(2).for_shadows("test", range(S))

# the scorer, and what it computes for one shadow's rows and the pool
CASES: dict[str, tuple[Scorer, Callable[[np.ndarray, np.ndarray], list[float]]]] = {
    "classifier": (
        Classifier(l2=0.7, device="cpu"),
        lambda private, pool: reference.private_against_pool(private, pool, 0.7),
    ),
    "mean": (Mean(), reference.mean_similarity),
    "nearest": (Nearest(), reference.nearest),
}
INNER_PRODUCT = (
    Mean(metric="inner_product"),
    lambda private, pool: reference.mean_similarity(private, pool, cosine=False),
)


# a job knows rows by their ids, and scores none but the pool's: tests/pipelines/test_command.py
BY_IDS = ["command"]


def test_every_scorer_has_a_row_here():
    assert sorted([*CASES, *BY_IDS]) == sorted(SCORERS)
    assert all(name == case[0].name == SCORERS[name].name for name, case in CASES.items())


def private_rows(dtype=np.float64, unit=tuple(range(N)), seed=0) -> PrivateRows:
    features = np.random.default_rng(seed).normal(0.3, 1, (len(unit), D)).astype(dtype)
    features.setflags(write=False)
    units = np.array(unit, dtype=np.int64)
    units.setflags(write=False)
    names = tuple(f"u{i}" for i in range(max(unit) + 1))
    return PrivateRows(tuple(map(str, range(len(unit)))), features, units, names)


def pool_rows(dtype=np.float64, m=M) -> Rows:
    features = np.random.default_rng(1).normal(size=(m, D)).astype(dtype)
    features[3] = 0  # a row of zeros has no direction
    features.setflags(write=False)
    return Rows(tuple(map(str, range(m))), features)


def coins(n=N, n_shadows=S) -> np.ndarray:
    drawn = np.random.default_rng(7).integers(0, 2, (n_shadows, n)).astype(bool)
    drawn.setflags(write=False)
    return drawn


def scored(scorer: Scorer, private: PrivateRows, inclusion: np.ndarray, pool: Rows) -> np.ndarray:
    fitted = scorer.fit(private, inclusion, pool, streams=STREAMS)
    return fitted.score(pool.features)


def expected(score, private: PrivateRows, inclusion: np.ndarray, pool: Rows) -> np.ndarray:
    return np.array(
        [
            score(private.features[reference.held_rows(held, private.unit)], pool.features)
            for held in inclusion
        ]
    )


CASES |= gradient_cases(pool_rows())
CASES |= text_cases()
CASES |= vector_cases(pool_rows())
SINGLE |= {"decontaminate": 2e-7, "dsir": 5e-6, "perplexity": 2e-7}
SINGLE |= {"centroid_votes": 0, "flqmi": 2e-6, "mlp_classifier": 2e-5, "public_only": 2e-6}
SINGLE |= {"public_score": 0, "random": 1e-7}
SINGLE |= {"confidence": 1e-4, "d3m": 2e-7, "less": 2e-6, "trak": 2e-7}  # 4 to 18 times
SOLVED = ("classifier", "confidence")


@pytest.fixture(params=[*sorted(CASES), "mean, inner product"])
def case(request):
    return CASES.get(request.param, INNER_PRODUCT)


UNITS = {
    "a row each": tuple(range(N)),
    "several rows": (0, 0, 0, 1, 2, 2, 3, 4, 5, 6, 7, 8, 8, 9, 10, 11, 11, 0),
    "some always in": (0, -1, 1, 2, -1, 3, 3, 4, 5, -1, 6, 7, 8, 9, 10, 11),
}


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("unit", UNITS.values(), ids=UNITS)
def test_scores_equal_the_reference(case, unit, dtype):
    private, pool = private_rows(dtype, unit), pool_rows(dtype)
    found = scored(case[0], private, coins(), pool)
    assert found.shape == (S, M)
    assert found.dtype == dtype
    wanted = expected(case[1], private, coins(), pool)
    tolerance = EXACT if dtype == np.float64 else SINGLE[case[0].name]
    np.testing.assert_allclose(found, wanted, rtol=0, atol=tolerance)


def test_an_empty_shadow_and_a_full_one(case):
    inclusion = np.array([[False] * N, [True] * N])
    private, pool = private_rows(), pool_rows()
    found = scored(case[0], private, inclusion, pool)
    wanted = expected(case[1], private, inclusion, pool)
    np.testing.assert_allclose(found, wanted, rtol=0, atol=EXACT)


def test_one_shadow_alone_equals_its_row_among_many(case):
    private, pool = private_rows(), pool_rows()
    together = scored(case[0], private, coins(), pool)
    for s in (0, S - 1):
        alone = scored(case[0], private, coins()[s : s + 1], pool)
        # a solver that starts from the average problem may stop elsewhere within its 1e-12
        tolerance = 1e-11 if case[0].name in SOLVED else 1e-13
        np.testing.assert_allclose(alone, together[s : s + 1], rtol=0, atol=tolerance)


def test_the_order_of_the_private_rows_does_not_matter(case):
    private, pool = private_rows(unit=UNITS["several rows"]), pool_rows()
    order = np.random.default_rng(3).permutation(len(private))
    moved = PrivateRows(
        tuple(private.ids[i] for i in order),
        private.features[order],
        private.unit[order],
        private.unit_ids,
    )
    found = scored(case[0], moved, coins(), pool)
    np.testing.assert_allclose(found, scored(case[0], private, coins(), pool), atol=1e-11)


def test_the_same_call_gives_the_same_bits_and_other_rows_can_be_scored(case):
    private, pool = private_rows(), pool_rows()
    fitted = case[0].fit(private, coins(), pool, streams=STREAMS)
    np.testing.assert_array_equal(
        fitted.score(pool.features), scored(case[0], private, coins(), pool)
    )
    few = fitted.score(pool.features[5:8])
    np.testing.assert_allclose(few, fitted.score(pool.features)[:, 5:8], atol=1e-13)


def test_linear_scores_are_products_of_what_the_scorer_embeds(case):
    """``linearise`` is offered by exactly the scorers whose scores are linear in ``embed``.

    Or are a maximum of such, which it says by ``blocks``.
    """
    private, pool = private_rows(unit=UNITS["some always in"]), pool_rows()
    embedded = case[0].embed(pool.features)
    found = scored(case[0], private, coins(), pool)
    weights = np.linalg.lstsq(embedded, found.T, rcond=None)[0]
    is_linear = np.allclose(embedded @ weights, found.T, atol=1e-9)
    offered = case[0].linearise(private, pool)
    assert is_linear == (offered is not None and offered.blocks is None)


@pytest.mark.parametrize("name", ["classifier", "mean"])
@pytest.mark.parametrize("unit", [UNITS["several rows"], UNITS["some always in"]])
def test_the_linearisation_is_the_derivative_at_half_weights(name, unit):
    """The reference is the fit with every candidate at half weight, the influence its slope.

    Here the half-weight problem is solved by doubling: a row that is always in counts twice.
    """
    scorer, private, pool = CASES[name][0], private_rows(unit=unit), pool_rows()
    found = scorer.linearise(private, pool)
    assert found is not None
    fitted = half_weight_fit(name, private, pool)
    np.testing.assert_allclose(found.reference, fitted(np.full(N, 0.5)), atol=1e-9)
    for n in (0, 3, 11):
        step = np.zeros(N)
        step[n] = 1e-4
        slope = (fitted(0.5 + step) - fitted(0.5 - step)) / 2e-4
        np.testing.assert_allclose(found.influence[n], slope, atol=1e-6)
    assert found.slopes.tolist() == [True] * D + ([False] if name == "classifier" else [])
    np.testing.assert_allclose(found.covariance, found.covariance.T, atol=1e-12)
    assert np.linalg.eigvalsh(found.covariance).min() > 0


@pytest.mark.parametrize("name", ["classifier", "mean"])
def test_the_covariance_is_that_of_fair_coins(name):
    """To first order the vector is a sum of independent coins times influences.

    The shrinkage moves single directions towards each other, but hardly their product.
    """
    private, pool = private_rows(unit=tuple(range(600))), pool_rows()
    found = CASES[name][0].linearise(private, pool)
    assert found is not None
    of_coins = found.influence.T @ found.influence / 4
    ratios = np.linalg.eigvals(np.linalg.solve(of_coins, found.covariance)).real
    np.testing.assert_allclose(np.log(ratios).mean(), 0, atol=0.15)


def half_weight_fit(name: str, private: PrivateRows, pool: Rows):
    """The released vector as a function of the candidates' weights, by scipy."""
    from scipy.optimize import minimize

    def weights_of(coins):
        return np.array([1.0 if u == ALWAYS_IN else coins[u] for u in private.unit])

    def mean(coins):
        unit = np.array([reference.unit_length(row) for row in private.features])
        w = weights_of(coins)
        return w @ unit / w.sum()

    def classifier(coins):
        rows = np.concatenate([private.features, pool.features])
        rows = np.concatenate([rows, np.ones((len(rows), 1))], axis=1)
        w = np.concatenate([weights_of(coins), np.ones(len(pool))])
        target = np.arange(len(rows)) < len(private)

        def objective(v):
            z = rows @ v
            p = 1 / (1 + np.exp(-z))
            value = w @ (np.logaddexp(0, z) - target * z) + 0.35 * v @ v
            return value, rows.T @ (w * (p - target)) + 0.7 * v

        def curvature(v):
            p = 1 / (1 + np.exp(-rows @ v))
            return (rows.T * (w * p * (1 - p))) @ rows + 0.7 * np.eye(rows.shape[1])

        start = np.zeros(rows.shape[1])
        v = minimize(objective, start, jac=True, hess=curvature, method="trust-exact").x
        for _ in range(3):
            v = v - np.linalg.solve(curvature(v), objective(v)[1])
        return v

    return {"mean": mean, "classifier": classifier}[name]


def test_nearest_looks_beyond_its_list_where_a_shadow_holds_none_of_it():
    """More private rows than the list is long, and shadows that hold only the farthest."""
    n = 2 * N_NEAREST + 3
    private, pool = private_rows(unit=tuple(range(n))), pool_rows(m=9)
    x = np.array([reference.unit_length(row) for row in pool.features])
    t = np.array([reference.unit_length(row) for row in private.features])
    rank = np.argsort(-(x[0] @ t.T))
    inclusion = np.zeros((3, n), dtype=bool)
    inclusion[0, rank[-1]] = True  # the very last for the first pool row
    inclusion[1, rank[N_NEAREST:]] = True
    inclusion[2, rank[N_NEAREST - 1]] = True  # the last on the list
    found = scored(Nearest(), private, inclusion, pool)
    wanted = expected(reference.nearest, private, inclusion, pool)
    np.testing.assert_allclose(found, wanted, rtol=0, atol=EXACT)


def test_nearest_scores_a_pool_of_several_blocks():
    private, pool = private_rows(), pool_rows(m=2500)
    found = scored(Nearest(), private, coins(n_shadows=2), pool)
    x = pool.features / np.maximum(np.linalg.norm(pool.features, axis=1, keepdims=True), 1e-300)
    t = private.features / np.linalg.norm(private.features, axis=1, keepdims=True)
    for s, held in enumerate(coins(n_shadows=2)):
        np.testing.assert_allclose(found[s], (x @ t[held].T).max(axis=1), atol=EXACT)
