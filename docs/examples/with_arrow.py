"""The best 4,000 rows of a pool that does not fit into memory, with pyarrow."""

import pyarrow.dataset as ds
import pyarrow.parquet as pq

from curation_audit import Release, TopK
from curation_audit.adapters.arrow import pick, score

scored = score(ds.dataset("pool/"), Release.load("release.npz"))
with pq.ParquetWriter("scored.parquet", scored.schema) as file:
    for batch in scored:
        file.write_batch(batch)
picked = pick(ds.dataset("scored.parquet"), TopK(k=4_000), id="uid")
pq.write_table(picked.read_all(), "picked.parquet")
