"""What is declared: a differential privacy claim beside the audit.

It is the only thing that limits leakage from above, and only if it holds: it never counts as
measured, and never makes up for a measurement.
"""

from collections.abc import Iterator
from typing import Any

from curation_audit.gating.outcomes import Finding, Number, Outcome
from curation_audit.gating.policy import ClaimRequirement, Policy
from curation_audit.report import words

Tree = dict[str, Any]
ROUNDING = 1e-9


def judge_claim(report: Tree, policy: Policy) -> Finding | None:
    """The finding about the claim; ``None`` where none is required and none is refuted."""
    claim, wanted = report["claim"], policy.requires.claim
    if claim is not None and claim["refuted"]:
        stages = words.listed([one["stage"] for one in claim["stages"] if one["refuted"]])
        told = f"The claimed guarantee is refuted at {stages}."
        remedy = "find the fault in the mechanism or in its accounting"
        return _finding(claim, wanted, "reject", told, remedy)
    if wanted is None:
        return None
    if claim is None:
        told = "Nothing is claimed, and nothing else limits leakage from above."
        return _finding(None, wanted, "not enough evidence", told, _remedy(wanted))
    objection = next(_objections(report, claim, policy, wanted), None)
    if objection is not None:
        return _finding(claim, wanted, "not enough evidence", objection, _remedy(wanted))
    tested = words.listed([one["stage"] for one in claim["stages"]])
    told = (
        f"Declared, not measured: epsilon {claim['epsilon']:.4g} at delta "
        f"{words.delta(claim['delta'])}. It was not refuted at {tested}, which does not confirm "
        f"it{_conditions(report)}."
    )
    return _finding(claim, wanted, "supports release", told, "")


def _remedy(wanted: ClaimRequirement) -> str:
    return f"a mechanism with {_rule(wanted)} (curate.protect), or its claim (report.claim)"


def _rule(wanted: ClaimRequirement) -> str:
    neighbours = words.adjacency(wanted.adjacency, wanted.unit)
    return (
        f"epsilon at most {wanted.epsilon:g} at delta at most {words.delta(wanted.delta)} "
        f"({neighbours})"
    )


def _finding(
    claim: Tree | None,
    wanted: ClaimRequirement | None,
    outcome: Outcome,
    sentence: str,
    remedy: str,
) -> Finding:
    epsilon = None if claim is None else claim["epsilon"]
    return Finding(
        kind="requirement",
        basis="declared",
        name="claim",
        stage=None,
        rule="not refuted" if wanted is None else f"{_rule(wanted)}, not refuted",
        limit=None if wanted is None else wanted.epsilon,
        number=None if epsilon is None else Number(value=epsilon, label="declared"),
        outcome=outcome,
        sentence=sentence,
        remedy=remedy,
    )


def _objections(
    report: Tree, claim: Tree, policy: Policy, wanted: ClaimRequirement
) -> Iterator[str]:
    """Why a claim is not the one that is required, in sentences."""
    epsilon, protection = claim["epsilon"], report["protection"]
    if protection is not None and protection["ablation"]:
        yield "The mechanism ran as an ablation, to be looked at and not to protect."
    if claim["adjacency"] != wanted.adjacency:
        yield (
            f"The claim is for {claim['adjacency']}, the policy asks for {wanted.adjacency}: "
            "their epsilons are different numbers."
        )
    unit = claimed_unit(report)
    if unit != wanted.unit:
        yield f"The claim is about one {unit}, the policy asks for one {wanted.unit}."
    if epsilon is None:
        yield f"The claim says nothing at delta {words.delta(claim['delta'])}."
    elif epsilon > wanted.epsilon * (1 + ROUNDING):
        yield f"The claimed epsilon {epsilon:.4g} lies above {wanted.epsilon:g}."
    if claim["delta"] > wanted.delta * (1 + ROUNDING):
        delta = words.delta(claim["delta"])
        yield f"The claim is stated at delta {delta}, above {words.delta(wanted.delta)}."
    left_out = _not_covered(report, policy)
    if left_out:
        yield f"The guarantee does not speak of: {words.listed(left_out)}."
    if not claim["stages"]:
        yield "The claim was not tested: no attack could run."


def claimed_unit(report: Tree) -> str:
    """Whose records a claim is about; canaries are rows that somebody made up."""
    protection, unit = report["protection"], str(report["design"]["unit"])
    if protection is not None:
        unit = str(protection["unit"])
    return "row" if unit == "canary" else unit


def _not_covered(report: Tree, policy: Policy) -> list[str]:
    """Stages of the appetite that a mechanism's guarantee leaves out; a claim covers them all."""
    if report["protection"] is None:
        return []
    # "joint" is everything that is observed
    asked = report["threat"]["observes"] if "joint" in policy.stages else policy.stages
    return [stage for stage in asked if stage not in report["protection"]["covers"]]


def _conditions(report: Tree) -> str:
    """What the guarantee rests on, where the report says so."""
    protection = report["protection"]
    if protection is None:
        return ""
    return f"; it rests on the report's assumptions (tuning: {protection['tuning']})"
