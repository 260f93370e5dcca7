"""The audit: shadows of a pipeline, attacks on them, controls beside them, and a verdict.

The package is not called ``audit``, as ``curation_audit.audit`` is the function that runs one.
"""
