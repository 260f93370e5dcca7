"""The best 4,000 rows of a pool with Spark, by Arrow batches."""

from pyspark.sql import SparkSession

from curation_audit import Release, TopK
from curation_audit.adapters.spark import pick, score

spark = SparkSession.builder.appName("curation").getOrCreate()
scored = score(spark.read.parquet("pool/"), Release.load("release.npz"))
scored.write.parquet("scored/")
pick(spark.read.parquet("scored/"), TopK(k=4_000), id="uid").write.parquet("picked/")
