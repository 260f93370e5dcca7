"""The example sets, made by code in the open with fixed seeds.

To add one: write ``examples/<name>.py`` with ``table(part, folder)``, add a line to
``EXAMPLES``, a card to ``datasets/`` and a row to ``tests/pipelines/test_examples.py``.
"""

from collections.abc import Callable
from typing import Any, Final, TypeAlias

from numpy.typing import NDArray

from curation_audit.pipelines.examples import (
    chest_xray,
    clinical_notes,
    digits,
    med,
    notes,
    surgical_ward,
)
from curation_audit.pipelines.examples.files import DataFolder

PARTS: Final = ("private", "public", "test")

# (part, folder of the data files) -> columns; the small examples take no folder.
Example: TypeAlias = Callable[[str, DataFolder | None], dict[str, NDArray[Any]]]

EXAMPLES: Final[dict[str, Example]] = {
    "med": med.table,
    "digits": digits.table,
    "surgical_ward": surgical_ward.table,
    "chest_xray": chest_xray.table,
    "notes": notes.table,
    "clinical_notes": clinical_notes.table,
}
