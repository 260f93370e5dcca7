"""A release in Ray Data: stateless tasks, or actors that may hold a part of a GPU.

A release is a callable from table to table, so that for tasks
``dataset.map_batches(release, batch_format="pyarrow")`` is all there is to it.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pyarrow as pa

from curation_audit.adapters.arrow import check_columns, check_scored, cut_of, keep
from curation_audit.pipelines.rules.cut import Cut, Levelled
from curation_audit.releases.release import SCORE, Release
from curation_audit.releases.table import columns_of, with_column

if TYPE_CHECKING:
    import ray.data

BATCH_ROWS: Final = 4_096


def score(
    dataset: "ray.data.Dataset", release: Release, *, batch_size: int = BATCH_ROWS, **options: Any
) -> "ray.data.Dataset":
    """The data set with a column ``dp_score`` (float64) appended, by tasks, when it is read.

    Args:
        dataset: with the columns of the release.
        release: what scores; it travels to the workers once.
        batch_size: so many rows at a time.
        options: others of ``map_batches``.

    Raises:
        InputError: at once where a column is missing or ``dp_score`` is taken, if the columns are
            known without reading; else in a task.
    """
    schema = dataset.schema(fetch_if_missing=False)
    if schema is not None:
        check_columns(list(schema.names), release)
    return dataset.map_batches(release, batch_format="pyarrow", batch_size=batch_size, **options)


class ScoringActor:
    """A callable class for ``map_batches`` with actors: the release is loaded once per actor.

    ``map_batches(ScoringActor, fn_constructor_args=(release,), num_gpus=0.25, num_cpus=0.5,
    batch_format="pyarrow", batch_size=4096, compute=ray.data.ActorPoolStrategy(min_size=1,
    max_size=4))``. Leave some processors to the tasks that read (``num_cpus`` below 1), or they
    wait for one another for ever.

    On a GPU scores are float64, too. They equal those of the processor up to rounding (some 1e-12
    of their size), not to the last bit: score a whole pool on one kind of device, and store the
    scores before you pick. Without CUDA an actor scores as the release does.
    """

    def __init__(self, release: Release | Path | str, device: str = "auto") -> None:
        """Take a release or its file; on ``cuda``, ``cpu``, or what this actor has (``auto``)."""
        self.release = release if isinstance(release, Release) else Release.load(release)
        self.device = _device() if device == "auto" else device

    def __call__(self, table: pa.Table) -> pa.Table:
        """The table with its scores."""
        if self.device == "cpu":
            return self.release(table)
        from curation_audit.releases.on_device import scores_on

        rows = columns_of(table, self.release.columns, self.release.width)
        return with_column(table, SCORE, scores_on(self.device, self.release, rows))


def pick(dataset: "ray.data.Dataset", rule: Any, id: str | None = None) -> "ray.data.Dataset":
    """The rows of a scored data set that a rule keeps, when they are read; nothing is sorted.

    Only scores and ids come to the driver, for the cut (a ``Cut`` or a rule of fixed
    levels does without); blocks are then filtered where they lie. Write the scores first, or
    materialise them: what is not stored is computed again, on a processor to the same bit.

    Args:
        dataset: with a column ``dp_score``.
        rule: one of a single cut (see ``select``), or a ``Cut`` made before.
        id: the column of ids, by which rows of equal score are told apart.

    Raises:
        InputError: where a column is missing, ids are needed, or there are too few rows.
    """
    check_scored(list(dataset.schema().names), id)
    cut = _cut(dataset, rule, id)
    return dataset.map_batches(
        keep, fn_kwargs={"cut": cut, "id": id}, batch_format="pyarrow", batch_size=None
    )


def _cut(dataset: "ray.data.Dataset", rule: Any, id: str | None) -> Cut:
    if isinstance(rule, Cut | Levelled) or id is None:
        return cut_of(None, rule, id)
    columns = dataset.select_columns([SCORE, id])
    batches = columns.iter_batches(batch_format="pyarrow", batch_size=None)
    empty = pa.table({SCORE: pa.array(np.empty(0)), id: pa.nulls(0)})
    tables = [table for table in batches if table.num_rows]
    return cut_of(pa.concat_tables(tables) if tables else empty, rule, id)


def _device() -> str:
    """``cuda`` where this process may use it; torch is imported by actors alone."""
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"
