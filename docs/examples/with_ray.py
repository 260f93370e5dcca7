"""The best 4,000 rows of a pool with Ray Data, scored by tasks."""

import ray

from curation_audit import Release, TopK
from curation_audit.adapters.ray import pick, score

scored = score(ray.data.read_parquet("pool/"), Release.load("release.npz"))
scored.write_parquet("scored/")
picked = pick(ray.data.read_parquet("scored/"), TopK(k=4_000), id="uid")
picked.write_parquet("picked/")
