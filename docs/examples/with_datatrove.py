"""The best 4,000 documents of a pool with datatrove: a job that scores, and one that picks."""

from datatrove.executor import LocalPipelineExecutor
from datatrove.pipeline.readers import ParquetReader
from datatrove.pipeline.writers import ParquetWriter

from curation_audit import Release, TopK
from curation_audit.adapters.datatrove import Keep, Score, cut_of

if __name__ == "__main__":
    release = Release.load("release.npz")
    logs, write = f"logs/{release.fingerprint}", ParquetWriter("scored/", expand_metadata=True)
    score = [ParquetReader("pool/", id_key="uid"), Score(release), write]
    LocalPipelineExecutor(score, tasks=4, workers=2, logging_dir=f"{logs}/score").run()
    keep = Keep(cut_of("scored/", TopK(k=4_000)))
    pick = [ParquetReader("scored/"), keep, ParquetWriter("picked/", expand_metadata=True)]
    LocalPipelineExecutor(pick, tasks=4, workers=2, logging_dir=f"{logs}/best-4000").run()
