"""Groups of candidates: each is an audit of its own, small ones are pooled or left out."""

import numpy as np
import pytest

from curation_audit.statistics import (
    NEW_CANDIDATES_TOO,
    THESE_CANDIDATES,
    PairedEvidence,
    PairResamples,
    auc_estimate,
    measure,
    measure_subgroups,
)

RESAMPLES = PairResamples.draw(100, 16, np.random.default_rng(0))
SITES = ["north"] * 30 + ["south"] * 20 + ["east"] * 6 + ["west"] * 4


def evidence(shift):
    rng = np.random.default_rng(1)
    members, outsiders = rng.standard_normal((2, 16, len(shift)))
    return PairedEvidence(members + shift, outsiders)


def sliced(one, attributes, *, fpr=0.1, inflation=1.5, estimand=THESE_CANDIDATES):
    return measure_subgroups(
        one,
        attributes,
        fpr=fpr,
        confidence=0.9,
        inflation=inflation,
        resamples=RESAMPLES,
        estimand=estimand,
    )


def alone(one, who, *, estimand=THESE_CANDIDATES):
    return measure(
        PairedEvidence(one.members[:, who], one.outsiders[:, who]),
        fprs=(0.1,),
        confidence=0.9,
        inflation=1.5,
        resamples=RESAMPLES,
        estimand=estimand,
    )


@pytest.mark.parametrize("estimand", [THESE_CANDIDATES, NEW_CANDIDATES_TOO])
def test_a_slice_is_the_audit_of_its_candidates(estimand):
    one = evidence(np.linspace(0, 2, 60))
    found = sliced(one, [("site", SITES)], estimand=estimand)
    parts = {"north": np.arange(30), "south": np.arange(30, 50), "small groups": np.arange(50, 60)}
    assert [part.group for part in found.slices] == list(parts)
    for part in found.slices:
        expected = alone(one, parts[part.group], estimand=estimand)
        assert (part.attribute, part.n_candidates) == ("site", len(parts[part.group]))
        assert part.auc == expected.auc
        assert part.tpr == expected.tpr_at_fpr[0]


def test_the_group_that_leaks_is_named():
    shift = np.zeros(60)
    shift[30:50] = 2.0
    found = sliced(evidence(shift), [("site", SITES), ("sex", ["f", "m"] * 30)])
    assert (found.worst.attribute, found.worst.group) == ("site", "south")
    assert found.worst.auc.low > 0.8
    others = [one for one in found.slices if one.attribute == "site" and one != found.worst]
    assert all(one.auc.value < 0.6 for one in others)


@pytest.mark.parametrize(("n_small", "shown"), [(9, False), (10, True)])
def test_small_groups_are_pooled_and_shown_from_ten_candidates_on(n_small, shown):
    values = ["large"] * (40 - n_small) + [f"rare {n}" for n in range(n_small)]
    large, small = sliced(evidence(np.zeros(40)), [("site", values)]).slices
    assert (large.group, large.n_groups, large.n_candidates) == ("large", 1, 40 - n_small)
    assert (small.group, small.n_groups, small.n_candidates) == ("small groups", n_small, n_small)
    assert (small.auc is not None, small.tpr is not None) == (shown, shown)
    assert not any("rare" in one.group for one in (large, small))


@pytest.mark.parametrize(("n", "group"), [(9, "small groups"), (10, "west")])
def test_a_group_of_ten_keeps_its_name(n, group):
    found = sliced(evidence(np.zeros(40)), [("site", ["east"] * (40 - n) + ["west"] * n)])
    assert [one.group for one in found.slices] == ["east", group]


def test_without_a_rate_there_is_the_auc_alone():
    one = evidence(np.zeros(60))
    found = sliced(one, [("all", ["a"] * 60)], fpr=None)
    assert found.slices[0].tpr is None
    assert found.slices[0].auc == auc_estimate(one, confidence=0.9, inflation=1.5)


def test_without_groups_there_are_no_slices():
    assert sliced(evidence(np.zeros(12)), []) is None
    only_small = sliced(evidence(np.zeros(6)), [("sex", ["f"] * 6)])
    assert only_small.worst is None
    assert only_small.slices[0].auc is None
