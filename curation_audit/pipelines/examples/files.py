"""The data files of the larger examples."""

from pathlib import Path

from curation_audit.checks import InputError


def data_file(folder: Path | None, name: str, example: str) -> Path:
    """The path of ``name`` in ``folder``.

    Raises:
        InputError: where no folder is given or the file is not in it.
    """
    hint = "datasets/ has a card that says where to fetch it"
    if folder is None:
        raise InputError(f"example {example}", f"no folder given for {name}", hint)
    path = folder / name
    if not path.is_file():
        raise InputError(f"example {example}", f"no file {name} in {folder}", hint)
    return path
