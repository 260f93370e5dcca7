"""Events on disk: every class comes back as it was, and nothing unknown comes in."""

import json
import math
from dataclasses import fields
from typing import get_args

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from curation_audit.dp.event_codec import KINDS, decoded, encoded
from curation_audit.dp.events import (
    POISSON,
    EpsilonDelta,
    Event,
    Gaussian,
    PoissonGaussian,
    Pure,
    RepeatAndSelect,
    Zcdp,
)
from curation_audit.dp.ledger import guarantee_of

EVENTS = (
    Gaussian(1 / 3, "scorer"),
    PoissonGaussian(1.1, 0.01, 100, "training µ"),
    PoissonGaussian(4.0, 1.0, 3, "full batches"),
    Zcdp(0.05, "selection"),
    Pure(0.1, "selection", 10),
    EpsilonDelta(0.0, 0.0, "upstream"),
    EpsilonDelta(1.0, 1e-6, "upstream"),
    RepeatAndSelect((Gaussian(0.5, "fit"), Pure(0.01, "score")), 10.0, POISSON, "tuning"),
    RepeatAndSelect((PoissonGaussian(1.0, 0.01, 10, "fit"),), 3, 0, "tuning"),
)


def through_json(event: Event) -> Event:
    return decoded(json.loads(json.dumps(encoded(event), allow_nan=False)))


def test_every_class_of_event_has_a_kind_and_an_example() -> None:
    assert set(KINDS.values()) == set(get_args(Event)) == {type(one) for one in EVENTS}


@pytest.mark.parametrize("event", EVENTS, ids=lambda one: type(one).__name__)
def test_an_event_comes_back_as_it_was(event) -> None:
    again = through_json(event)
    assert again == event
    assert again.line() == event.line()
    assert set(encoded(event)) == {"kind", *(field.name for field in fields(event))}
    claims = [guarantee_of((one,), "add_remove") for one in (event, again)]
    assert claims[0].epsilon_at(1e-5) == claims[1].epsilon_at(1e-5)


@given(
    st.floats(1e-300, 1e300),
    st.floats(0.1, 1e9),
    st.floats(0, 1, exclude_min=True),
    st.integers(1, 2**53),
    st.text(),
)
def test_no_digit_is_lost(mu, noise, rate, steps, what) -> None:
    for event in (Gaussian(mu, what), PoissonGaussian(noise, rate, steps, what), Zcdp(mu, what)):
        assert through_json(event) == event


def test_numbers_of_numpy_become_plain_ones() -> None:
    event = PoissonGaussian(np.float32(1.5), np.float64(0.25), np.int64(7), "scorer")
    tree = encoded(event)
    assert [type(tree[k]) for k in ("noise_multiplier", "sampling_rate", "steps")] == [
        float,
        float,
        int,
    ]
    assert through_json(event) == event


def test_an_event_has_no_place_for_the_number_of_units() -> None:
    names = {field.name for of in get_args(Event) for field in fields(of)}
    assert names == {
        "mu", "what", "noise_multiplier", "sampling_rate", "steps", "rho", "epsilon", "rounds",
        "delta", "events", "mean", "shape",
    }  # fmt: skip


GAUSSIAN = {"kind": "gaussian", "mu": 0.5, "what": "scorer"}
POISSON_GAUSSIAN = encoded(EVENTS[1])
TUNING = encoded(EVENTS[7])


@pytest.mark.parametrize(
    "tree",
    [
        None,
        [],
        "gaussian",
        {},
        {"mu": 0.5, "what": "scorer"},
        GAUSSIAN | {"kind": "laplace"},
        GAUSSIAN | {"kind": ["gaussian"]},
        GAUSSIAN | {"n_units": 100},
        {"kind": "gaussian", "mu": 0.5},
        GAUSSIAN | {"mu": math.nan},
        GAUSSIAN | {"mu": math.inf},
        GAUSSIAN | {"mu": 10**400},
        GAUSSIAN | {"mu": "0.5"},
        GAUSSIAN | {"mu": True},
        GAUSSIAN | {"mu": None},
        GAUSSIAN | {"mu": -1.0},
        GAUSSIAN | {"what": 3},
        POISSON_GAUSSIAN | {"steps": 1.5},
        POISSON_GAUSSIAN | {"steps": True},
        POISSON_GAUSSIAN | {"sampling_rate": 0},
        TUNING | {"shape": math.inf},
        TUNING | {"shape": "geometric"},
        TUNING | {"mean": "poisson"},
        TUNING | {"events": []},
        TUNING | {"events": GAUSSIAN},
        TUNING | {"events": [TUNING]},
        TUNING | {"events": [GAUSSIAN | {"mu": math.nan}]},
    ],
    ids=str,
)
def test_what_is_no_event_is_refused(tree) -> None:
    with pytest.raises(ValueError, match=r"must|need"):
        decoded(tree)


def test_what_cannot_be_read_back_is_not_written() -> None:
    for broken in (Gaussian(0.5, 3), EpsilonDelta(0.5, 1e-6, None)):
        with pytest.raises(ValueError, match="must be text"):
            encoded(broken)
    with pytest.raises(ValueError, match="no known event"):
        encoded("gaussian")
