"""``clinical_notes``: a hospital's notes guide the choice of public texts.

Private is a random half of the 2,376 different notes of MTSamples. The pool holds MedQuAD's
question-answer pairs and the 20 newsgroups, most of them not medical. The model is to tell four
fields of medicine apart in abstracts (Medical Abstracts, its test part), which nobody curated by.
"""

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from curation_audit.checks import InputError
from curation_audit.pipelines.examples.files import DataFolder, data_file

SEED: Final = 0
FILES: Final = {
    "notes": "mtsamples.parquet",
    "answers": "medquad.parquet",
    "news": "newsgroups20.parquet",
    "abstracts": "medabstracts_test2888.parquet",
}
FIELDS: Final = ("neoplasms", "digestive", "nervous", "cardiovascular")
GENERAL, OTHER = "general", "other"
# The institute that answers tells the field; the others answer on all of medicine.
FIELD_OF_SOURCE: Final = {
    "1_CancerGov_QA": "neoplasms",
    "5_NIDDK_QA": "digestive",
    "6_NINDS_QA": "nervous",
    "8_NHLBI_QA_XML": "cardiovascular",
}
FIELD_OF_SPECIALTY: Final = {
    "Hematology - Oncology": "neoplasms",
    "Gastroenterology": "digestive",
    "Neurology": "nervous",
    "Neurosurgery": "nervous",
    "Cardiovascular / Pulmonary": "cardiovascular",
}


def table(part: str, folder: DataFolder | None = None) -> dict[str, NDArray[Any]]:
    """The columns ``text_id``, ``text``, ``field`` and ``words`` of ``part``.

    Raises:
        InputError: where one of the files of the part is not in ``folder``, or is another file.
    """
    ids, texts, fields = {"private": _private, "public": _pool, "test": _test}[part](folder)
    return {
        "text_id": np.array(ids),
        "text": np.array(texts, dtype=object),
        "field": np.array(fields, dtype=object),
        "words": np.array([len(text.split()) for text in texts]),
    }


Rows = tuple[list[str], list[str], list[str]]


def _private(folder: DataFolder | None) -> Rows:
    read = _read("notes", folder)
    n = len(read["text"])
    rows = np.sort(np.random.default_rng(SEED).permutation(n)[: n // 2])
    fields = [_field_of_note(read["specialties"][row]) for row in rows]
    ids = [f"note-{read['sample_id'][row]}" for row in rows]
    return ids, [read["text"][row] for row in rows], fields


def _field_of_note(specialties: str) -> str:
    """The one field that a note is filed under; general for none, and for several."""
    found = {FIELD_OF_SPECIALTY.get(one) for one in specialties.split("|")} - {None}
    return str(found.pop()) if len(found) == 1 else GENERAL


def _pool(folder: DataFolder | None) -> Rows:
    read, news = _read("answers", folder), _read("news", folder)
    texts = [f"{q} {a}" for q, a in zip(read["question"], read["answer"], strict=True)]
    fields = [FIELD_OF_SOURCE.get(source, GENERAL) for source in read["source"]]
    ids = [f"answer-{row:05d}" for row in range(len(texts))]
    texts += [f"{s} {t}" for s, t in zip(news["subject"], news["text"], strict=True)]
    fields += [GENERAL if group == "sci.med" else OTHER for group in news["group"]]
    ids += [f"news-{row:05d}" for row in range(len(news["text"]))]
    first = {text: row for row, text in reversed(list(enumerate(texts)))}
    rows = sorted(first.values())  # every text once
    return [ids[r] for r in rows], [texts[r] for r in rows], [fields[r] for r in rows]


def _test(folder: DataFolder | None) -> Rows:
    read = _read("abstracts", folder)
    rows = [row for row, code in enumerate(read["y"]) if code <= len(FIELDS)]
    ids = [f"abstract-{row:04d}" for row in rows]
    return ids, [read["text"][row] for row in rows], [FIELDS[read["y"][row] - 1] for row in rows]


def _read(name: str, folder: DataFolder | None) -> dict[str, list[Any]]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    content = data_file(folder, FILES[name], "clinical_notes")
    try:
        with pq.ParquetFile(pa.BufferReader(content)) as opened:
            columns: dict[str, list[Any]] = opened.read().to_pydict()
    except (pa.ArrowException, OSError) as error:
        raise InputError(FILES[name], "cannot be read as parquet", "fetch it again") from error
    return columns
