"""What engines are known not to do, each with whose limit it is. A run fails if it finds anything else."""

import re

EMPTY = "differs: null lists, maps or structs are read as empty ones in [^;]*"
# Engine, subject, outcome, each a regular expression for the whole of it; then the explanation for the page.
KNOWN = [
    (
        "spark.*",
        "type_time",
        ".*Spark does not support time fields.*",
        "Spark has no type for a time of day and refuses the schema of a table with one, so that its other columns "
        "cannot be read either",
    ),
    (
        "pyiceberg",
        "type_.*",
        EMPTY,
        "PyIceberg reads a null list of structs as an empty list. The files have the null: the other engines show it",
    ),
    (
        "clickhouse",
        "type_.*",
        EMPTY,
        "ClickHouse has no null lists, maps and structs: it reads them as empty ones, or as structs of nulls",
    ),
    (
        "clickhouse",
        "type_time",
        r"differs: `p0`: \d+ of \d+ values, such as \d+, expected \d+; differs: `n0`: .*",
        "ClickHouse reads a time of day as a whole number of seconds (`Int64`); the fraction is lost",
    ),
    (
        "daft",
        "type_uuid",
        ".*ArrowNotImplementedError: extension.*",
        "Daft does not read tables with a uuid column: it fails when it reads the statistics of their files",
    ),
    (
        "datafusion",
        "evolved",
        "error: `place`: .*Incorrect number of arrays for StructArray fields.*",
        "Iceberg's Rust library 0.10 does not read a struct that has got a field from files written before",
    ),
    (
        "trino",
        "write: DROP TABLE",
        "refused: .*Failed to drop table.*",
        "Trino asks the catalog to delete the table's files, which `frazil catalog` refuses. "
        "`CALL lake.system.unregister_table('web', 'clicks')` drops a table and leaves its files",
    ),
]


def explanation(cell):
    """Why a cell is not `ok`, if that is known."""
    found = (cell["engine"], cell["subject"], cell["outcome"])
    for *patterns, text in KNOWN:
        if all(re.fullmatch(pattern, value, re.DOTALL) for pattern, value in zip(patterns, found)):
            return text
    return None
