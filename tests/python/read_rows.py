#!/usr/bin/env python3
"""Prints an Iceberg table as PyIceberg reads it: its rows, the types of its columns and its partition fields, as JSON.

{"rows": [{"id": 1, …}, …], "types": {"id": "long", …}, "partition": ["day(__ts__)"]}

A table that does not exist prints {"rows": null}.
"""

import argparse
import json

from engines import load_catalog


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--uri", required=True, help="Iceberg REST catalog")
    parser.add_argument("--table", required=True, help="namespace.table")
    parser.add_argument("--property", action="append", default=[], help="catalog property, key=value")
    return parser.parse_args()


def read(arguments):
    from pyiceberg.exceptions import NoSuchNamespaceError, NoSuchTableError

    catalog = load_catalog(arguments.uri, dict(item.split("=", 1) for item in arguments.property))
    try:
        table = catalog.load_table(arguments.table)
    except (NoSuchTableError, NoSuchNamespaceError):
        return {"rows": None}
    schema = table.schema()
    names = {field.field_id: field.name for field in schema.fields}
    return {
        "rows": table.scan().to_arrow().to_pylist(),
        "types": {field.name: str(field.field_type) for field in schema.fields},
        "partition": [f"{field.transform}({names[field.source_id]})" for field in table.spec().fields],
    }


if __name__ == "__main__":
    print(json.dumps(read(parse_arguments()), default=str))
