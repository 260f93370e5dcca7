"""Where private, public and test sets come from.

To add a kind: write ``sources/<kind>.py`` with a frozen dataclass that has ``read``, add a line
to ``SOURCES`` and a row to ``CASES`` in ``tests/pipelines/test_sources.py``.
"""

from typing import Final

from curation_audit.pipelines.sources.base import (
    Columns,
    PrivateSpec,
    RawTable,
    SetSpec,
    Source,
)
from curation_audit.pipelines.sources.callable import CallableSource
from curation_audit.pipelines.sources.csv import CsvSource
from curation_audit.pipelines.sources.example import ExampleSource
from curation_audit.pipelines.sources.npz import NpzSource
from curation_audit.pipelines.sources.parquet import ParquetSource
from curation_audit.pipelines.sources.sklearn import SklearnSource

SOURCES: Final[dict[str, type[Source]]] = {
    "parquet": ParquetSource,
    "csv": CsvSource,
    "npz": NpzSource,
    "sklearn": SklearnSource,
    "example": ExampleSource,
    "callable": CallableSource,
}

__all__ = [
    "SOURCES",
    "CallableSource",
    "Columns",
    "CsvSource",
    "ExampleSource",
    "NpzSource",
    "ParquetSource",
    "PrivateSpec",
    "RawTable",
    "SetSpec",
    "SklearnSource",
    "Source",
]
