"""What is audited: data sources, scorers, selection rules and downstream models."""
