"""Audits without shadow training: a curation whose scores move linearly with the coins."""
