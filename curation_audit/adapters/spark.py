"""A release in Spark data frames: by Arrow batches, by pandas frames, or as a column function.

Features are columns of numbers or arrays of numbers; ``pyspark.ml.functions.vector_to_array`` makes
arrays of Spark's own vectors. Workers need this package, and ``PYSPARK_PYTHON`` names their Python.
"""

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import pyarrow as pa
from pyspark.sql import functions
from pyspark.sql.types import BooleanType, DoubleType, StructField, StructType

from curation_audit.adapters.arrow import check_columns, check_scored, cut_of, score_frame
from curation_audit.pipelines.rules.cut import Cut, Levelled
from curation_audit.releases.release import SCORE, Release

if TYPE_CHECKING:
    import pandas as pd
    from pyspark.sql import Column, DataFrame


def score(frame: "DataFrame", release: Release) -> "DataFrame":
    """The data frame with a column ``dp_score`` (double) appended, by ``mapInArrow``.

    Raises:
        InputError: at once where a column is missing or ``dp_score`` is taken.
    """
    schema = _scored_schema(frame, release)

    def scored(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            yield from release(pa.Table.from_batches([batch])).to_batches()

    return frame.mapInArrow(scored, schema)


def score_pandas(frame: "DataFrame", release: Release) -> "DataFrame":
    """The same by ``mapInPandas``, for jobs that are written so.

    Raises:
        InputError: as ``score``.
    """
    schema = _scored_schema(frame, release)

    def scored(frames: Iterator["pd.DataFrame"]) -> Iterator["pd.DataFrame"]:
        for one in frames:
            yield score_frame(one, release)

    return frame.mapInPandas(scored, schema)


def score_column(release: Release) -> Callable[..., "Column"]:
    """A column function of the release's columns, in their order: ``score_column(r)("emb")``.

    Spark hands it these columns only, so that it is the fastest where rows have long texts; and it
    works beside columns whose names have dots, which ``mapInArrow`` does not.
    """
    import pandas as pd

    def scored(*columns: pd.Series) -> pd.Series:
        rows = pd.DataFrame(dict(zip(release.columns, columns, strict=True)))
        return score_frame(rows, release)[SCORE]

    function: Callable[..., Column] = functions.pandas_udf(scored, DoubleType())
    return function


def pick(frame: "DataFrame", rule: Any, id: str | None = None) -> "DataFrame":
    """The rows of a scored data frame that a rule keeps; nothing is sorted or shuffled.

    Only scores and ids come to the driver, for the cut (a ``Cut`` or a rule of fixed
    levels does without); partitions are then filtered where they lie. Write or cache the scores
    first: what is not stored is computed again, to the same bit.

    Args:
        frame: with a column ``dp_score``.
        rule: one of a single cut (see ``select``), or a ``Cut`` made before.
        id: the column of ids, by which rows of equal score are told apart.

    Raises:
        InputError: where a column is missing, ids are needed, or there are too few rows.
    """
    import pandas as pd

    check_scored(list(frame.columns), id)
    columns = [_column(name) for name in (SCORE, id) if name is not None]
    if isinstance(rule, Cut | Levelled) or id is None:
        cut = cut_of(None, rule, id)
    else:
        cut = cut_of(frame.select(*columns).toArrow(), rule, id)

    def kept(scores: pd.Series, *ids: pd.Series) -> pd.Series:
        return pd.Series(cut.mask(scores, *ids))

    return frame.filter(functions.pandas_udf(kept, BooleanType())(*columns))


def _scored_schema(frame: "DataFrame", release: Release) -> StructType:
    """The schema with the score; ``StructType.add`` would change the frame's own."""
    check_columns(list(frame.columns), release)
    return StructType([*frame.schema.fields, StructField(SCORE, DoubleType())])


def _column(name: str) -> "Column":
    """A column whose name may have dots, which otherwise lead into a record."""
    return functions.col("`" + name.replace("`", "``") + "`")
