"""A release in data jobs that exist; each module needs the extra of its name and is imported alone.

To add one: write ``adapters/<tool>.py``, an example of at most 15 lines in ``docs/examples/``, and
a test of it in ``tests/adapters/``.
"""
