"""Scores and the best 4,000 rows as files, for tools that read files."""

import pyarrow.dataset as ds

from curation_audit import Release, TopK
from curation_audit.adapters.arrow import pick, score
from curation_audit.adapters.interchange import write_ids, write_scores

pool = ds.dataset("pool/")
scores = write_scores(score(pool, Release.load("release.npz")), "scores.parquet", id="uid")
picked = pick(ds.dataset(scores), TopK(k=4_000), id="uid")
write_ids(picked, "ids.txt", id="uid")
