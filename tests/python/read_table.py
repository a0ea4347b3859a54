#!/usr/bin/env python3
"""Reads an Iceberg table with an engine that knows nothing of Frazil and prints a profile as JSON.

{"rows": N, "columns": {"properties.mag": {"count": C, "distinct": D, "sum": S, "min": …, "max": …}, …}}

Columns are dotted paths into structs; numbers have sums. A table that does not exist prints {"rows": null}.
"""

import argparse
import json
import sys

from engines import connect_duckdb, load_catalog


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("engine", choices=["pyiceberg", "duckdb"])
    parser.add_argument("--uri", required=True, help="Iceberg REST catalog")
    parser.add_argument("--table", required=True, help="namespace.table")
    parser.add_argument("--column", action="append", default=[], dest="columns")
    parser.add_argument("--property", action="append", default=[], help="catalog property, key=value")
    return parser.parse_args()


def load_table(arguments):
    from pyiceberg.exceptions import NoSuchNamespaceError, NoSuchTableError

    properties = dict(item.split("=", 1) for item in arguments.property)
    catalog = load_catalog(arguments.uri, properties)
    try:
        return catalog.load_table(arguments.table), properties
    except (NoSuchTableError, NoSuchNamespaceError):
        print(json.dumps({"rows": None}))
        sys.exit(0)


def profile_with_pyiceberg(table, columns):
    import pyarrow as pa
    import pyarrow.compute as pc

    rows = table.scan().to_arrow()
    result = {"rows": rows.num_rows, "columns": {}}
    for path in columns:
        head, *rest = path.split(".")
        values = rows.column(head)
        for name in rest:
            values = pc.struct_field(values, name)
        values = pc.drop_null(values)
        numeric = pa.types.is_integer(values.type) or pa.types.is_floating(values.type)
        bounds = pc.min_max(values).as_py()
        result["columns"][path] = {
            "count": len(values),
            "distinct": pc.count_distinct(values).as_py(),
            "sum": pc.sum(values).as_py() if numeric else None,
            "min": bounds["min"],
            "max": bounds["max"],
        }
    return result


def profile_with_duckdb(table, properties, columns):
    connection = connect_duckdb(properties)
    source = f"iceberg_scan('{table.metadata_location}')"
    result = {"rows": connection.execute(f"select count(*) from {source}").fetchone()[0], "columns": {}}
    for path in columns:
        value = ".".join(f'"{part}"' for part in path.split("."))
        kind = connection.execute(f"select typeof({value}) from {source} limit 1").fetchone()
        numeric = kind is not None and kind[0] in ("INTEGER", "BIGINT", "FLOAT", "DOUBLE")
        total = f"sum({value})" if numeric else "null"
        count, distinct, total, low, high = connection.execute(
            f"select count({value}), count(distinct {value}), {total}, min({value}), max({value}) from {source}"
        ).fetchone()
        result["columns"][path] = {"count": count, "distinct": distinct, "sum": total, "min": low, "max": high}
    return result


def main():
    arguments = parse_arguments()
    table, properties = load_table(arguments)
    if arguments.engine == "pyiceberg":
        result = profile_with_pyiceberg(table, arguments.columns)
    else:
        result = profile_with_duckdb(table, properties, arguments.columns)
    print(json.dumps(result, default=str))


if __name__ == "__main__":
    main()
