"""What findings come to together, requirements, and claims."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from curation_audit.checks import SettingError
from curation_audit.gating import (
    OUTCOMES,
    AppetiteLine,
    ClaimRequirement,
    Policy,
    PowerRequirement,
    decide,
)
from tests.gating.reports import (
    UNIT,
    first,
    line,
    named,
    policy_of,
    stage_at,
    valid_report,
    with_claim,
    with_number,
)
from tests.report.sample import sample_report, sparse_report

REJECT, AGAINST, UNKNOWN, NEUTRAL, RELEASE = OUTCOMES
NUMBERS = {
    REJECT: (0.7, 0.65, 0.75),
    AGAINST: (0.65, 0.55, 0.75),
    UNKNOWN: (0.55, 0.5, 0.65),
    RELEASE: (0.55, 0.5, 0.6),
}
STAGES = ("scores", "selection", "model")
WANTED = ClaimRequirement(adjacency="zero_out", epsilon=8.0, unit=UNIT)


@pytest.mark.parametrize("wanted", list(itertools.product(NUMBERS, repeat=3)))
def test_the_outcome_is_the_worst_line_in_the_stated_order(wanted):
    report = valid_report()
    for stage, outcome in zip(STAGES, wanted, strict=True):
        with_number("auc", *NUMBERS[outcome], stage=stage, report=report)
    decision = decide(report, policy_of(*(line(stage=stage) for stage in STAGES)))
    assert tuple(one.outcome for one in decision.findings) == wanted
    order = (REJECT, AGAINST, UNKNOWN, RELEASE)
    assert decision.outcome == next(one for one in order if one in wanted)
    assert decision.exit_code == int(decision.outcome != RELEASE)
    assert decision.risk.measured == decision.risk.combined == decision.outcome
    assert decision.risk.declared is None


@pytest.mark.parametrize("how", ["a control", "the summary", "the verdict"])
def test_an_invalid_audit_is_evidence_of_nothing(how):
    report = with_number("auc", *NUMBERS[REJECT])
    report["claim"] = sample_report()["claim"]
    if how == "a control":
        report["controls"]["results"][2]["passed"] = False
    elif how == "the summary":
        report["controls"]["passed"] = False
    else:
        report["verdict"] = sparse_report()["verdict"]
    policy = policy_of(line(), line("epsilon", 9.0), controls=("blind classifier",), claim=WANTED)
    decision = decide(report, policy)
    assert {one.outcome for one in decision.findings} == {UNKNOWN}
    assert (decision.outcome, decision.exit_code) == (UNKNOWN, 5)
    assert decision.findings[0].number.value == 0.7  # kept, and worth nothing


@pytest.mark.parametrize("bound", ["upper", "lower"])
@pytest.mark.parametrize(
    ("requires", "name", "part"),
    [
        ({"controls": ("random curation",)}, "control random curation", "did not run it"),
        ({"attacks": {"scores": ("extract",)}}, "attack extract on scores", "needs linear scorer"),
        ({"attacks": {"scores": ("gibbs",)}}, "attack gibbs on scores", "not told to run it"),
        ({"power": PowerRequirement(shadows=129)}, "power shadows", "fewer than 129"),
        ({"power": PowerRequirement(candidates=201)}, "power candidates", "fewer than 201"),
        (
            {"power": PowerRequirement(smallest_fpr=0.009)},
            "power smallest_fpr at scores",
            "is 0.01, not 0.009",
        ),
    ],
)
def test_what_is_required_and_missing_takes_the_evidence_away(requires, name, part, bound):
    report = with_number("auc", *NUMBERS[RELEASE])
    report["controls"]["results"] = [
        one for one in report["controls"]["results"] if one["control"] != "random curation"
    ]
    decision = decide(report, policy_of(line(bound=bound), **requires))
    missing = named(decision, name)
    assert missing.outcome == UNKNOWN
    assert part in missing.sentence
    assert missing.remedy
    assert decision.findings[0].outcome == UNKNOWN
    assert name in decision.findings[0].sentence
    assert (decision.outcome, decision.exit_code) == (UNKNOWN, 1)
    # a rejection needs none of it
    leaking = with_number("auc", *NUMBERS[REJECT], report=report)
    assert decide(leaking, policy_of(line(bound=bound), **requires)).outcome == REJECT


@pytest.mark.parametrize(
    "requires",
    [
        {"controls": ("random curation", "permuted inclusion", "blind classifier")},
        {"attacks": {"scores": ("trace", "lira_best_row")}},
        {"power": PowerRequirement(shadows=128, candidates=200, smallest_fpr=0.01)},
    ],
)
def test_what_is_required_and_there_objects_to_nothing(requires):
    decision = decide(with_number("auc", *NUMBERS[RELEASE]), policy_of(line(), **requires))
    met = decision.findings[1:]
    assert met
    assert {one.outcome for one in met} == {NEUTRAL}
    assert (decision.outcome, decision.exit_code) == (RELEASE, 0)


def test_a_requirement_at_one_stage_says_nothing_of_another():
    report = with_number("auc", *NUMBERS[RELEASE])
    with_number("auc", *NUMBERS[RELEASE], stage="model", report=report)
    lines = (line(), line(stage="model"))
    decision = decide(report, policy_of(*lines, attacks={"model": ("rmia",)}))
    assert [one.outcome for one in decision.findings] == [RELEASE, UNKNOWN, UNKNOWN]


def test_a_rate_has_to_be_resolved_at_every_stage_of_the_appetite():
    report = valid_report()
    for point in stage_at(report, "model")["headline"]["metrics"]["tpr_at_fpr"]:
        point["status"] = "not resolvable"
    power = PowerRequirement(smallest_fpr=0.1)
    decision = decide(report, policy_of(line(), line(stage="model"), power=power))
    assert named(decision, "power smallest_fpr at scores").outcome == NEUTRAL
    assert named(decision, "power smallest_fpr at model").outcome == UNKNOWN
    assert "resolved is none" in named(decision, "power smallest_fpr at model").sentence


def claim_finding(report, lines=None, wanted=WANTED):
    return named(decide(report, policy_of(*(lines or (line(),)), claim=wanted)), "claim")


def test_a_claim_that_stands_is_declared_and_not_measured():
    report = with_number("auc", *NUMBERS[RELEASE], report=with_claim())
    decision = decide(report, policy_of(line(), claim=WANTED))
    found = named(decision, "claim")
    assert (found.outcome, found.basis, found.number.label) == (RELEASE, "declared", "declared")
    assert "does not confirm it" in found.sentence
    assert "selection not accounted" in found.sentence
    risk = decision.risk
    assert (risk.measured, risk.declared, risk.combined) == (RELEASE, RELEASE, RELEASE)
    assert "declared, not measured" in decision.sentence


@pytest.mark.parametrize("outcome", [REJECT, AGAINST, UNKNOWN])
def test_a_claim_never_makes_up_for_a_measurement(outcome):
    report = with_number("auc", *NUMBERS[outcome], report=with_claim())
    risk = decide(report, policy_of(line(), claim=WANTED)).risk
    assert (risk.measured, risk.declared, risk.combined) == (outcome, RELEASE, outcome)


def test_a_claim_alone_is_no_evidence():
    report = with_number("epsilon", 1.0, 1.0, 1.0, report=with_claim())
    decision = decide(report, policy_of(line("epsilon", 8.0), claim=WANTED))
    risk = decision.risk
    assert (risk.measured, risk.declared, risk.combined) == (UNKNOWN, RELEASE, UNKNOWN)


def test_no_claim_is_no_evidence():
    assert claim_finding(valid_report()).outcome == UNKNOWN


@pytest.mark.parametrize(
    ("changes", "part"),
    [
        ({"adjacency": "add_remove"}, "asks for zero_out"),
        ({"epsilon": 8.001}, "8.001 lies above 8"),
        ({"epsilon": None}, "says nothing at delta"),
        ({"delta": 1e-4}, "at delta 0.0001, above 1e-5"),
        ({"stages": []}, "not tested"),
    ],
)
def test_another_claim_than_the_required_one_is_no_evidence(changes, part):
    found = claim_finding(with_claim(**changes))
    assert found.outcome == UNKNOWN
    assert part in found.sentence
    assert found.remedy


@pytest.mark.parametrize(
    ("changes", "part"),
    [
        ({"unit": "row"}, "one row, the policy asks for one patient_id"),
        ({"ablation": True}, "ablation"),
        ({"covers": ["selection", "model"]}, "does not speak of: scores"),
    ],
)
def test_nor_is_another_mechanism(changes, part):
    report = with_claim()
    report["protection"] |= changes
    found = claim_finding(report)
    assert found.outcome == UNKNOWN
    assert part in found.sentence


def test_a_guarantee_covers_the_stages_that_are_asked_for():
    report = with_claim()
    report["protection"]["covers"] = ["selection", "model"]
    assert claim_finding(report, (line(stage="model"),)).outcome == RELEASE
    assert claim_finding(report, (line(stage="joint"),)).outcome == UNKNOWN
    report["protection"] = None  # then the claim is the user's, about the scores and all after
    report["design"]["unit"] = UNIT
    assert claim_finding(report, (line(),)).outcome == RELEASE


def test_an_epsilon_that_equals_the_accepted_one_is_within_it():
    assert claim_finding(with_claim(epsilon=8.0)).outcome == RELEASE


@pytest.mark.parametrize("wanted", [WANTED, None])
def test_a_refuted_claim_rejects_whoever_asked_for_it(wanted):
    report = with_number("auc", *NUMBERS[RELEASE])
    report["claim"] = sample_report()["claim"]
    decision = decide(report, policy_of(line(), claim=wanted))
    risk = decision.risk
    assert named(decision, "claim").outcome == REJECT
    assert (risk.measured, risk.declared, risk.combined) == (RELEASE, REJECT, REJECT)
    assert decision.exit_code == 1


def test_canaries_are_said_to_be_canaries():
    report = valid_report()
    report["design"]["canaries"] = {"kind": "isolated", "count": 40}
    assert any("Canaries" in note for note in decide(report, policy_of(line())).notes)
    report["design"]["unit"] = "canary"
    wanted = ClaimRequirement(adjacency="zero_out", epsilon=8.0)
    report["claim"] = with_claim()["claim"]
    assert claim_finding(report, wanted=wanted).outcome == RELEASE


@given(
    st.lists(st.floats(0, 1), min_size=3, max_size=3).map(sorted),
    st.floats(0, 1),
    st.floats(0, 1),
    st.sampled_from([1, 128, 129]),
)
def test_a_smaller_appetite_never_moves_a_decision_towards_a_release(limits, a, b, shadows):
    small, large = sorted((a, b))
    report = with_number("auc", limits[1], limits[0], limits[2])
    power = PowerRequirement(shadows=shadows)
    outcomes = [
        decide(report, policy_of(line(at_most=one), power=power)).outcome for one in (small, large)
    ]
    assert OUTCOMES.index(outcomes[0]) <= OUTCOMES.index(outcomes[1])


def test_a_policy_made_in_python_is_checked_as_well():
    with pytest.raises(SettingError, match="did you mean 'auc'"):
        line("auk")
    with pytest.raises(SettingError, match="found no line"):
        Policy(name="empty", appetite=())
    with pytest.raises(SettingError, match="stands twice"):
        policy_of(line(), line(at_most=0.7))
    policy_of(line(), line(bound="lower"), AppetiteLine(stage="model", metric="auc", at_most=0.6))


def test_findings_come_in_the_order_of_the_policy():
    lines = (line("advantage"), line(), line(stage="model"))
    names = [one.name for one in decide(valid_report(), policy_of(*lines)).findings]
    assert names == ["scores advantage (upper)", "scores auc (upper)", "model auc (upper)"]
    assert first(valid_report(), *lines).rule == "upper limit of advantage at most 0.6"
