"""The policy gate of a finished audit: what is accepted, held against report.json.

It works on the tree of a report alone, so that whoever is handed one can gate it by a policy of
his own. Nothing heavy is imported here.
"""

from curation_audit.gating.decide import decide
from curation_audit.gating.outcomes import OUTCOMES, Decision, Finding, Number, Outcome, Risk
from curation_audit.gating.policy import (
    METRICS,
    AppetiteLine,
    ClaimRequirement,
    Policy,
    PowerRequirement,
    Requirements,
)
from curation_audit.gating.read import read_report
from curation_audit.gating.render import FORMATS, decision_schema, decision_tree

__all__ = [
    "FORMATS",
    "METRICS",
    "OUTCOMES",
    "AppetiteLine",
    "ClaimRequirement",
    "Decision",
    "Finding",
    "Number",
    "Outcome",
    "Policy",
    "PowerRequirement",
    "Requirements",
    "Risk",
    "decide",
    "decision_schema",
    "decision_tree",
    "read_report",
]
