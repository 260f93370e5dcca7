"""From a YAML file to an ``AuditPlan``; the only place that knows pydantic and YAML."""

from curation_audit.config.load import load_plan
from curation_audit.config.sections import pipeline_schema

__all__ = ["load_plan", "pipeline_schema"]
