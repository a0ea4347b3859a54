"""Compacts a table with Spark, as another engine's maintenance does: rewrites its files, expires the snapshots before."""

import json
import pathlib
import sys

from spark import session


def main():
    task = json.loads(pathlib.Path(sys.argv[1]).read_text())
    spark = session(task["setup"], task["jars"])
    table = f"interop.{task['table']}"
    options = "options => map('rewrite-all', 'true')"
    rewritten = spark.sql(f"CALL lake.system.rewrite_data_files(table => '{table}', {options})").first()
    older = "older_than => TIMESTAMP '2100-01-01 00:00:00', retain_last => 1"
    spark.sql(f"CALL lake.system.expire_snapshots(table => '{table}', {older})")
    assert rewritten["rewritten_data_files_count"] > 0, rewritten
    spark.stop()


if __name__ == "__main__":
    sys.exit(main())
