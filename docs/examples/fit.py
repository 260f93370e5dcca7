"""Fit once: the only look at private rows, within the budget that the ledger keeps."""

import pyarrow.parquet as pq

from curation_audit import Budget, Curator

curator = Curator(
    scorer="mean", adjacency="zero_out", ledger="hospital.ledger", unit="patient", features=["emb"]
)
private = pq.read_table("private.parquet")
background = pq.read_table("pool/part-0.parquet", columns=["emb"])
release = curator.fit(private, budget=Budget(epsilon=1, delta=1e-5), background=background)
release.save("release.npz")
