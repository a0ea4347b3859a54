#!/usr/bin/env python3
"""What a maintenance job does to a table while Frazil writes it: expires all snapshots but the newest, with PyIceberg.

Prints a JSON array of the times of the snapshots that it expired, in milliseconds since the Unix epoch.
"""

import argparse
import json

from engines import load_catalog


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--uri", required=True, help="Iceberg REST catalog")
    parser.add_argument("--table", required=True, help="namespace.table")
    parser.add_argument("--property", action="append", default=[], help="catalog property, key=value")
    arguments = parser.parse_args()
    catalog = load_catalog(arguments.uri, dict(item.split("=", 1) for item in arguments.property))
    table = catalog.load_table(arguments.table)
    current = table.current_snapshot()
    expired = [snapshot for snapshot in table.metadata.snapshots if snapshot.snapshot_id != current.snapshot_id]
    if expired:
        table.maintenance.expire_snapshots().by_ids([snapshot.snapshot_id for snapshot in expired]).commit()
    print(json.dumps([snapshot.timestamp_ms for snapshot in expired]))


if __name__ == "__main__":
    main()
