"""Spark keeps a table in order while Frazil writes it: compacts its files and expires its snapshots, time and again.

Without an end to do it until, it only counts the rows. Its results are one JSON object a line.
"""

import datetime
import json
import pathlib
import sys
import time

from spark import session
from steps import again

COMPACTED = ("rewritten_data_files_count", "added_data_files_count", "rewritten_bytes_count")


class Maintenance:
    def __init__(self, spark, table):
        self.spark, self.table = spark, table

    def one(self, query):
        self.spark.sql(f"REFRESH TABLE lake.{self.table}")
        return self.spark.sql(query).first().asDict()

    def once(self):
        """One round: what it did, and how long that took."""
        began = time.monotonic()
        options = "options => map('min-input-files', '5')"
        compacted = again(lambda: self.one(f"CALL lake.system.rewrite_data_files(table => '{self.table}', {options})"))
        between = time.monotonic()
        older = datetime.datetime.now(datetime.UTC) - datetime.timedelta(minutes=1)
        limit = f"older_than => TIMESTAMP '{older:%Y-%m-%d %H:%M:%S}', retain_last => 1"
        expired = again(lambda: self.one(f"CALL lake.system.expire_snapshots(table => '{self.table}', {limit})"))
        ended = time.monotonic()
        found = {key: compacted[key] for key in COMPACTED} | {"deleted_files": sum(expired.values())}
        count = self.one(f"SELECT count(*) AS files FROM lake.{self.table}.files")
        return found | count | {"compaction_s": between - began, "expiry_s": ended - between}

    def count(self):
        return self.one(f"SELECT count(*) AS rows, count(DISTINCT id) AS ids, min(id) AS low, max(id) AS high FROM lake.{self.table}")


def main():
    task = json.loads(pathlib.Path(sys.argv[1]).read_text())
    spark = session(task["setup"], task["jars"])
    maintenance = Maintenance(spark, task["table"])
    due = task["from"] + task["every"]
    with open(sys.argv[2], "a") as results:
        while due < task["until"]:
            time.sleep(max(0, due - time.time()))
            done = {"at_s": time.time() - task["from"]} | maintenance.once()
            print(json.dumps(done), file=results, flush=True)
            due += task["every"]
        if not task["until"]:
            print(json.dumps(maintenance.count()), file=results)
    spark.stop()


if __name__ == "__main__":
    sys.exit(main())
