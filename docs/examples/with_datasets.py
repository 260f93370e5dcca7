"""The best 4,000 rows of a pool with Hugging Face datasets, scored by two processes."""

from datasets import load_dataset

from curation_audit import Release, TopK
from curation_audit.adapters.huggingface import pick, score

if __name__ == "__main__":
    pool = load_dataset("parquet", data_files="pool/*.parquet", split="train")
    scored = score(pool, Release.load("release.npz"), num_proc=2)
    pick(scored, TopK(k=4_000), id="uid").to_parquet("picked.parquet")
