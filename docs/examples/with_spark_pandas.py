"""The best 4,000 rows of a pool with Spark, by a column function on pandas series."""

from pyspark.sql import SparkSession

from curation_audit import Release, TopK
from curation_audit.adapters.spark import pick, score_column

spark = SparkSession.builder.appName("curation").getOrCreate()
dp_score = score_column(Release.load("release.npz"))
pool = spark.read.parquet("pool/")
scored = pool.withColumn("dp_score", dp_score("emb")).cache()
pick(scored, TopK(k=4_000), id="uid").write.parquet("picked/")
