"""PyIceberg's own REST client against a running Frazil catalog.

Usage: catalog_pyiceberg.py --uri http://127.0.0.1:8181 --warehouse file:///dir [--property s3.access-key-id=... ...]
Prints one line per check that passed; exits 1 at the first that fails. Works in namespaces of its own and leaves them
in place, so it needs a catalog that nobody else uses.
"""

import argparse
import sys
import uuid

import pyarrow as pa
import pyarrow.compute as pc
from pyiceberg.catalog import load_catalog
from pyiceberg.exceptions import (
    BadRequestError,
    CommitFailedException,
    NamespaceAlreadyExistsError,
    NamespaceNotEmptyError,
    NoSuchNamespaceError,
    NoSuchTableError,
    TableAlreadyExistsError,
)
from pyiceberg.partitioning import PartitionField, PartitionSpec
from pyiceberg.schema import Schema
from pyiceberg.table import CommitTableRequest
from pyiceberg.table.sorting import NullOrder, SortDirection, SortField, SortOrder
from pyiceberg.table.update import SetPropertiesUpdate
from pyiceberg.transforms import BucketTransform, DayTransform, IdentityTransform
from pyiceberg.types import (
    DoubleType,
    FloatType,
    IntegerType,
    ListType,
    LongType,
    NestedField,
    StringType,
    StructType,
    TimestamptzType,
)

SCHEMA = Schema(
    NestedField(1, "id", IntegerType(), required=False),
    NestedField(2, "ts", TimestamptzType(), required=False),
    NestedField(3, "region", StringType(), required=False),
    NestedField(4, "score", FloatType(), required=False),
    NestedField(5, "tags", ListType(6, StringType(), element_required=False), required=False),
    NestedField(7, "place", StructType(NestedField(8, "city", StringType(), required=False)), required=False),
)
SPEC = PartitionSpec(
    PartitionField(source_id=2, field_id=1000, transform=DayTransform(), name="ts_day"),
    PartitionField(source_id=1, field_id=1001, transform=BucketTransform(4), name="id_bucket"),
)
ORDER = SortOrder(
    SortField(3, IdentityTransform(), SortDirection.ASC, NullOrder.NULLS_FIRST),
    SortField(1, IdentityTransform(), SortDirection.DESC, NullOrder.NULLS_LAST),
)
DAY_US = 86_400_000_000


def passed(name):
    print(f"ok {name}", flush=True)


def raises(error, call, *args, **kwargs):
    try:
        call(*args, **kwargs)
    except error as caught:
        return caught
    raise AssertionError(f"{getattr(call, '__name__', call)} did not raise {error}")


def rows(table, first, count):
    ids = list(range(first, first + count))
    data = {
        "id": ids,
        "ts": [1_760_000_000_000_000 + (i % 3) * DAY_US for i in ids],
        "region": ["eu" if i % 2 else "us" for i in ids],
        "score": [float(i) for i in ids],
        "tags": [["a", str(i)] for i in ids],
        "place": [{"city": f"c{i}"} for i in ids],
    }
    schema = table.schema().as_arrow()
    names = [name for name in schema.names if name in data]
    present = pa.schema([schema.field(name) for name in names])
    return pa.table({name: pa.array(data[name], type=schema.field(name).type) for name in names}, schema=present)


def ids(table):
    return sorted(table.scan().to_arrow()["id"].to_pylist())


