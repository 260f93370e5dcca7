"""Scores and picks as files, for tools that are joined by files: docs/interchange.md has recipes.

A source is a table, a ``pyarrow.dataset`` or a stream, such as ``adapters.arrow.score`` and
``pick`` give; only the columns that a file needs are kept in memory. Files appear whole or not at
all, and the same rows give the same bytes.
"""

import gzip
import io
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from curation_audit.checks import InputError, known_columns
from curation_audit.pipelines.rules.cut import Cut
from curation_audit.releases.release import SCORE
from curation_audit.storage import write_atomically

UID: Any = np.dtype("u8,u8")


def write_scores(source: Any, path: Path | str, id: str = "uid") -> Path:
    """A parquet file with two columns, the ids and ``dp_score`` (float64), in the source's order.

    A row without a score (NaN) has a null: most tools take a null for missing, and few a NaN.

    Raises:
        InputError: where a column is missing, or an id is missing or there twice.
    """
    table = _columns(source, [id, SCORE])
    ids, scores = _ids(table, id), _scores(table)
    buffer = io.BytesIO()
    pq.write_table(pa.table({id: ids, SCORE: scores}), buffer)
    return _written(path, buffer.getvalue())


def write_ids(source: Any, path: Path | str, id: str = "uid") -> Path:
    """A text file with one id per line (UTF-8), in the source's order, for the rows of a pick.

    Raises:
        InputError: where the column is missing, or an id is missing, there twice, empty, or would
            break its line.
    """
    ids = _ids(_columns(source, [id]), id).cast(pa.large_string())
    lines = ids.to_pylist()
    text = "".join(f"{one}\n" for one in lines)
    # by the rules of whoever may read it: U+2028, for one, ends a line in Python
    if "" in lines or text.splitlines() != lines:
        bad = next(one for one in lines if one.splitlines() != [one])
        raise InputError(f"column {id!r}", f"holds the id {bad!r}", "an id must fit on one line")
    return _written(path, text.encode())


def write_datacomp(source: Any, path: Path | str, id: str = "uid") -> Path:
    """A DataComp subset file: the 128-bit uids of a pick as a sorted npy array of ``u8,u8`` pairs.

    Raises:
        InputError: where the column is missing, or a uid is not 32 hex digits or there twice.
    """
    uids = _ids(_columns(source, [id]), id).cast(pa.large_string())
    good = pc.match_substring_regex(uids, "^[0-9a-fA-F]{32}$")
    if not pc.all(good, min_count=0).as_py():
        bad = uids.filter(pc.invert(good))[0].as_py()
        raise InputError(f"column {id!r}", f"holds the uid {bad!r}", "expected 32 hex digits")
    halves = np.frombuffer(bytes.fromhex("".join(uids.to_pylist())), dtype=">u8").reshape(-1, 2)
    halves = halves[np.lexsort((halves[:, 1], halves[:, 0]))]
    if (halves[1:] == halves[:-1]).all(axis=1).any():  # once in capitals, once not
        raise _twice(id)
    subset = np.empty(len(halves), dtype=UID)
    subset["f0"], subset["f1"] = halves.T
    buffer = io.BytesIO()
    np.lib.format.write_array(buffer, subset, allow_pickle=False)
    return _written(path, buffer.getvalue())


def write_dolma(
    source: Any,
    documents: Path | str,
    *,
    experiment: str,
    tagger: str = "curation_audit",
    id: str = "id",
    text: str = "text",
    cut: Cut | None = None,
) -> int:
    """Dolma attributes of one file of documents; says how many documents have no score.

    ``.../documents/x.jsonl.gz`` gets ``.../attributes/<experiment>/x.jsonl.gz``, where dolma looks
    for them. A line is ``{"id": ..., "attributes": {"<experiment>__<tagger>__dp_score":
    [[0, length, score]]}}``; a document without a score has no span there, but its line, as
    dolma's mixer reads both files line by line.

    Args:
        source: the scored documents of that file, all of them, in its order.
        documents: the file of documents, which is not read.
        experiment: the folder of attributes, and the first part of their names.
        tagger: the second part.
        id: the column of ids, of the same type as in the documents.
        text: the column of texts, for their lengths; or of lengths in characters.
        cut: adds ``<experiment>__<tagger>__kept``, 1.0 or 0.0, so that rows of equal score are
            told apart in dolma, too.

    Raises:
        InputError: where a column or an id is missing, an id is there twice or has control
            characters, a name has others than letters, digits and ``_``, or the file lies in no
            folder ``documents``.
    """
    path = _attributes_path(Path(documents), experiment)
    for part in (experiment, tagger):
        if not part.isascii() or not part.replace("_", "a").isalnum():
            hint = "expected letters, digits and _, as paths in dolma's filters are made of"
            raise InputError("attributes", f"found the name {part!r}", hint)
    table = _columns(source, [id, text, SCORE])
    ids, scores = _ids(table, id), _scores(table)
    spans = {"dp_score": scores}
    if cut is not None:
        kept = cut.mask(np.asarray(table[SCORE], dtype=np.float64), table[id])
        spans["kept"] = pa.chunked_array([pa.array(kept).cast(pa.float64())])
    name = f"{experiment}__{tagger}"
    lengths = _lengths(table[text], text)
    parts = [_attribute(f"{name}__{key}", values, lengths) for key, values in spans.items()]
    attributes = parts[0] if len(parts) == 1 else _joined(parts[0], ", ", parts[1])
    lines = _joined('{"id": ', _json_ids(ids, id), ', "attributes": {', attributes, "}}\n")
    payload = gzip.compress("".join(lines.to_pylist()).encode(), mtime=0)
    _written(path, payload)
    return int(scores.null_count)


