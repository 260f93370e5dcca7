"""Reading a pool: the top k of a stored column of scores, and the scores of many linear shadows.

    python -m benchmarks.pool_speed [--repeats 5] [--rows 10000000]

The same columns (scores, and ids as whole numbers or texts; parquet, zstd, in the page cache) by
pandas' ``nlargest`` and by a cut whose threshold rises while the file is read; k = 10,000. Then 64
linear scorers on 400,000 rows of 128 float32 numbers, beside a loop of scikit-learn's
``decision_function``. One thread; ratios in one run.
"""

import argparse
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as pds
import pyarrow.parquet as pq
from sklearn.linear_model import LogisticRegression

from benchmarks.training_speed import table, timed_in_turns
from curation_audit import TopK
from curation_audit.adapters.arrow import cut_of
from curation_audit.pipelines.scorers.classifier import Classifier
from curation_audit.pipelines.scorers.linear import LinearScorers
from curation_audit.training.device import one_thread

FILES, PICKED, SHADOWS, ROWS, WIDTH = 10, 10_000, 64, 400_000, 128


def stored_scores(folder: Path, n_rows: int, repeats: int, *, text: bool) -> None:
    """Print a table."""
    rng = np.random.default_rng(0)
    for i, ids in enumerate(np.array_split(np.arange(n_rows), FILES)):
        named = pc.binary_join_element_wise("row", pa.array(ids).cast(pa.string()), "-")
        columns = {"uid": named if text else ids, "dp_score": rng.standard_normal(len(ids))}
        pq.write_table(pa.table(columns), folder / f"{i}.parquet", compression="zstd")

    def by_pandas() -> object:
        return pd.read_parquet(folder, columns=["uid", "dp_score"]).nlargest(PICKED, "dp_score")

    def by_cut() -> object:
        return cut_of(pds.dataset(folder), TopK(k=PICKED), "uid")

    times = timed_in_turns({"pandas nlargest": (by_pandas, 1), "rising cut": (by_cut, 1)}, repeats)
    table(times, "pandas nlargest")


def linear_scores(repeats: int) -> None:
    """Print a table."""
    rng = np.random.default_rng(0)
    rows = rng.standard_normal((ROWS, WIDTH), dtype=np.float32)
    weights = rng.standard_normal((SHADOWS, WIDTH + 1), dtype=np.float32)
    scorers, models = LinearScorers(weights, Classifier(device="cpu").embed), []
    for one in weights:
        model = LogisticRegression()
        model.classes_, model.coef_, model.intercept_ = np.arange(2), one[None, :-1], one[-1:]
        models.append(model)

    def one_by_one() -> object:
        return [model.decision_function(rows) for model in models]

    ways = {
        "decision_function, one by one": (one_by_one, 1.0),
        "one pass": (lambda: scorers.score(rows), 1.0),
    }
    table(timed_in_turns(ways, repeats), "decision_function, one by one")


def main() -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--rows", type=int, default=10_000_000)
    asked = parser.parse_args()
    pa.set_cpu_count(1)
    with one_thread(), tempfile.TemporaryDirectory() as folder:
        for text in (False, True):
            print(f"ids are {'texts' if text else 'whole numbers'}")
            stored_scores(Path(folder), asked.rows, asked.repeats, text=text)
        linear_scores(asked.repeats)


if __name__ == "__main__":
    main()
