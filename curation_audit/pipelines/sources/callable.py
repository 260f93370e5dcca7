"""A Python callable that an installed package offers.

The YAML names the entry point, never an import path: what can run is what was installed.
"""

from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any, Final

from curation_audit.checks import InputError, did_you_mean
from curation_audit.pipelines.sources.base import ChooseColumns, RawTable, keep_chosen
from curation_audit.pipelines.sources.frames import table_from_object

GROUP: Final = "curation_audit.sources"


@dataclass(frozen=True, slots=True, kw_only=True)
class CallableSource:
    """The entry point ``name`` of the group ``curation_audit.sources``, called with ``params``.

    It returns a mapping from column to array, a pandas data frame or a pyarrow table.
    """

    name: str
    params: dict[str, Any] = field(default_factory=dict)

    def read(self, base: Path, choose: ChooseColumns | None = None) -> RawTable:
        """See ``Source.read``; ``base`` is not handed on."""
        where = f"callable {self.name}"
        found = {entry.name: entry for entry in metadata.entry_points(group=GROUP)}
        if self.name not in found:
            hint = did_you_mean(self.name, found) if found else "no installed package offers one"
            raise InputError(where, f"is not an entry point of {GROUP!r}", hint)
        try:
            result = found[self.name].load()(**self.params)
        except InputError:
            raise
        except Exception as error:
            # The text of a stranger's exception may quote private values.
            raise InputError(
                where, f"raised {type(error).__name__}", "call it by itself to see why"
            ) from None
        return keep_chosen(table_from_object(result, where), choose)
