"""The query engines of the tests: a PyIceberg catalog, a DuckDB connection, and Arrow values in one canonical form."""

import datetime
import decimal
import uuid

EPOCH = datetime.datetime(1970, 1, 1, tzinfo=datetime.timezone.utc)


def load_catalog(uri, properties):
    """PyIceberg's REST catalog."""
    from pyiceberg.catalog import load_catalog as load

    return load("frazil", type="rest", uri=uri, **properties)


def connect_duckdb(properties):
    """DuckDB with its Iceberg reader, without a network."""
    import duckdb
    from duckdb_extensions import import_extension

    for name in ("avro", "httpfs", "iceberg"):
        import_extension(name)
    connection = duckdb.connect(config={"autoinstall_known_extensions": "false"})
    for name in ("avro", "httpfs", "iceberg"):
        connection.execute(f"load {name}")
    endpoint = properties.get("s3.endpoint")
    if endpoint:
        scheme, host = endpoint.split("://", 1)
        connection.execute(
            f"create secret store (type s3, key_id '{properties['s3.access-key-id']}', "
            f"secret '{properties['s3.secret-access-key']}', endpoint '{host}', url_style 'path', "
            f"use_ssl {scheme == 'https'}, region 'us-east-1')"
        )
    return connection


def duckdb_rows(connection, table, files=None):
    """All rows of a PyIceberg table, or of some Parquet files, as DuckDB reads them, as an Arrow table."""
    connection.execute("set timezone = 'UTC'")
    source = f"read_parquet({files})" if files else f"iceberg_scan('{table.metadata_location}')"
    result = connection.execute(f"select * from {source}")
    return result.fetch_arrow_table() if hasattr(result, "fetch_arrow_table") else result.arrow()


def canonical_rows(rows):
    """The rows of an Arrow table as dicts of canonical values.

    Dates, times and timestamps are integers of the column's unit since the epoch or midnight, decimals are Decimal,
    uuid, fixed and binary are bytes, maps are lists of pairs, structs are dicts.
    """
    columns = {field.name: canonical(rows.column(field.name).combine_chunks()) for field in rows.schema}
    return [dict(zip(columns, values)) for values in zip(*columns.values())]


def canonical(array):
    """One Arrow array as a list of canonical values."""
    import pyarrow as pa

    if isinstance(array, pa.ChunkedArray):
        array = pa.concat_arrays(array.chunks) if array.num_chunks else pa.array([], array.type)
    kind = array.type
    if isinstance(array, pa.ExtensionArray):
        return [value and bytes_of(value) for value in canonical(array.storage)]
    valid = array.is_valid().to_pylist()
    if pa.types.is_struct(kind):
        names = [kind.field(index).name for index in range(kind.num_fields)]
        fields = [canonical(array.field(index)) for index in range(kind.num_fields)]
        rows = zip(*fields) if fields else ((),) * len(array)
        return [dict(zip(names, row)) if ok else None for row, ok in zip(rows, valid)]
    if pa.types.is_map(kind):
        offsets = array.offsets.to_pylist()
        pairs = list(zip(canonical(array.keys), canonical(array.items)))
        return slices(offsets, pairs, valid)
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        return slices(array.offsets.to_pylist(), canonical(array.values), valid)
    if pa.types.is_date32(kind) or pa.types.is_time32(kind):
        return array.cast(pa.int32()).to_pylist()
    if pa.types.is_temporal(kind):
        return array.cast(pa.int64()).to_pylist()
    return array.to_pylist()


def slices(offsets, values, valid):
    return [values[low:high] if ok else None for low, high, ok in zip(offsets, offsets[1:], valid)]


def bytes_of(value):
    """A uuid in whatever form an engine shows it, as 16 bytes."""
    if isinstance(value, str):
        return uuid.UUID(value).bytes
    return value.bytes if isinstance(value, uuid.UUID) else value


def differs(expected, found):
    """Where two canonical values differ, as text; None if they are the same. NaN equals NaN, -0.0 is not 0.0."""
    if isinstance(expected, dict) and isinstance(found, dict):
        if list(expected) != list(found):
            return f": fields {list(found)}, expected {list(expected)}"
        return first((f".{key}", differs(expected[key], found[key])) for key in expected)
    if isinstance(expected, (list, tuple)) and isinstance(found, (list, tuple)):
        if len(expected) != len(found):
            return f": {found!r}, expected {expected!r}"
        return first((f"[{index}]", differs(*pair)) for index, pair in enumerate(zip(expected, found)))
    if isinstance(expected, float) and isinstance(found, float):
        same = expected.hex() == found.hex() or (expected != expected and found != found)
    elif isinstance(expected, bytes) and isinstance(found, (str, uuid.UUID)):
        same = len(expected) == 16 and bytes_of(found) == expected
    elif isinstance(expected, decimal.Decimal):
        same = isinstance(found, decimal.Decimal) and expected == found
    else:
        same = type(expected) is type(found) and expected == found
    return None if same else f": {found!r}, expected {expected!r}"


def first(differences):
    return next((path + difference for path, difference in differences if difference), None)
