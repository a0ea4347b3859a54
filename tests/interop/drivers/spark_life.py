"""What a Spark user does to a table while Frazil writes it, and to tables of their own in the same catalog."""

import sys

from spark import session
from steps import Steps, again, save, task

FOREIGN = 10_000_000


class Life:
    def __init__(self, spark, table):
        self.spark, self.table = spark, f"lake.{table}"
        self.steps = Steps(lambda: self.one(f"SELECT count(*) FROM {self.table} WHERE id < {FOREIGN}"))

    def sql(self, *statements):
        """Runs statements, each on the newest state of the table: Iceberg's cache is 30 seconds old at most."""
        for statement in statements:
            again(lambda: self.spark.sql(f"REFRESH TABLE {self.table}") and self.spark.sql(statement).collect())

    def one(self, query):
        self.spark.sql(f"REFRESH TABLE {self.table}")
        return self.spark.sql(query).first()[0]

    def insert(self, rows, branch=""):
        """Inserts rows of `id` and `kind`; Spark wants every other column named, too."""
        others = [f"`{name}`" for name in self.spark.table(self.table).columns if name not in ("id", "kind")]
        names, nulls = ", ".join(["id", "kind", *others]), ", NULL" * len(others)
        self.sql(f"INSERT INTO {self.table}{branch} ({names}) SELECT id, kind{nulls} FROM ({rows})")

    def change_rows(self):
        step = self.steps.step
        step("INSERT", lambda: self.insert(f"SELECT id + {FOREIGN} AS id, 'spark' AS kind FROM range(500)"))
        for mode, first in (("copy-on-write", 1000), ("merge-on-read", 2000)):
            step(f"MERGE, {mode}", lambda: self.merge(mode, FOREIGN + first))
        step("DELETE, merge-on-read", lambda: self.sql(f"DELETE FROM {self.table} WHERE id = {FOREIGN + 1000}"))

    def merge(self, mode, first):
        """Changes every tenth row of Frazil's and adds fifty."""
        properties = "'write.merge.mode'='%s', 'write.delete.mode'='%s', 'write.merge.isolation-level'='snapshot'" % (mode, mode)
        self.sql(f"ALTER TABLE {self.table} SET TBLPROPERTIES ({properties}, 'write.delete.isolation-level'='snapshot')")
        ids = f"SELECT id FROM {self.table} WHERE id < 500 AND id % 10 = 0 UNION ALL SELECT id + {first} FROM range(50)"
        matched = "WHEN MATCHED THEN UPDATE SET kind = 'merged' WHEN NOT MATCHED THEN INSERT (id, kind) VALUES (s.id, 'spark')"
        self.sql(f"MERGE INTO {self.table} t USING ({ids}) s ON t.id = s.id {matched}")

    def maintain(self):
        table = self.table.removeprefix("lake.")
        calls = {
            "rewrite_data_files": ", options => map('rewrite-all', 'true')",
            "rewrite_manifests": "",
            "expire_snapshots": ", older_than => TIMESTAMP '2100-01-01 00:00:00', retain_last => 1",
        }
        for name, more in calls.items():
            self.steps.step(name, lambda: self.sql(f"CALL lake.system.{name}(table => '{table}'{more})"))

    def evolve(self):
        step, one = self.steps.step, self.one
        added = f"SELECT count(*) FROM {self.table} WHERE extra IS NOT NULL"
        step("ADD COLUMN", lambda: self.sql(f"ALTER TABLE {self.table} ADD COLUMN extra string"), lambda: one(added) > 0)
        kept = f"SELECT count(*) FROM {self.table} WHERE `__extra__` LIKE '%%\"{{}}\"%%' AND id < {FOREIGN}"
        before = one(kept.format("note"))
        rename, drop = "RENAME COLUMN note TO remark", "DROP COLUMN extra"
        step("RENAME COLUMN", lambda: self.sql(f"ALTER TABLE {self.table} {rename}"), lambda: one(kept.format("note")) > before)
        base = one(kept.format("extra"))
        step("DROP COLUMN", lambda: self.sql(f"ALTER TABLE {self.table} {drop}"), lambda: one(kept.format("extra")) > base)
        spec = f"SELECT count(*) FROM {self.table}.files WHERE spec_id > 0"
        replace = "REPLACE PARTITION FIELD kind WITH bucket(4, id)"
        step("REPLACE PARTITION FIELD", lambda: self.sql(f"ALTER TABLE {self.table} {replace}"), lambda: one(spec) > 0)

    def branch(self):
        def make():
            self.sql(f"ALTER TABLE {self.table} CREATE TAG noon", f"ALTER TABLE {self.table} CREATE BRANCH audit")
            self.insert(f"SELECT {2 * FOREIGN} AS id, 'audit' AS kind", ".branch_audit")
            assert self.one(f"SELECT count(*) FROM {self.table} WHERE id = {2 * FOREIGN}") == 0, "the branch's row is in main"
            assert self.one(f"SELECT count(*) FROM {self.table}.branch_audit WHERE id = {2 * FOREIGN}") == 1

        self.steps.step("CREATE BRANCH, CREATE TAG", make)

    def own_tables(self):
        """The catalog as Spark's own: create, insert, evolve, drop; no views."""
        def own():
            table = "lake.spark_own.t"
            self.sql("CREATE NAMESPACE lake.spark_own")
            self.sql(f"CREATE TABLE {table} (a int, b string) USING iceberg PARTITIONED BY (bucket(2, a))")
            self.sql(f"INSERT INTO {table} VALUES (1, 'x'), (2, 'y')", f"ALTER TABLE {table} ADD COLUMN c double")
            self.sql(f"ALTER TABLE {table} ALTER COLUMN a TYPE bigint", f"CREATE TABLE {table}2 AS SELECT * FROM {table}")
            assert self.one(f"SELECT sum(a) FROM {table}2") == 3
            self.sql(f"ALTER TABLE {table}2 RENAME TO spark_own.u", "DROP TABLE lake.spark_own.u PURGE")
            self.sql(f"DROP TABLE {table}", "DROP NAMESPACE lake.spark_own")

        self.steps.step("tables of its own: create, insert, evolve, rename, drop", own)
        self.steps.refused("CREATE VIEW", lambda: self.spark.sql("CREATE VIEW lake.interop.v AS SELECT 1 AS a").collect())


def main():
    wanted = task()
    life = Life(session(wanted["setup"], wanted["jars"]), wanted["table"])
    for part in (life.change_rows, life.maintain, life.evolve, life.branch, life.own_tables):
        part()
    life.spark.stop()
    save(life.steps.outcomes)


if __name__ == "__main__":
    sys.exit(main())
