"""Room for every coin, single coins, and twins, each made on purpose."""

import numpy as np
import pytest

from curation_audit.analytic.affine import AffineScores
from curation_audit.analytic.red_flags import n_twins, red_flag_warnings, red_flags
from curation_audit.api import audit
from curation_audit.auditing.forecast import forecast
from curation_audit.pipelines.scorers.nearest import Nearest
from tests.analytic.worlds import MEAN, N, plan

RNG = np.random.default_rng(0)


def affine(shifts, added=0.0) -> AffineScores:
    r = shifts.shape[1]
    return AffineScores(np.zeros(r), shifts, added * np.eye(r), 0.0)


def test_as_many_directions_as_candidates():
    flags = red_flags(affine(RNG.standard_normal((5, 8))))
    assert flags.n_directions == 5
    assert "every coin is recoverable" in flags.lines()[0]
    # noise as large as the shifts hides them
    hidden = red_flags(affine(RNG.standard_normal((5, 8)), 10.0))
    assert hidden.lines() == []


def test_one_candidate_with_a_direction_of_its_own():
    shifts = np.zeros((30, 3))
    shifts[:29, :2] = RNG.standard_normal((29, 2))
    shifts[29, 2] = 1e-3
    flags = red_flags(affine(shifts))
    assert (flags.n_directions, flags.n_readable, flags.exposed[0]) == (3, 1, 29)
    assert flags.mu[29] == np.inf
    assert flags.lines()[0].startswith("1 of 30 candidates")


def test_twins_are_candidates_that_move_scores_alike():
    a, b, c = [1.0, 2.0], [3.0, 4.0], [5.0, 6.0]
    assert n_twins(np.array([a, b, c])) == 0
    assert n_twins(np.array([a, b, a])) == 2
    assert n_twins(np.array([a, b, a]) * 1e-9) == 2
    assert n_twins(np.array([a, [1.0, 2.001], b])) == 0


def test_twins_are_not_recoverable_though_there_is_room():
    shifts = RNG.standard_normal((12, 20))
    shifts[1] = shifts[0]
    flags = red_flags(affine(shifts))
    assert (flags.n_directions, flags.n_readable, flags.n_twins) == (11, 10, 2)
    assert flags.mu[:2] == pytest.approx([2, 2])  # who of the two is in: one coin of two
    assert not any("every coin" in line for line in flags.lines())


def test_a_scorer_that_is_not_linear_has_no_flags():
    of = plan(Nearest())
    assert red_flag_warnings(of.scorer, of.data) == []


def test_a_scorer_with_too_many_numbers_is_not_looked_at(monkeypatch):
    of = plan(MEAN)
    assert red_flag_warnings(of.scorer, of.data) == []
    monkeypatch.setattr("curation_audit.analytic.red_flags.MOST_NUMBERS", 5)
    (said,) = red_flag_warnings(of.scorer, of.data)
    assert said == "Red flags were not looked for: the scorer has 6 numbers, more than 5."


@pytest.mark.parametrize("n", [N, 6])
def test_flags_stand_in_the_plan_and_in_the_report(n):
    """With six features, six candidates have room for every coin."""
    of = plan(MEAN, n=n, train=None)
    said = [line for line in forecast(of).warnings if "every coin is recoverable" in line]
    assert len(said) == (n == 6)
    assert [one for one in audit(of).report["warnings"] if one in said] == said
