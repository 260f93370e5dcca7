"""The audit: shadows of a pipeline, attacks on them, controls beside them, and a verdict."""
