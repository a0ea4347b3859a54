"""Trino asks a table that is being written, time and again; without an end to do it until, it only counts the rows.

Its results are one JSON object a line.
"""

import datetime
import json
import pathlib
import sys
import time

from trino_driver import Server


def ask(server, table):
    """Rows and newest event, how old the newest was when the question was asked, and how long the answer took."""
    asked, began = datetime.datetime.now(datetime.UTC), time.monotonic()
    rows, newest = server.execute(f"SELECT count(*), max(sent) FROM {table}")[0]
    return {"rows": rows, "stale_s": (asked - newest).total_seconds(), "took_s": time.monotonic() - began}


def count(server, table):
    names = ("rows", "ids", "low", "high")
    return dict(zip(names, server.execute(f"SELECT count(*), count(DISTINCT id), min(id), max(id) FROM {table}")[0]))


def main():
    task = json.loads(pathlib.Path(sys.argv[1]).read_text())
    server = Server(task["setup"])
    due = time.time() + task["every"]
    try:
        with open(sys.argv[2], "a") as results:
            while due < task["until"]:
                time.sleep(max(0, due - time.time()))
                print(json.dumps(ask(server, task["table"])), file=results, flush=True)
                due += task["every"]
            if not task["until"]:
                print(json.dumps(count(server, task["table"])), file=results)
    finally:
        server.stop()


if __name__ == "__main__":
    sys.exit(main())
