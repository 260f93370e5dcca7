"""The best 4,000 rows of a pool by a scikit-learn estimator that is fitted within a budget."""

import numpy as np
import pyarrow.dataset as ds
import pyarrow.parquet as pq

from curation_audit import TopK, select
from curation_audit.adapters.sklearn import PrivateScorer

pool, private = ds.dataset("pool/").to_table(), pq.read_table("private.parquet")
rows, ours = (np.stack(table["emb"].to_numpy()) for table in (pool, private))
scorer = PrivateScorer(epsilon=1, delta=1e-5, adjacency="zero_out", ledger="rows.ledger")
scorer.fit(np.concatenate([rows[:10_000], ours]), np.repeat([0, 1], [10_000, len(ours)]))
scores = scorer.decision_function(rows)
cut = select(scores, TopK(k=4_000), pool["uid"])
pq.write_table(pool.take(cut.indices(scores, pool["uid"])), "picked.parquet")
