"""Renderings of ``report.json``, its schema, and the check against it.

Nothing heavy is imported here: matplotlib, jinja2 and jsonschema load when a function needs them.
"""

from curation_audit.report.html import render_html
from curation_audit.report.schema import SCHEMA_VERSION, validate_report
from curation_audit.report.versions import readable

__all__ = ["SCHEMA_VERSION", "readable", "render_html", "validate_report"]
