"""A release in datatrove: one step that scores documents, and one that keeps by a cut.

    [ParquetReader("pool/"), Score(release), Keep(Threshold(minimum=0.1)), ParquetWriter("out/")]

The best k of a whole pool take two jobs: the first writes scores, ``cut_of`` makes one cut of
them, and the second job keeps by it, each task alone. datatrove knows finished tasks by their log
folder alone: give every release and every rule its own, or old results pass for new ones.
"""

import math
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.dataset as pds
from datatrove.data import Document
from datatrove.pipeline.base import PipelineStep

from curation_audit.adapters import arrow
from curation_audit.checks import InputError, known_columns
from curation_audit.pipelines.rules.cut import Cut, Levelled
from curation_audit.releases.release import SCORE, Release

BATCH_DOCUMENTS: Final = 1_000


class Score(PipelineStep):  # type: ignore[misc]  # datatrove has no types
    """Writes ``dp_score`` into the metadata of every document.

    The columns of the release are read from the metadata, e.g. an embedding. A value of ``None``
    scores NaN. Statistics: ``total``, ``dp_score``, and ``unscored`` (NaN).
    """

    type = "🏷 - SCORE"
    name = "🔏 dp_score"

    def __init__(self, release: Release, batch_size: int = BATCH_DOCUMENTS) -> None:
        """Score so many documents at a time."""
        super().__init__()
        self.release, self.batch_size = release, batch_size

    def run(
        self, data: Iterable[Document] | None, rank: int = 0, world_size: int = 1
    ) -> Iterator[Document]:
        """Yield the documents in their order.

        Raises:
            InputError: where the metadata lacks a column, or has a ``dp_score``.
        """
        for batch in _batches(data, self.batch_size):
            with self.track_time("batch"):
                scores = self.release(self._table(batch))[SCORE].to_pylist()
            for document, one in zip(batch, scores, strict=True):
                document.metadata[SCORE] = one
                self.stat_update("total")
                if math.isnan(one):
                    self.stat_update("unscored")
                else:
                    self.stat_update(SCORE, value=one)
                yield document

    def _table(self, batch: list[Document]) -> pa.Table:
        """The columns of the release in the metadata of documents."""
        for document in batch:
            for name in self.release.columns:
                if name not in document.metadata:
                    known = known_columns(name, list(document.metadata) or ["nothing"])
                    where = f"the metadata of document {document.id!r}"
                    raise InputError(where, f"has no {name!r}", f"{known}; see reading()")
            if SCORE in document.metadata:
                where = f"the metadata of document {document.id!r}"
                raise InputError(where, f"has a {SCORE!r} already", "Keep() needs no new scores")
        return pa.table(
            {
                name: pa.array([document.metadata[name] for document in batch])
                for name in self.release.columns
            }
        )


class Keep(PipelineStep):  # type: ignore[misc]
    """Keeps documents whose ``dp_score`` lies within a cut; ids are the documents'.

    Statistics: ``total``, ``forwarded`` and ``dropped``.
    """

    type = "🔻 - FILTER"
    name = "🔏 by dp_score"

    def __init__(self, rule: Cut | Levelled, batch_size: int = BATCH_DOCUMENTS) -> None:
        """Keep by a cut of the whole pool, or by a fixed threshold; neither needs other tasks."""
        super().__init__()
        if not isinstance(rule, Cut | Levelled):
            hint = "one task knows only its own scores; make a Cut of all by cut_of()"
            raise InputError("rule", f"found {type(rule).__name__}", hint)
        self.cut, self.batch_size = arrow.cut_of(None, rule, "id"), batch_size

    def run(
        self, data: Iterable[Document] | None, rank: int = 0, world_size: int = 1
    ) -> Iterator[Document]:
        """Yield the kept documents in their order.

        Raises:
            InputError: where a document has no score.
        """
        for batch in _batches(data, self.batch_size):
            with self.track_time("batch"):
                scores = np.array([_score_of(document) for document in batch])
                kept = self.cut.mask(scores, [document.id for document in batch])
            for document, stays in zip(batch, kept.tolist(), strict=True):
                self.stat_update("total", "forwarded" if stays else "dropped")
                if stays:
                    self.update_doc_stats(document)
                    yield document


def cut_of(folder: Any, rule: Any, id: str = "id") -> Cut:
    """The cut of all documents that a job has scored; reads scores and ids only.

    Args:
        folder: what ``ParquetWriter`` wrote, or anything ``pyarrow.dataset.dataset`` understands.
            Of other files, make a table and call ``adapters.arrow.cut_of``.
        rule: one of a single cut (see ``select``).
        id: the column of the documents' ids.

    Raises:
        InputError: where scores or ids are missing, or there are too few documents.
    """
    pool = pds.dataset(folder)
    names = pool.schema.names
    if SCORE in names or "metadata" not in names:
        return arrow.cut_of(pool, rule, id)
    arrow.check_scored([SCORE, *names], id)
    # without expand_metadata=True the score lies within a column of records
    columns = {SCORE: pds.field("metadata", SCORE), id: pds.field(id)}
    return arrow.cut_of(pool.scanner(columns=columns).to_table(), rule, id)


def _score_of(document: Document) -> float:
    if SCORE not in document.metadata:
        where = f"the metadata of document {document.id!r}"
        raise InputError(where, f"has no {SCORE!r}", "put Score(release) before")
    value = document.metadata[SCORE]
    return math.nan if value is None else float(value)


def _batches(data: Iterable[Document] | None, size: int) -> Iterator[list[Document]]:
    documents = iter(data or ())
    while batch := list(islice(documents, size)):
        yield batch
