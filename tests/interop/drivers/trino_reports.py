"""Scans and commits of Trino's. It reports each to the catalog and logs it; its log is printed."""

import json
import pathlib
import sys

from trino_driver import Server


def main():
    task = json.loads(pathlib.Path(sys.argv[1]).read_text())
    server = Server(task["setup"])
    try:
        table = f"lake.{task['table']}"
        for statement in (
            f"SELECT * FROM {table}",
            f"SELECT row, at FROM {table} WHERE kind = 'kind-1'",
            f"INSERT INTO {table} SELECT * FROM {table} WHERE row < 10",
            f"DELETE FROM {table} WHERE row = 7",
            f"ALTER TABLE {table} EXECUTE optimize",
            f"SELECT row FROM {table}",
        ):
            server.execute(statement)
    finally:
        print(server.stop())


if __name__ == "__main__":
    sys.exit(main())
