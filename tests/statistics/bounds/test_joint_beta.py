import numpy as np
import pytest

from curation_audit.statistics.bounds import clopper_pearson, joint_beta


@pytest.mark.parametrize(
    ("counts", "epsilon", "digits"),
    [((500, 1000, 0, 1000), 5.56, 0.005), ((700, 1000, 300, 1000), 0.780, 0.0006)],
)
def test_known_answers(counts: tuple[int, ...], epsilon: float, digits: float) -> None:
    found = joint_beta.joint_beta_estimate(*counts, 1e-5, 0.95)
    assert found == pytest.approx(epsilon, abs=digits)
    # why it is no bound: it claims more than the exact intervals allow
    assert found > clopper_pearson.clopper_pearson_epsilon(*counts, 1e-5, 0.95)


@pytest.mark.parametrize(
    "counts", [(3, 3, 0, 3), (50, 100, 10, 100), (95, 100, 60, 100), (500, 1000, 0, 1000)]
)
def test_quantile_of_posterior_draws(counts: tuple[int, int, int, int]) -> None:
    tp, n_in, fp, n_out = counts
    rng, delta = np.random.default_rng(12), 0.01
    fpr = rng.beta(0.5 + fp, 0.5 + n_out - fp, 400_000)
    fnr = rng.beta(0.5 + n_in - tp, 0.5 + tp, 400_000)
    with np.errstate(invalid="ignore"):
        draws = np.fmax(np.log((1 - delta - fpr) / fnr), np.log((1 - delta - fnr) / fpr))
    low, high = np.quantile(draws, [0.048, 0.052])  # five standard errors
    assert low < joint_beta.joint_beta_estimate(*counts, delta, 0.95) < high


def test_nothing_shown_is_zero() -> None:
    assert joint_beta.joint_beta_estimate(50, 100, 50, 100, 1e-5, 0.95) == 0.0
    assert joint_beta.joint_beta_estimate(0, 1, 1, 1, 1e-5, 0.95) == 0.0


@pytest.mark.parametrize(
    "call",
    [
        lambda: joint_beta.joint_beta_estimate(5, 4, 0, 4, 0.0, 0.95),
        lambda: joint_beta.joint_beta_estimate(1, 4, 0, 0, 0.0, 0.95),
        lambda: joint_beta.joint_beta_estimate(1, 4, 0, 4, 1.0, 0.95),
        lambda: joint_beta.joint_beta_estimate(1, 4, 0, 4, 0.0, 0.0),
    ],
)
def test_bad_arguments(call) -> None:
    with pytest.raises(ValueError, match=r"must|need"):
        call()
