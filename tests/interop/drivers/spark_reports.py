"""Scans and commits of Spark's, each of which it reports to the catalog and, since it is told to, logs."""

import json
import pathlib
import sys

from spark import session


def main():
    task = json.loads(pathlib.Path(sys.argv[1]).read_text())
    spark = session(task["setup"], task["jars"])
    log4j = spark._jvm.org.apache.logging.log4j
    log4j.core.config.Configurator.setLevel("org.apache.iceberg.metrics.LoggingMetricsReporter", log4j.Level.INFO)
    table = f"lake.{task['table']}"
    rows = "SELECT id AS row, 'spark' AS kind, TIMESTAMP '2026-03-01 00:00:00' AS at, 1.25BD AS amount FROM range(100)"
    properties = "'write.delete.mode'='merge-on-read', 'write.update.mode'='copy-on-write'"
    for statement in (
        f"SELECT * FROM {table}",
        f"SELECT row, at FROM {table} WHERE kind = 'kind-1'",
        f"SELECT sum(amount) FROM {table} WHERE row >= 50 AND kind IS NOT NULL",
        f"INSERT INTO {table} {rows}",
        f"ALTER TABLE {table} SET TBLPROPERTIES ({properties})",
        f"DELETE FROM {table} WHERE row = 7",
        f"UPDATE {table} SET amount = 2 WHERE row = 9",
        f"CALL lake.system.rewrite_data_files(table => '{task['table']}', options => map('rewrite-all', 'true'))",
        f"DELETE FROM {table} WHERE kind = 'spark'",
        f"SELECT row FROM {table}",
    ):
        spark.sql(statement).collect()
    spark.stop()


if __name__ == "__main__":
    sys.exit(main())