def namespaces(catalog, root):
    catalog.create_namespace((root,), {"owner": "test", "old": "1"})
    raises(NamespaceAlreadyExistsError, catalog.create_namespace, (root,))
    catalog.create_namespace((root, "inner", "deep"))
    catalog.create_namespace((root, "odd name/with.dots?&=%é"))
    assert (root,) in catalog.list_namespaces()
    assert catalog.list_namespaces((root,)) == [(root, "inner"), (root, "odd name/with.dots?&=%é")]
    assert catalog.list_namespaces((root, "inner")) == [(root, "inner", "deep")]
    assert catalog.namespace_exists((root, "inner", "deep"))
    assert not catalog.namespace_exists((root, "none"))
    assert catalog.namespace_exists((root, "odd name/with.dots?&=%é"))
    raises(NoSuchNamespaceError, catalog.load_namespace_properties, (root, "none"))
    raises(NoSuchNamespaceError, catalog.list_namespaces, (root, "none"))
    passed("nested namespaces: create, list, exists")

    summary = catalog.update_namespace_properties((root,), {"old", "absent"}, {"owner": "other", "new": "2"})
    assert sorted(summary.updated) == ["new", "owner"], summary
    assert (summary.removed, summary.missing) == (["old"], ["absent"]), summary
    assert catalog.load_namespace_properties((root,)) == {"owner": "other", "new": "2"}
    passed("namespace properties")

    raises(NamespaceNotEmptyError, catalog.drop_namespace, (root,))
    catalog.drop_namespace((root, "inner", "deep"))
    assert catalog.list_namespaces((root, "inner")) == []
    raises(NoSuchNamespaceError, catalog.drop_namespace, (root, "inner", "deep"))
    passed("namespace drop, refused when not empty")


def create(catalog, root, warehouse):
    name = (root, "inner", "events")
    table = catalog.create_table(name, SCHEMA, partition_spec=SPEC, sort_order=ORDER, properties={"format-version": "2", "k": "v"})
    assert table.location() == f"{warehouse.rstrip('/')}/{root}/inner/events", table.location()
    assert table.format_version == 2
    assert [f.name for f in table.spec().fields] == ["ts_day", "id_bucket"]
    assert len(table.sort_order().fields) == 2
    assert table.properties["k"] == "v" and "format-version" not in table.properties
    raises(TableAlreadyExistsError, catalog.create_table, name, SCHEMA)
    raises(NoSuchNamespaceError, catalog.create_table, (root, "none", "t"), SCHEMA)
    assert catalog.table_exists(name) and not catalog.table_exists((root, "inner", "none"))
    raises(NoSuchTableError, catalog.load_table, (root, "inner", "none"))
    assert catalog.list_tables((root, "inner")) == [name]
    passed("create with partition spec and sort order, exists, list")

    odd = (root, "odd name/with.dots?&=%é", "t/1 ?#%.x")
    made = catalog.create_table(odd, SCHEMA)
    made.append(rows(made, 0, 3))
    assert ids(catalog.load_table(odd)) == [0, 1, 2]
    catalog.drop_table(odd)
    passed("odd names: create, append, read, drop")
    return name


def append_and_read(catalog, name):
    table = catalog.load_table(name)
    table.append(rows(table, 0, 10))
    table.append(rows(table, 10, 10))
    table = catalog.load_table(name)
    assert ids(table) == list(range(20))
    assert len(table.snapshots()) == 2
    assert len(table.scan(row_filter="region == 'eu' and id < 4").to_arrow()) == 2
    passed("append and read")


def evolve(catalog, name):
    table = catalog.load_table(name)
    with table.update_schema() as update:
        update.add_column("added", StringType(), doc="later")
        update.add_column(("place", "zip"), LongType())
    with table.update_schema() as update:
        update.rename_column("region", "area")
        update.update_column("id", field_type=LongType())
        update.update_column("score", field_type=DoubleType())
    with table.update_schema() as update:
        update.delete_column("tags")
    with table.update_spec() as update:
        update.add_identity("added")
    table = catalog.load_table(name)
    assert isinstance(table.schema().find_type("id"), LongType)
    assert isinstance(table.schema().find_type("score"), DoubleType)
    assert table.schema().column_names == ["id", "ts", "area", "score", "place.city", "place.zip", "place", "added"] or set(
        table.schema().column_names
    ) == {"id", "ts", "area", "score", "place", "place.city", "place.zip", "added"}
    assert [f.name for f in table.spec().fields] == ["ts_day", "id_bucket", "added"]
    read = table.scan().to_arrow()
    assert sorted(read["id"].to_pylist()) == list(range(20)) and set(read["area"].to_pylist()) == {"eu", "us"}
    assert pc.sum(read["score"]).as_py() == sum(range(20))
    passed("evolve: add, add nested, rename, widen, drop column, add partition field")

    refused = raises(BadRequestError, force_type, catalog, table, "id", StringType())
    assert "illegal type change" in str(refused), refused
    raises(BadRequestError, force_type, catalog, table, "id", IntegerType())
    assert isinstance(catalog.load_table(name).schema().find_type("id"), LongType)
    passed("illegal type changes refused")


