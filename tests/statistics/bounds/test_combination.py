import numpy as np
import pytest

from curation_audit.statistics.bounds import combination


def test_known_confidences() -> None:
    assert combination.rueger_confidence(0.95, 5, 3) == pytest.approx(0.97)
    assert combination.rueger_confidence(0.95, 4, 2) == pytest.approx(0.975)
    assert combination.rueger_confidence(0.95, 7, 7) == pytest.approx(0.95)
    assert combination.bonferroni_confidence(0.95, 10) == pytest.approx(0.995)
    assert combination.rueger_lower([3.0, 1.0, 2.0, 0.0], 3) == 1.0


@pytest.mark.parametrize("rank", [1, 2, 3, 5])
@pytest.mark.parametrize("kind", ["independent", "equal", "worst"])
def test_level_under_any_dependence(rank: int, kind: str) -> None:
    """Bounds are above the truth (0) with probability rank alpha / 5 each."""
    rng, runs = np.random.default_rng(rank), 4000
    each = 1 - combination.rueger_confidence(0.95, 5, rank)
    if kind == "independent":
        uniform = rng.random((runs, 5))
    elif kind == "equal":
        uniform = np.repeat(rng.random((runs, 1)), 5, axis=1)
    else:  # exactly `rank` of the five err together, as Markov's inequality allows
        errs = rng.random((runs, 1)) < 0.05
        who = rng.permuted(np.tile(np.arange(5), (runs, 1)), axis=1) < rank
        uniform = np.where(errs & who, 0.0, 1.0)
    bounds = np.where(uniform < each, 1.0, -1.0)
    above = np.mean([combination.rueger_lower(row, rank) > 0 for row in bounds])
    assert above < 0.062  # 3.5 standard errors above .05
    if kind == "worst":
        assert above > 0.038


@pytest.mark.parametrize(
    "call",
    [
        lambda: combination.rueger_confidence(0.95, 3, 0),
        lambda: combination.rueger_confidence(0.95, 3, 4),
        lambda: combination.rueger_confidence(1.0, 3, 1),
        lambda: combination.rueger_lower([], 1),
        lambda: combination.rueger_lower([1.0], 2),
    ],
)
def test_bad_arguments(call) -> None:
    with pytest.raises(ValueError, match="must be"):
        call()