def _attributes_path(documents: Path, experiment: str) -> Path:
    if documents.parts.count("documents") != 1 or documents.name == "documents":
        hint = "expected .../documents/<file>.gz; dolma finds attributes by that folder's name"
        raise InputError(str(documents), "lies in no folder 'documents', or in two", hint)
    if documents.suffix != ".gz":
        raise InputError(str(documents), "is no .gz file", "dolma reads gzipped lines of JSON")
    at = documents.parts.index("documents")
    return Path(*documents.parts[:at], "attributes", experiment, *documents.parts[at + 1 :])


def _columns(source: Any, names: list[str]) -> pa.Table:
    """Some columns of a source in memory; of files, no others are read."""
    if hasattr(source, "scanner"):
        _check_columns(source.schema.names, names)
        return source.scanner(columns=names).to_table()
    if not hasattr(source, "__arrow_c_stream__"):
        hint = "expected a pyarrow table, data set or reader"
        raise InputError("the source", f"is a {type(source).__name__}", hint)
    reader = pa.RecordBatchReader.from_stream(source)
    _check_columns(reader.schema.names, names)
    fields = pa.schema([reader.schema.field(name) for name in names])
    return pa.Table.from_batches((batch.select(names) for batch in reader), fields)


def _check_columns(there: list[str], names: list[str]) -> None:
    for name in names:
        if name not in there:
            hint = "score it first" if name == SCORE else known_columns(name, there)
            raise InputError("the source", f"has no column {name!r}", hint)


def _ids(table: pa.Table, id: str) -> pa.ChunkedArray:
    """The ids, which are text or integers, all there, and all different."""
    ids = table[id]
    if pa.types.is_dictionary(ids.type):
        ids = ids.cast(ids.type.value_type)
    kind = ids.type
    if not (pa.types.is_integer(kind) or _is_text(kind)):
        raise InputError(f"column {id!r}", f"holds {kind} values", "expected text or integers")
    if ids.null_count:
        raise InputError(f"column {id!r}", f"lacks {ids.null_count} ids", "give every row an id")
    if len(ids.unique()) != len(ids):
        raise _twice(id)
    return ids


def _scores(table: pa.Table) -> pa.ChunkedArray:
    """The scores, float64; null where there is none."""
    scores = table[SCORE].cast(pa.float64())
    return pc.if_else(pc.is_finite(scores), scores, pa.scalar(None, pa.float64()))


def _lengths(texts: pa.ChunkedArray, name: str) -> pa.ChunkedArray:
    """Lengths in characters, as dolma counts."""
    if not (pa.types.is_integer(texts.type) or _is_text(texts.type)):
        hint = "expected text, or lengths in characters"
        raise InputError(f"column {name!r}", f"holds {texts.type} values", hint)
    if texts.null_count:
        raise InputError(f"column {name!r}", f"lacks {texts.null_count} values", "dolma needs text")
    return texts if pa.types.is_integer(texts.type) else pc.utf8_length(texts)


def _attribute(name: str, values: pa.ChunkedArray, lengths: pa.ChunkedArray) -> pa.ChunkedArray:
    """``"name": [[0, length, value]]`` of every row, and ``"name": []`` where there is none."""
    # Arrow writes as many digits as it takes to read the same bits again, but 1.0 as an integer,
    # which dolma's mixer does not find equal to 1.0
    numbers = pc.replace_substring_regex(values.cast(pa.large_string()), r"^(-?\d+)$", r"\1.0")
    span = _joined(f'"{name}": [[0, ', lengths, ", ", numbers, "]]")
    return pc.fill_null(span, f'"{name}": []')


def _json_ids(ids: pa.ChunkedArray, id: str) -> pa.ChunkedArray:
    if pa.types.is_integer(ids.type):
        return ids.cast(pa.large_string())
    bad = pc.match_substring_regex(ids, r"[\x00-\x1f\x7f]")
    if pc.any(bad, min_count=0).as_py():
        one = ids.filter(bad)[0].as_py()
        hint = "ids must have no line breaks or other control characters"
        raise InputError(f"column {id!r}", f"holds the id {one!r}", hint)
    escaped = pc.replace_substring(pc.replace_substring(ids, "\\", "\\\\"), '"', '\\"')
    return _joined('"', escaped, '"')


def _joined(*parts: pa.ChunkedArray | str) -> pa.ChunkedArray:
    """Rows of text side by side; null where one of them is."""
    text = pa.large_string()
    columns = [pa.scalar(p, text) if isinstance(p, str) else p.cast(text) for p in parts]
    return pc.binary_join_element_wise(*columns, pa.scalar("", text))


def _is_text(kind: pa.DataType) -> bool:
    return bool(
        pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind)
    )


def _twice(id: str) -> InputError:
    return InputError(f"column {id!r}", "holds one id on several rows", "give every row its own id")


def _written(path: Path | str, payload: bytes) -> Path:
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(target, payload)
    return target
