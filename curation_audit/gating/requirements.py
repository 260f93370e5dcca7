"""What a policy requires of an audit: controls, attacks, power, and perhaps a claim.

A requirement that is met objects to nothing and speaks for nothing; one that is not met takes the
evidence from the lines it stands for. A claim is in ``claims.py``: it is declared, not measured.
"""

from collections.abc import Iterator
from typing import Any

from curation_audit.gating.measured import attacks_run, stage_of
from curation_audit.gating.outcomes import Finding, Number, Outcome
from curation_audit.gating.policy import Policy
from curation_audit.observations import Stage
from curation_audit.report import words

Tree = dict[str, Any]


def judge_requirements(report: Tree, policy: Policy) -> tuple[Finding, ...]:
    """The findings of all requirements but the claim, in the order of the policy file."""
    return (*_controls(report, policy), *_attacks(report, policy), *_power(report, policy))


def missing_at(found: tuple[Finding, ...], stage: Stage) -> list[Finding]:
    """The unmet ones of ``found`` that a release of this stage would need."""
    return [
        one for one in found if one.outcome == "not enough evidence" and one.stage in (None, stage)
    ]


def _finding(
    name: str,
    rule: str,
    met: bool,
    told: tuple[str, str],
    *,
    remedy: str = "",
    stage: Stage | None = None,
    limit: float | None = None,
    number: float | None = None,
    attacks: tuple[str, ...] = (),
) -> Finding:
    """A finding with the first of two sentences where it is met, else the second and a remedy."""
    outcome: Outcome = "no objection" if met else "not enough evidence"
    return Finding(
        kind="requirement",
        basis="audit",
        name=name,
        stage=stage,
        rule=rule,
        limit=limit,
        number=None if number is None else Number(value=number, label="design"),
        outcome=outcome,
        sentence=told[0] if met else told[1],
        attacks=attacks,
        remedy="" if met else remedy,
    )


def _controls(report: Tree, policy: Policy) -> Iterator[Finding]:
    results = report["controls"]["results"]
    for control in policy.requires.controls:
        n = sum(one["control"] == control for one in results)
        yield _finding(
            f"control {control}",
            "ran and passed",
            n > 0,
            (f"Tests that passed: {n}.", "The audit did not run it."),
            remedy=f"an audit with the control {control!r}",
            number=n,
        )


def _attacks(report: Tree, policy: Policy) -> Iterator[Finding]:
    for stage, names in policy.requires.attacks.items():
        for name in names:
            reason = why_not_run(report, stage, name)
            yield _finding(
                f"attack {name} on {stage}",
                "ran",
                reason is None,
                ("It ran.", f"It did not run: {reason}."),
                remedy=f"an audit with the attack {name} on {stage}",
                stage=stage,
                attacks=attacks_run(report, stage),
            )


def why_not_run(report: Tree, stage: Stage, name: str) -> str | None:
    """Why an attack did not run at a stage; ``None`` where it did."""
    found = stage_of(report, stage)
    if found is None or found["status"] == "not observed":
        return f"stage {stage} was not observed"
    one = next((one for one in found["attacks"] if one["attack"] == name), None)
    if one is None:
        return "the audit was not told to run it"
    return None if one["status"] == "run" else words.needs(one)


def _power(report: Tree, policy: Policy) -> Iterator[Finding]:
    design, power = report["design"], policy.requires.power
    for name, least, found in (
        ("shadows", power.shadows, design["n_shadows"]),
        ("candidates", power.candidates, design["n_candidates"]),
    ):
        if least is None:
            continue
        yield _finding(
            f"power {name}",
            f"at least {least:,} {name}",
            found >= least,
            (f"The audit had {found:,}.", f"The audit had {found:,}, fewer than {least:,}."),
            remedy=f"an audit with {least:,} {name}",
            limit=least,
            number=found,
        )
    if power.smallest_fpr is not None:
        for stage in policy.stages:
            yield _smallest_fpr(report, stage, power.smallest_fpr)


def _smallest_fpr(report: Tree, stage: Stage, most: float) -> Finding:
    """Whether a stage's headline resolved a true-positive rate at so small a rate."""
    found = stage_of(report, stage)
    headline = None if found is None else found["headline"]
    points = [] if headline is None else headline["metrics"]["tpr_at_fpr"]
    rates = [point["fpr"] for point in points if point["status"] == "resolved"]
    least = min(rates, default=None)
    resolved = "none" if least is None else f"{least:g}"
    return _finding(
        f"power smallest_fpr at {stage}",
        f"a rate of at most {most:g} resolved",
        least is not None and least <= most,
        (
            f"The smallest false-positive rate that was resolved is {resolved}.",
            f"The smallest false-positive rate that was resolved is {resolved}, not {most:g}.",
        ),
        remedy=f"more shadows or candidates, and {most:g} among attack.fpr",
        stage=stage,
        limit=most,
        number=least,
    )
