"""The evidence on every candidate in every shadow, as one long Parquet table.

It stays beside ``evidence.npz``, outside the release folder: rows of a shadow stand in the order
of the private file, so that a keyed id tells its row to whoever knows that order.
"""

import os
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from curation_audit.checks import InputError
from curation_audit.storage import TEMPORARY

if TYPE_CHECKING:
    import pyarrow as pa

PREFIX: Final = "evidence_"
ROWS: Final = 1 << 17  # of a row group, about: whole shadows


def write_evidence(folder: Path, report: dict[str, Any], target: Path) -> None:
    """Write ``evidence.npz`` of a run folder to ``target`` (mode 0600).

    Columns: stage, attack, shadow, candidate (its keyed id), evidence (higher = in), member.
    One attack after another is read from the archive.

    Raises:
        InputError: where there is no evidence, or what is there is none.
    """
    import pyarrow.parquet as pq

    source = folder / "evidence.npz"
    stage_of = {
        attack["attack"]: stage["stage"]
        for stage in report["stages"]
        for attack in stage["attacks"]
    }
    temporary = target.with_name(f"{target.name}.{os.getpid()}{TEMPORARY}")
    try:
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with (
            os.fdopen(descriptor, "wb") as file,
            zipfile.ZipFile(source) as archive,
            pq.ParquetWriter(file, _schema(), compression="zstd") as writer,
        ):
            for table in _tables(archive, stage_of):
                writer.write_table(table, row_group_size=max(len(table), 1))
        os.replace(temporary, target)
    except FileNotFoundError:
        hint = "per-target evidence is kept beside the release folder, in the run folder"
        raise InputError(str(folder), "found no evidence.npz", hint) from None
    except (zipfile.BadZipFile, KeyError, ValueError):
        raise InputError(str(source), "holds no evidence of an audit") from None
    finally:
        temporary.unlink(missing_ok=True)


def _schema() -> "pa.Schema":
    import pyarrow as pa

    word = pa.dictionary(pa.int32(), pa.string())
    return pa.schema(
        [
            ("stage", word),
            ("attack", word),
            ("shadow", pa.int32()),
            ("candidate", word),
            ("evidence", pa.float64()),
            ("member", pa.bool_()),
        ]
    )


def _tables(archive: zipfile.ZipFile, stage_of: dict[str, str]) -> Iterator["pa.Table"]:
    """Some whole shadows of one attack after another."""
    import pyarrow as pa

    schema = _schema()
    candidates = pa.array(_read(archive, "candidate"))
    inclusion = _read(archive, "inclusion")
    n_shadows, n = inclusion.shape
    step = max(1, ROWS // max(n, 1))
    names = sorted(name for name in archive.namelist() if name.startswith(PREFIX))
    for attack in (name.removeprefix(PREFIX).removesuffix(".npy") for name in names):
        evidence = _read(archive, f"{PREFIX}{attack}")
        if evidence.shape != inclusion.shape or evidence.dtype != np.dtype("<f8"):
            raise ValueError(f"found {evidence.dtype} {evidence.shape} for {attack}.")
        for first in range(0, n_shadows, step):
            rows = min(step, n_shadows - first)
            block = evidence[first : first + rows].ravel()
            shadows = np.repeat(np.arange(first, first + rows, dtype=np.int32), n)
            ids = pa.DictionaryArray.from_arrays(
                np.tile(np.arange(n, dtype=np.int32), rows), candidates
            )
            columns = [
                _repeated(stage_of[attack], len(block)), _repeated(attack, len(block)),
                pa.array(shadows), ids, pa.array(block),
                pa.array(inclusion[first : first + rows].ravel()),
            ]  # fmt: skip
            yield pa.Table.from_arrays(columns, schema=schema)


def _repeated(word: str, n: int) -> "pa.DictionaryArray":
    import pyarrow as pa

    return pa.DictionaryArray.from_arrays(np.zeros(n, dtype=np.int32), pa.array([word]))


def _read(archive: zipfile.ZipFile, name: str) -> np.ndarray:
    with archive.open(f"{name}.npy") as file:
        return np.lib.format.read_array(file, allow_pickle=False)
