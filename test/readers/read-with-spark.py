"""Reads a table with Spark, by its files and as Iceberg, and prints what it finds as JSON.

    TEST_ICEBERG_JAR=iceberg-spark-runtime.jar python3 test/readers/read-with-spark.py files|iceberg TABLE FROM TO
"""

import json
import os
import sys

from pyspark.sql import SparkSession

kind, table, start, end = sys.argv[1:]
builder = SparkSession.builder.master("local[1]").config("spark.ui.enabled", "false")
for name, value in {
    "spark.sql.session.timeZone": "UTC",
    "spark.driver.bindAddress": "127.0.0.1",
    "spark.driver.host": "127.0.0.1",
    "spark.jars": os.environ.get("TEST_ICEBERG_JAR", ""),
}.items():
    builder = builder.config(name, value)
spark = builder.getOrCreate()
spark.sparkContext.setLogLevel("OFF")
if kind == "iceberg":
    rows = spark.read.format("iceberg").load(table)
else:
    rows = spark.read.option("mergeSchema", "true").parquet(f"{table}/data")
rows.createOrReplaceTempView("events")
(found,) = spark.sql(
    f"""select count(*) as rows, count(distinct message_id) as messageIds, count_if(plan = 'pro') as pro,
    sum(amount) as amountSum, count_if(received_at is null) as withoutTime,
    count_if(received_at >= timestamp '{start}' and received_at < timestamp '{end}') as inHours from events"""
).collect()
print(json.dumps(found.asDict()))
