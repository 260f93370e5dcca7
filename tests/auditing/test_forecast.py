"""What an audit says of itself beforehand."""

from pathlib import Path

import pytest

from curation_audit import load_pipeline
from curation_audit.attacks import ATTACKS
from curation_audit.auditing.forecast import forecast, resolvable
from curation_audit.statistics.bounds import (
    clopper_pearson_epsilon,
    one_run_epsilon,
    pair_mean_epsilon_resolution,
)

MED = Path(__file__).parents[2] / "curation_audit" / "pipelines" / "med.yaml"
N_CANDIDATES, DELTA = 200, 1e-5


@pytest.fixture(scope="module")
def plan():
    return load_pipeline(MED, "attack.shadows=64")


@pytest.fixture(scope="module")
def told(plan):
    return forecast(plan)


def test_what_bounds_can_show_is_what_a_perfect_attack_would(plan):
    found, n_rows = resolvable(plan), 16  # half of 32 pairs
    assert found["Clopper-Pearson"] == clopper_pearson_epsilon(
        n_rows, n_rows, 0, n_rows, DELTA, 0.95
    )
    assert found["pair mean"] == pair_mean_epsilon_resolution(n_rows, DELTA, 0.95)
    m = n_rows * N_CANDIDATES
    reached = [one_run_epsilon(m, n_rows * n, n_rows * n, DELTA, 0.95) for n in (1, 14, 100, 200)]
    assert found["one run"] >= max(reached) - 1e-9
    assert found["one run"] < 1.1 * max(reached)


def test_more_shadows_resolve_more(plan):
    more = resolvable(load_pipeline(MED, "attack.shadows=256"))
    assert all(more[name] > value for name, value in resolvable(plan).items())


def test_every_attack_is_told_once_as_running_or_with_what_it_needs(told):
    running = {name: stage for stage, names in told.attacks.items() for name in names}
    names = [name.split(" (")[0] for name in running]
    idle = [name for group in told.not_applicable for name in before_need(group)]
    assert sorted([*names, *idle]) == sorted(ATTACKS)
    assert all(ATTACKS[name].cost in line for name, line in zip(names, running, strict=True))
    assert all(
        ATTACKS[name].stage == stage for name, stage in zip(names, running.values(), strict=True)
    )
    assert "known_others needs memberships" in told.not_applicable


def before_need(group):
    return group.split(" need")[0].split(", ")


def test_the_lines_say_what_can_be_resolved(told):
    lines = dict(told.lines())
    assert f"{told.resolvable['one run']:.2f} (one run)" in lines["epsilon"]
    assert "no hypothesis" in lines["epsilon"]
    assert "can be resolved by a headline" in lines["smallest FPR"]
    assert "N = 200 candidates" in lines["(their cost)"]
    for stage in ("scores", "selection", "model", "joint"):
        assert f"on {stage}" in lines
