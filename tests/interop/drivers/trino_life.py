"""What a Trino user does to a table while Frazil writes it, and to tables of their own in the same catalog."""

import sys

from steps import Steps, again, save, task
from trino_driver import Server

FOREIGN = 20_000_000


class Life:
    def __init__(self, server, table):
        self.server, self.table = server, f"lake.{table}"
        self.steps = Steps(lambda: self.one(f"SELECT count(*) FROM {self.table} WHERE id < 10000000"))

    def sql(self, *statements):
        for statement in statements:
            again(lambda: self.server.execute(statement))

    def one(self, query):
        return self.server.execute(query)[0][0]

    def change(self):
        step = self.steps.step
        rows = f"SELECT {FOREIGN} + n, 'trino' FROM UNNEST(sequence(1, 500)) AS s(n)"
        step("INSERT", lambda: self.sql(f"INSERT INTO {self.table} (id, kind) {rows}"))
        step("UPDATE", lambda: self.sql(f"UPDATE {self.table} SET kind = 'trino' WHERE id < 500 AND id % 10 = 1"))
        step("optimize", lambda: self.sql(f"ALTER TABLE {self.table} EXECUTE optimize"))
        step("optimize_manifests", lambda: self.sql(f"ALTER TABLE {self.table} EXECUTE optimize_manifests"))

        def expire():
            self.server.execute_in_session(
                "SET SESSION lake.expire_snapshots_min_retention = '0s'",
                f"ALTER TABLE {self.table} EXECUTE expire_snapshots(retention_threshold => '0s')",
            )

        step("expire_snapshots", lambda: again(expire))
        step("ADD COLUMN", lambda: self.sql(f"ALTER TABLE {self.table} ADD COLUMN extra varchar"), self.extra)

    def extra(self):
        return self.one(f"SELECT count(*) FROM {self.table} WHERE extra IS NOT NULL") > 0

    def own_tables(self):
        def own():
            table = "lake.trino_own.t"
            self.sql("CREATE SCHEMA lake.trino_own WITH (location = 's3://lake/warehouse/trino_own')")
            self.sql(f"CREATE TABLE {table} (a integer, b varchar) WITH (partitioning = ARRAY['bucket(a, 2)'])")
            self.sql(f"INSERT INTO {table} VALUES (1, 'x'), (2, 'y')", f"ALTER TABLE {table} ADD COLUMN c double")
            self.sql(f"ALTER TABLE {table} ALTER COLUMN a SET DATA TYPE bigint", f"CREATE TABLE {table}2 AS SELECT * FROM {table}")
            assert self.one(f"SELECT sum(a) FROM {table}2") == 3
            self.sql(f"ALTER TABLE {table}2 RENAME TO lake.trino_own.u")
            assert self.one("SELECT count(*) FROM lake.trino_own.u") == 2
            self.steps.refused("DROP TABLE", lambda: self.server.execute(f"DROP TABLE {table}"))
            self.sql(*(f"CALL lake.system.unregister_table('trino_own', '{name}')" for name in ("t", "u")))
            self.sql("DROP SCHEMA lake.trino_own")

        self.steps.step("tables of its own: create, insert, evolve, rename, unregister", own)
        self.steps.refused("CREATE VIEW", lambda: self.server.execute("CREATE VIEW lake.interop.v AS SELECT 1 AS a"))


def main():
    wanted = task()
    server = Server(wanted["setup"])
    try:
        life = Life(server, wanted["table"])
        life.change()
        life.own_tables()
        save(life.steps.outcomes)
    finally:
        server.stop()


if __name__ == "__main__":
    sys.exit(main())