def force_type(catalog, table, column, new_type):
    """Sends a schema that PyIceberg itself would refuse to build."""
    from pyiceberg.table.update import AddSchemaUpdate, SetCurrentSchemaUpdate

    def changed(field):
        return field.model_copy(update={"field_type": new_type}) if field.name == column else field

    schema = Schema(*(changed(field) for field in table.schema().fields))
    catalog.commit_table(table, (), (AddSchemaUpdate(schema=schema), SetCurrentSchemaUpdate(schema_id=-1)))


def properties_and_refs(catalog, name):
    table = catalog.load_table(name)
    with table.transaction() as transaction:
        transaction.set_properties({"a": "1", "b": "2"})
        transaction.remove_properties("k")
    table.manage_snapshots().create_tag(table.current_snapshot().snapshot_id, "first").commit()
    table.manage_snapshots().create_branch(table.current_snapshot().snapshot_id, "side").commit()
    table = catalog.load_table(name)
    assert table.properties["a"] == "1" and "k" not in table.properties
    assert set(table.refs()) == {"main", "first", "side"}
    passed("table properties, tag and branch")


def transaction(catalog, name):
    table = catalog.load_table(name)
    before = len(table.snapshots())
    with table.transaction() as t:
        t.set_properties({"in": "transaction"})
        with t.update_schema() as update:
            update.add_column("extra", StringType())
    fresh = catalog.load_table(name)
    fresh.append(rows_for(fresh, 20, 5))
    fresh = catalog.load_table(name)
    assert fresh.properties["in"] == "transaction" and "extra" in fresh.schema().column_names
    assert len(fresh.snapshots()) == before + 1 and ids(fresh) == list(range(25))
    passed("transaction over one table")


def rows_for(table, first, count):
    """Rows for the evolved schema."""
    data = rows(table, first, count)
    schema = table.schema().as_arrow()
    columns = {}
    for field in schema:
        if field.name in data.column_names:
            columns[field.name] = data[field.name]
        elif field.name == "area":
            columns[field.name] = pa.array(["eu"] * count, type=field.type)
        else:
            columns[field.name] = pa.nulls(count, type=field.type)
    return pa.table(columns, schema=schema)


def conflict(catalog, other, name):
    one, two = catalog.load_table(name), other.load_table(name)
    # What a stale client sends, without PyIceberg's own retries: the answer must be a conflict.
    base = two.metadata
    one.append(rows_for(one, 100, 1))
    from pyiceberg.table.update import AssertRefSnapshotId

    stale = AssertRefSnapshotId(ref="main", snapshot_id=base.current_snapshot_id)
    raises(CommitFailedException, other.commit_table, two, (stale,), (SetPropertiesUpdate(updates={"x": "y"}),))
    assert "x" not in catalog.load_table(name).properties
    assert ids(catalog.load_table(name)) == list(range(25)) + [100]
    passed("concurrent append conflict: the stale commit is refused, nothing lost")

    # A stale handle appends: PyIceberg refreshes and tries again, or reports the conflict. Both are right, losing or
    # doubling rows is not.
    one, two = catalog.load_table(name), other.load_table(name)
    one.append(rows_for(one, 101, 1))
    try:
        two.append(rows_for(two, 102, 1))
    except CommitFailedException:
        two = other.load_table(name)
        two.append(rows_for(two, 102, 1))
    assert ids(catalog.load_table(name)) == list(range(25)) + [100, 101, 102]
    passed("two writers append: every row once")


def overwrite(catalog, name):
    table = catalog.load_table(name)
    table.overwrite(rows_for(table, 200, 3), overwrite_filter="id >= 100")
    table = catalog.load_table(name)
    assert ids(table) == list(range(25)) + [200, 201, 202]
    table.delete("id >= 200")
    assert ids(catalog.load_table(name)) == list(range(25))
    passed("overwrite and delete")


