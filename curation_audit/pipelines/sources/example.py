"""The example sets of this package."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from curation_audit.checks import InputError, did_you_mean
from curation_audit.pipelines.examples import EXAMPLES, PARTS
from curation_audit.pipelines.examples.files import DataFolder
from curation_audit.pipelines.sources.base import ChooseColumns, RawTable, keep_chosen


@dataclass(frozen=True, slots=True, kw_only=True)
class ExampleSource:
    """One part (private, public or test) of an example of ``pipelines/examples``.

    ``folder`` is where the files of the larger examples lie; the small ones need none.
    ``sha256``: by file name, the checksum of a copy that is not the one of the card.
    """

    name: str
    part: str
    folder: str | None = None
    sha256: Mapping[str, str] = field(default_factory=dict)

    def read(self, base: Path, choose: ChooseColumns | None = None) -> RawTable:
        """See ``Source.read``."""
        if self.name not in EXAMPLES:
            raise InputError(
                f"example {self.name}", "is not known", did_you_mean(self.name, EXAMPLES)
            )
        where = f"example {self.name}, part {self.part}"
        if self.part not in PARTS:
            raise InputError(where, "is not known", did_you_mean(self.part, PARTS))
        folder = None
        if self.folder is not None:
            folder = DataFolder(path=base / self.folder, sha256=self.sha256)
        return keep_chosen(RawTable(EXAMPLES[self.name](self.part, folder), where), choose)
