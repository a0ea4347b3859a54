"""Arrow tables of an engine in the canonical form of `tests/python/engines.py`: times in microseconds, maps as pairs."""

from engines import canonical_rows


def rows_of(table, schema=None):
    """The rows of an Arrow table; with a schema, maps that the engine shows as lists of structs become pairs."""
    import pyarrow as pa

    rows = canonical_rows(pa.table({field.name: micros(table.column(field.name)) for field in table.schema}))
    if schema is None:
        return rows
    kinds = {field["name"]: field["type"] for field in schema["fields"]}
    return [{name: paired(value, kinds[name]) for name, value in row.items()} for row in rows]


def micros(column):
    """A column with its times and timestamps in microseconds; it fails if that loses something."""
    target = in_micros(column.type)
    return column if target == column.type else column.cast(target)


def in_micros(kind):
    import pyarrow as pa

    if pa.types.is_timestamp(kind):
        return pa.timestamp("us", kind.tz)
    if pa.types.is_time(kind):
        return pa.time64("us")
    if pa.types.is_struct(kind):
        return pa.struct([field.with_type(in_micros(field.type)) for field in kind])
    if pa.types.is_map(kind):
        return pa.map_(in_micros(kind.key_type), in_micros(kind.item_type))
    if pa.types.is_list(kind):
        return pa.list_(kind.value_field.with_type(in_micros(kind.value_type)))
    if pa.types.is_large_list(kind):
        return pa.large_list(kind.value_field.with_type(in_micros(kind.value_type)))
    return kind


def paired(value, kind):
    if value is None or isinstance(kind, str):
        return value
    if kind["type"] == "struct":
        kinds = {field["name"]: field["type"] for field in kind["fields"]}
        return {name: paired(item, kinds[name]) for name, item in value.items()} if isinstance(value, dict) else value
    if kind["type"] == "list":
        return [paired(item, kind["element"]) for item in value]
    pairs = [tuple(entry.values()) if isinstance(entry, dict) else entry for entry in value]
    return [(paired(key, kind["key"]), paired(item, kind["value"])) for key, item in pairs]
