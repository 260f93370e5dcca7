"""The best 4,000 rows of a streamed pool with Hugging Face datasets."""

from datasets import load_dataset

from curation_audit import Release, TopK
from curation_audit.adapters.huggingface import pick, score

pool = load_dataset("parquet", data_files="pool/*.parquet", split="train", streaming=True)
scored = score(pool, Release.load("release.npz"))
pick(scored, TopK(k=4_000), id="uid").to_parquet("picked.parquet")
