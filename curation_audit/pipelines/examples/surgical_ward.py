"""``surgical_ward``: a surgical ward guides the choice of public hospital encounters.

Diabetes 130-US hospitals 1999-2008 (101,766 encounters of 71,518 patients). Patients are split
45/30/25. Private are the surgical encounters of the first share, the test set those of the
last; the pool is every encounter of the middle share. The task is a stay of five days or more.
The specialty, which made the choice, is hidden. Levels are counted in the pool only.
"""

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from curation_audit.checks import InputError
from curation_audit.pipelines.examples.files import DataFolder, data_file

FILE: Final = "diabetes130.parquet"
SHARES: Final = (0.45, 0.75)
MIN_FREQUENCY: Final = 100
LONG_STAY_DAYS: Final = 5
SEED: Final = 0

NUMBERS: Final = (
    "num_lab_procedures",
    "num_procedures",
    "num_medications",
    "number_outpatient",
    "number_emergency",
    "number_inpatient",
    "number_diagnoses",
)
# Not features: names, the label, what made the choice, and what is known after the stay only.
HIDDEN: Final = (
    "encounter_id",
    "patient_nbr",
    "time_in_hospital",
    "medical_specialty",
    "readmitted",
)
DIAGNOSES: Final = ("diag_1", "diag_2", "diag_3")


def table(part: str, folder: DataFolder | None = None) -> dict[str, NDArray[Any]]:
    """Columns ``encounter_id``, ``patient_nbr``, ``stay`` (long or short) and the features.

    A feature is a number, scaled by the pool, or one level of a category as 0 and 1, called
    ``column=level``. To scale the levels too would blow up the rare ones.

    Raises:
        InputError: where ``diabetes130.parquet`` is not in ``folder``, or is another file.
    """
    raw = _read(data_file(folder, FILE, "surgical_ward"))
    parts = _split(raw)
    chosen, pool = parts[part], parts["public"]
    columns: dict[str, NDArray[Any]] = {
        "encounter_id": raw["encounter_id"][chosen],
        "patient_nbr": raw["patient_nbr"][chosen],
    }
    for name, values in raw.items():
        if name in NUMBERS:
            columns[name] = (values[chosen] - values[pool].mean()) / values[pool].std()
        elif name not in HIDDEN:
            columns |= _levels(name, values, pool, chosen)
    long = raw["time_in_hospital"][chosen] >= LONG_STAY_DAYS
    return columns | {"stay": np.where(long, "long", "short")}


def _read(content: bytes) -> dict[str, NDArray[Any]]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(pa.BufferReader(content)) as opened:
            read = opened.read()
    except (pa.ArrowException, OSError) as error:
        raise InputError(FILE, "cannot be read as parquet", "fetch it again") from error
    columns = {}
    for name in read.column_names:
        column = read.column(name)
        if pa.types.is_dictionary(column.type):
            column = column.cast(pa.string()).fill_null("none")
        columns[name] = column.to_numpy()
    for name in DIAGNOSES:
        # The first three characters of an ICD-9 code are the disease.
        columns[name] = np.array([str(code)[:3] for code in columns[name]], dtype=object)
    return columns


def _split(raw: dict[str, NDArray[Any]]) -> dict[str, NDArray[np.bool_]]:
    """The rows of each part, by patient, bool (rows,)."""
    patients, of_row = np.unique(raw["patient_nbr"], return_inverse=True)
    place = np.empty(len(patients))
    place[np.random.default_rng(SEED).permutation(len(patients))] = np.arange(len(patients))
    share = (place / len(patients))[of_row]
    surgical = np.char.startswith(raw["medical_specialty"].astype(str), "Surgery-")
    return {
        "private": (share < SHARES[0]) & surgical,
        "public": (share >= SHARES[0]) & (share < SHARES[1]),
        "test": (share >= SHARES[1]) & surgical,
    }


def _levels(
    name: str, values: NDArray[Any], pool: NDArray[np.bool_], chosen: NDArray[np.bool_]
) -> dict[str, NDArray[Any]]:
    """One column of 0 and 1 per level that is frequent in the pool, one for all others."""
    levels, codes = np.unique(values.astype(str), return_inverse=True)
    counts = np.bincount(codes[pool], minlength=len(levels))
    frequent = np.nonzero(counts >= MIN_FREQUENCY)[0]
    if len(frequent) < 2 and counts.sum() - counts[frequent].sum() < MIN_FREQUENCY:
        return {}  # the same for nearly every pool row
    columns: dict[str, NDArray[Any]] = {
        f"{name}={levels[code]}": (codes[chosen] == code).astype(np.uint8) for code in frequent
    }
    rare = ~np.isin(codes[chosen], frequent)
    return columns | {f"{name}=rare": rare.astype(np.uint8)}
