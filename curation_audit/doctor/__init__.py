"""The self-test: known answers, chance where nothing leaks, planted violations, this machine.

It needs no data of the user's, has fixed seeds, and writes nothing. To add a check: write a
function that returns an ``Outcome``, add a line to its group's tuple, and a row to ``BREAKS`` in
``tests/doctor/test_checks.py`` that shows the check fail.
"""

from typing import Final

from curation_audit.doctor.base import Check, CheckResult, Outcome, run_checks
from curation_audit.doctor.known_answers import KNOWN_ANSWERS
from curation_audit.doctor.known_attacks import KNOWN_ATTACKS
from curation_audit.doctor.null_calibration import NULL_CALIBRATION
from curation_audit.doctor.planted_errors import PLANTED_ERRORS
from curation_audit.doctor.planted_violations import PLANTED_VIOLATIONS
from curation_audit.doctor.private_mechanisms import KEPT_CLAIMS, PRIVATE_MECHANISMS
from curation_audit.doctor.this_machine import THIS_MACHINE

CHECKS: Final[tuple[Check, ...]] = (
    *KNOWN_ANSWERS,
    *KNOWN_ATTACKS,
    *PRIVATE_MECHANISMS,
    *NULL_CALIBRATION,
    *PLANTED_VIOLATIONS,
    *KEPT_CLAIMS,
    *PLANTED_ERRORS,
    *THIS_MACHINE,
)

__all__ = ["CHECKS", "Check", "CheckResult", "Outcome", "run_checks"]
