"""The budget of selective pre-training, then private fine-tuning (Yu et al., arXiv:2305.13865).

SST-2: n = 67,349 private sentences, five times as many public negatives, batches of 2,048 drawn
from both for the scorer (3 epochs) and from the private ones for fine-tuning (30 epochs), noise
multiplier 1.4 in both. The authors shuffle their batches; what is accounted here is Poisson
sampling of the same rates. Steps are epochs over the sampling rate, rounded down at delta 1e-5,
and whole batches (rounded up in every epoch) at delta 1 / (10 n); the third digit hangs on that.
"""

import math

import pytest
from dp_accounting.rdp import RdpAccountant

from curation_audit.dp.events import Event, PoissonGaussian, dp_event
from curation_audit.dp.ledger import Ledger, guarantee_of

N, BATCH, NOISE = 67_349, 2048, 1.4
SCORER_RATE, MODEL_RATE = BATCH / (6 * N), BATCH / N


def events(*, whole_batches: bool) -> tuple[Event, Event]:
    def steps(epochs: int, rate: float) -> int:
        return epochs * math.ceil(1 / rate) if whole_batches else math.floor(epochs / rate)

    return (
        PoissonGaussian(NOISE, SCORER_RATE, steps(3, SCORER_RATE), "scorer"),
        PoissonGaussian(NOISE, MODEL_RATE, steps(30, MODEL_RATE), "model"),
    )


def by_renyi(spent: tuple[Event, ...], delta: float) -> float:
    accountant = RdpAccountant()
    for one in spent:
        accountant.compose(dp_event(one, "add_remove"))
    return float(accountant.get_epsilon(delta))


@pytest.mark.parametrize(
    ("delta", "whole_batches", "scorer", "model", "joint", "summed"),
    [(1e-5, False, 0.51, 3.78, 3.81, 4.29), (1 / (10 * N), True, 0.61, 4.16, 4.19, 4.77)],
)
def test_the_published_setting_by_renyi_divergences(
    delta, whole_batches, scorer, model, joint, summed
):
    first, second = events(whole_batches=whole_batches)
    found = [by_renyi(spent, delta) for spent in ((first,), (second,), (first, second))]
    assert found == pytest.approx([scorer, model, joint], abs=0.005)
    assert found[0] + found[1] == pytest.approx(summed, abs=0.005)


def test_the_ledger_is_tighter_and_the_scorer_is_nearly_free():
    """Privacy loss distributions: .369, 3.458 and 3.486, where a naive sum says 3.827."""
    first, second = events(whole_batches=False)
    alone, tuned = (guarantee_of((one,), "zero_out").epsilon_at(1e-5) for one in (first, second))
    ledger = Ledger("zero_out", "sentence").spend(first).spend(second)
    joint = ledger.guarantee().epsilon_at(1e-5)
    assert [alone, tuned, joint] == pytest.approx([0.36923, 3.45751, 3.48639], abs=1e-4)
    assert max(alone, tuned) < joint < alone + tuned
    assert joint - tuned < 0.1 * alone
    assert joint < by_renyi((first, second), 1e-5)
