"""The data files of the larger examples, by checksum: a silent change would change the audit."""

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from curation_audit.checks import InputError, SettingError, did_you_mean

# Of the forms that the cards in datasets/ describe; a test holds the two equal.
SHA256: Final[dict[str, str]] = {
    "diabetes130.parquet": "ed253e48bd25746419aba93335132f8be2b075627379e4091342fdd52a4cd9bd",
    "fashion_mnist_25k.npz": "e40e84387ba11350f2d151c700b124a9f399bdfa1a37c16ff8ee15882b938f66",
    "medabstracts_test2888.parquet": (
        "b6e9e03fa8215aff1e7cbaacba6daeb7b345a76826f55e1308a2e26fac4d3a1e"
    ),
    "mednist_18k_28px.npz": "76ed9abadbf9a2cc5db1ee0eb0083136b451bc4a0a2339024b7a5a286f449f4d",
    "medquad.parquet": "d40927553b00ad0efd132a5ba72a7c1f8057866aead415069d90aceb32d100fe",
    "mnist_15k.npz": "a049089a9c50b55be516aad28d65919261d4542a0eae5f131d661f0ff48212ba",
    "mtsamples.parquet": "c4e00dc8c62fbf85f1a4d149996be6e70e84c01e19755ba5867ab79c4b0d88eb",
    "newsgroups20.parquet": "3dd6bf4fc7fd7dc0cca539a5e59b5fdb012072e21a33a18aeed45e8da9c3ab18",
    "pneumoniamnist.npz": "65718267a6dafa343e1796df9626a3cc7614e7211053b306cd21e742f0e861f3",
}
DIGEST: Final = re.compile("[0-9a-f]{64}")


@dataclass(frozen=True, slots=True, kw_only=True)
class DataFolder:
    """Where the data files lie.

    ``sha256``: the checksum of a file by its name, where it is not that of the card: of a copy
    that the user made from the original himself.
    """

    path: Path
    sha256: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Check that the files are known, and that checksums are such."""
        for name, digest in self.sha256.items():
            if name not in SHA256:
                hint = did_you_mean(name, SHA256)
                raise SettingError("source.sha256", f"names {name!r}, which no example reads", hint)
            if not isinstance(digest, str) or not DIGEST.fullmatch(digest.lower()):
                hint = "expected 64 hexadecimal digits in quotes, as sha256sum prints them"
                raise SettingError(f"source.sha256.{name}", f"found {digest!r}", hint)

    def expected(self, name: str) -> str:
        """The checksum that the file of this name must have."""
        return self.sha256.get(name, SHA256[name]).lower()


def data_file(folder: DataFolder | None, name: str, example: str) -> bytes:
    """The content of ``name`` in ``folder``, verified: what was checked is what is read.

    Raises:
        InputError: where no folder is given, the file is not in it, or its checksum is another.
    """
    where, hint = f"example {example}", "datasets/ has a card that says where to fetch it"
    if folder is None:
        raise InputError(where, f"no folder given for {name}", hint)
    path = folder.path / name
    if not path.is_file():
        raise InputError(where, f"no file {name} in {folder.path}", hint)
    content = path.read_bytes()
    found = hashlib.sha256(content).hexdigest()
    if found != (expected := folder.expected(name)):
        hint = (
            f"expected {expected}: fetch it again as its card in datasets/ says, or, if you made "
            f'it from the original, state source.sha256: {{{name}: "..."}}'
        )
        raise InputError(where, f"the sha256 of {name} is {found}", hint)
    return content
