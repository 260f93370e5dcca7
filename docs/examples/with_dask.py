"""The best 4,000 rows of a pool in a dask data frame."""

import dask.dataframe as dd

from curation_audit import Release, TopK
from curation_audit.adapters.dask import pick, score

pool = dd.read_parquet("pool/", dtype_backend="pyarrow")  # without it dask cannot write vectors
scored = score(pool, Release.load("release.npz"))
pick(scored, TopK(k=4_000), id="uid").to_parquet("picked/", write_index=False)
