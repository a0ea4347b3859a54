"""Spark SQL with Iceberg's runtime and S3FileIO, in one JVM with a heap of 1 GB."""

from driver import Driver, run


def session(properties, jars):
    """A local Spark with the configuration of docs/engines/spark.md and the jars of one Spark version."""
    from pyspark.sql import SparkSession

    builder = SparkSession.builder.master("local[2]").appName("interop")
    own = {"spark.ui.enabled": "false", "spark.driver.memory": "1g", "spark.sql.shuffle.partitions": "2"}
    own |= {"spark.jars": ",".join(jars), "spark.driver.host": "127.0.0.1", "spark.driver.bindAddress": "127.0.0.1"}
    pairs = dict(line.split("=", 1) for line in properties.splitlines() if "=" in line and not line.startswith("#"))
    for key, value in (own | {key.strip(): value.strip() for key, value in pairs.items()}).items():
        builder = builder.config(key, value)
    spark = builder.getOrCreate()
    spark.sparkContext.setLogLevel("ERROR")
    return spark


def arrow(frame):
    """A data frame as an Arrow table; Spark 3.5 has no public way that keeps years out of pandas' range."""
    import pyarrow as pa

    if hasattr(frame, "toArrow"):
        return frame.toArrow()
    batches = frame._collect_as_arrow()
    return pa.Table.from_batches(batches) if batches else pa.table({name: [] for name in frame.columns})


class Spark(Driver):
    def connect(self, setup):
        self.spark = session(setup, self.task["jars"])

    def version(self):
        return self.spark.version

    def read(self, table, columns):
        from arrow_rows import rows_of

        names = ", ".join(f"`{column}`" for column in columns)
        return rows_of(arrow(self.spark.sql(f"SELECT {names} FROM lake.interop.{table}")))

    def totals(self, table):
        return tuple(self.spark.sql(f"SELECT count(*), sum(row), sum(amount) FROM lake.interop.{table}").first())

    def pruned(self, table, low, high):
        self.spark.conf.set("spark.sql.adaptive.enabled", "false")
        where = f"at >= TIMESTAMP '{low}' AND at < TIMESTAMP '{high}'"
        frame = self.spark.sql(f"SELECT row, kind FROM lake.interop.{table} WHERE {where}")
        plan = frame._jdf.queryExecution().executedPlan()
        rows = plan.executeCollect()
        leaf = plan.collectLeaves().apply(0)
        metric = {name: leaf.metrics().apply(name).value() for name in ("resultDataFiles", "skippedDataFiles")}
        read = metric["resultDataFiles"]
        total = self.spark.sql(f"SELECT count(*) FROM lake.interop.{table}.files").first()[0]
        return {"rows": len(rows), "files": read, "of": total}

    def close(self):
        self.spark.stop()


if __name__ == "__main__":
    run(Spark)
