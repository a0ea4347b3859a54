"""DuckDB with its Iceberg extension, attached to the catalog."""

import re

from arrow_rows import rows_of
from driver import Driver, run


class DuckDb(Driver):
    def connect(self, setup):
        import duckdb
        from duckdb_extensions import import_extension

        for name in ("avro", "httpfs", "iceberg"):
            import_extension(name)
        self.connection = duckdb.connect(config={"autoinstall_known_extensions": "false"})
        # The extensions come from packages here, not from DuckDB's own server.
        for statement in re.sub(r"^INSTALL .*$", "", setup, flags=re.MULTILINE).split(";"):
            if statement.strip():
                self.connection.execute(statement)
        self.connection.execute("SET timezone = 'UTC'")

    def version(self):
        import duckdb

        return duckdb.__version__

    def read(self, table, columns):
        names = ", ".join(f'"{column}"' for column in columns)
        result = self.connection.execute(f"SELECT {names} FROM lake.interop.{table}")
        return rows_of(result.fetch_arrow_table() if hasattr(result, "fetch_arrow_table") else result.arrow())

    def totals(self, table):
        return self.connection.execute(f"SELECT count(*), sum(row), sum(amount) FROM lake.interop.{table}").fetchone()

    def pruned(self, table, low, high):
        where = f"\"at\" >= TIMESTAMPTZ '{low}+00' AND \"at\" < TIMESTAMPTZ '{high}+00'"
        rows = len(self.connection.execute(f"SELECT row, kind FROM lake.interop.{table} WHERE {where}").fetchall())
        plans = []
        for condition in (where, "true"):
            query = f"EXPLAIN ANALYZE SELECT row, kind FROM lake.interop.{table} WHERE {condition}"
            plans.append(self.connection.execute(query).fetchall()[0][1])
        files = [int(found[1]) if (found := re.search(r"Total Files Read: (\d+)", plan)) else None for plan in plans]
        return {"rows": rows, "files": files[0], "of": files[1]}


if __name__ == "__main__":
    run(DuckDb)