def rename_drop_register(catalog, root, name):
    moved = (root, "moved")
    catalog.create_table((root, "taken"), SCHEMA)
    raises(NoSuchTableError, catalog.rename_table, (root, "none"), moved)
    raises(Exception, catalog.rename_table, name, (root, "taken"))
    catalog.rename_table(name, moved)
    assert not catalog.table_exists(name) and ids(catalog.load_table(moved)) == list(range(25))
    passed("rename")

    # The old name is free again, and its directory is not shared.
    again = catalog.create_table(name, SCHEMA)
    assert again.location() != catalog.load_table(moved).location()
    assert ids(again) == []
    passed("a reused name gets a location of its own")

    location = catalog.load_table(moved).metadata_location
    catalog.drop_table(moved)
    raises(NoSuchTableError, catalog.drop_table, moved)
    raises(NoSuchTableError, catalog.load_table, moved)
    table = catalog.register_table((root, "registered"), location)
    assert ids(table) == list(range(25))
    raises(TableAlreadyExistsError, catalog.register_table, (root, "registered"), location)
    table.append(rows_for(table, 300, 1))
    assert ids(catalog.load_table((root, "registered"))) == list(range(25)) + [300]
    passed("drop, register, append to the registered table")

    raises(Exception, catalog.purge_table, (root, "registered"))
    assert ids(catalog.load_table((root, "registered"))) == list(range(25)) + [300]
    passed("purge refused, nothing deleted")


def create_transaction(catalog, root):
    name = (root, "staged")
    with catalog.create_table_transaction(name, SCHEMA, partition_spec=SPEC, sort_order=ORDER, properties={"p": "1"}) as t:
        assert not catalog.table_exists(name)
        with t.update_schema() as update:
            update.add_column("late", LongType())
        t.set_properties({"q": "2"})
        staged = t.table_metadata
    table = catalog.load_table(name)
    assert table.metadata.table_uuid == staged.table_uuid
    assert table.spec().fields == SPEC.fields and len(table.sort_order().fields) == 2
    assert "late" in table.schema().column_names
    assert table.properties["p"] == "1" and table.properties["q"] == "2"
    table.append(rows_for(table, 0, 4))
    assert ids(catalog.load_table(name)) == [0, 1, 2, 3]
    passed("create transaction (stage-create, assert-create)")

    with_rows = (root, "staged_rows")
    with catalog.create_table_transaction(with_rows, SCHEMA, partition_spec=SPEC) as t:
        with t.update_snapshot().fast_append():
            pass
    assert catalog.table_exists(with_rows)
    passed("create transaction with a snapshot")

    late = catalog.create_table_transaction((root, "raced"), SCHEMA)
    catalog.create_table((root, "raced"), SCHEMA)
    raises(CommitFailedException, late.commit_transaction)
    passed("create transaction loses against a create")


def many_commits(catalog, root):
    table = catalog.create_table((root, "many"), SCHEMA, properties={"write.metadata.previous-versions-max": "3"})
    for i in range(8):
        with table.transaction() as t:
            t.set_properties({"i": str(i)})
    table = catalog.load_table((root, "many"))
    assert len(table.metadata.metadata_log) == 3, table.metadata.metadata_log
    for entry in table.metadata.metadata_log:
        assert table.io.new_input(entry.metadata_file).exists(), entry
    passed("metadata log trimmed, its files kept")


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--uri", required=True)
    parser.add_argument("--warehouse", required=True)
    parser.add_argument("--property", action="append", default=[])
    arguments = parser.parse_args()
    properties = dict(item.split("=", 1) for item in arguments.property)
    settings = {"type": "rest", "uri": arguments.uri, "warehouse": arguments.warehouse, **properties}
    catalog, other = load_catalog("one", **settings), load_catalog("two", **settings)
    root = f"check_{uuid.uuid4().hex[:8]}"

    namespaces(catalog, root)
    name = create(catalog, root, arguments.warehouse)
    append_and_read(catalog, name)
    evolve(catalog, name)
    properties_and_refs(catalog, name)
    transaction(catalog, name)
    conflict(catalog, other, name)
    overwrite(catalog, name)
    rename_drop_register(catalog, root, name)
    create_transaction(catalog, root)
    many_commits(catalog, root)
    print("all checks passed", flush=True)


if __name__ == "__main__":
    sys.exit(main())
