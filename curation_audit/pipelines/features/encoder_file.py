"""Encoders that are files: read once, told apart by the hash of what was read."""

import hashlib
import re
from abc import ABC, abstractmethod
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, ClassVar

from curation_audit import checks
from curation_audit.checks import InputError, SettingError
from curation_audit.pipelines.data_sets import ReadSet
from curation_audit.pipelines.features.base import FeatureMap
from curation_audit.pipelines.features.encoder_loaded import Encode, LoadedEncoder
from curation_audit.pipelines.sources.files import find_files
from curation_audit.types import Features


@dataclass(frozen=True, slots=True)
class Content:
    """The bytes of a file, and what messages call it."""

    file: str
    held: bytes

    @property
    def sha256(self) -> str:
        """The hash of the bytes, in hex."""
        return hashlib.sha256(self.held).hexdigest()

    def refused(self, problem: str, hint: str = "") -> SettingError:
        """An error that says what is wrong with the file."""
        return SettingError("features.steps", f"{self.file}: {problem}", hint)


@dataclass(frozen=True, slots=True, kw_only=True)
class EncoderFile(ABC):
    """What the files of all kinds share.

    ``file``: where it lies, relative to the folder of the pipeline file. ``sha256``: what its hash
    must be; it is compared before anything is loaded. ``batch``: rows that are encoded at once.
    """

    name: ClassVar[str]
    file: str
    sha256: str | None = None
    batch: int = 1024

    def __post_init__(self) -> None:
        """Check the batch and the form of the hash."""
        checks.positive(batch=self.batch)
        if self.sha256 is not None and not re.fullmatch("[0-9a-fA-F]{64}", self.sha256):
            hint = "expected 64 hexadecimal digits, as sha256sum prints them"
            raise SettingError("features.steps.sha256", f"found {self.sha256!r}", hint)

    @abstractmethod
    def load(self, content: Content) -> Encode:
        """The encoder in the file.

        Raises:
            SettingError: if there is none.
        """

    def opened(self, base: Path) -> LoadedEncoder:
        """Read the file once, check its hash, and load what was hashed.

        Raises:
            InputError: if there is no such file, or another one.
        """
        found = find_files(self.file, base, Path(self.file).suffix)
        if len(found) != 1:
            raise InputError(self.file, f"names {len(found)} files", "expected one")
        try:
            content = Content(found[0].name, found[0].read_bytes())
        except OSError as error:
            raise InputError(self.file, f"cannot be read ({type(error).__name__})") from None
        if self.sha256 is not None and self.sha256.lower() != content.sha256:
            hint = f"expected {self.sha256.lower()}: another file, or one that was changed"
            raise content.refused(f"its sha256 is {content.sha256}", hint)
        named = found[0].name if Path(self.file).is_absolute() else self.file
        settings = asdict(self) | {"file": named, "sha256": content.sha256}
        return LoadedEncoder(self.name, settings, self.load(content), self.batch)

    def fit(self, pool: ReadSet) -> FeatureMap:
        """The map, of a file that is relative to the current folder."""
        return self.opened(Path()).fit(pool)


def as_shape(rows: Features, shape: tuple[int, ...] | None) -> Any:
    """The rows (n, d) as an array (n, *shape), e.g. images; as they are without a shape."""
    return rows if shape is None else rows.reshape(len(rows), *shape)


def check_shape(shape: tuple[int, ...] | None) -> None:
    """Raise ``ValueError`` for lengths that are none."""
    for length in shape or ():
        checks.positive(shape=length)
