"""The best 4,000 rows of a pool in a pandas data frame."""

import pandas as pd

from curation_audit import Release, TopK
from curation_audit.adapters.arrow import pick_frame, score_frame

pool = pd.read_parquet("pool/")
scored = score_frame(pool, Release.load("release.npz"))
picked = pick_frame(scored, TopK(k=4_000), id="uid")
picked.to_parquet("picked.parquet", index=False)
