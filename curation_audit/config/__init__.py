"""From a YAML file to an ``AuditPlan``; the only place that knows pydantic and YAML."""

from curation_audit.config.load import load_for_release, load_picking, load_plan
from curation_audit.config.policy_section import load_policy
from curation_audit.config.sections import pipeline_schema
from curation_audit.config.sweep_section import Asked, load_sweep
from curation_audit.config.tune_section import load_tune

__all__ = [
    "Asked",
    "load_for_release",
    "load_picking",
    "load_plan",
    "load_policy",
    "load_sweep",
    "load_tune",
    "pipeline_schema",
]
