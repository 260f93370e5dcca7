"""The best 4,000 rows of a pool with Ray Data, scored by actors that share a GPU."""

import ray

from curation_audit import Release, TopK
from curation_audit.adapters.ray import ScoringActor, pick

ray.init(num_gpus=1)  # leave it out where Ray finds the GPUs by itself
actors = ray.data.ActorPoolStrategy(min_size=1, max_size=2)
options = {"batch_format": "pyarrow", "batch_size": 4_096, "num_gpus": 0.5, "num_cpus": 0.25}
made_of = (Release.load("release.npz"),)
pool = ray.data.read_parquet("pool/")
scored = pool.map_batches(ScoringActor, fn_constructor_args=made_of, compute=actors, **options)
picked = pick(scored.materialize(), TopK(k=4_000), id="uid")
picked.write_parquet("picked/")
