"""Trino: one server on this machine with a heap of 1.5 GB, asked through its Python client."""

import pathlib
import re
import shutil
import tempfile

from driver import Driver, run
from objects import canonical_object
from processes import Process, free_port, until
from snippets import INTEROP, java25


class Server:
    """A Trino server with one catalog, `lake`."""

    def __init__(self, properties):
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="frazil-trino-"))
        self.port = free_port()
        etc = self.folder / "etc"
        (etc / "catalog").mkdir(parents=True)
        (etc / "catalog/lake.properties").write_text(properties)
        lines = ["coordinator=true", "node-scheduler.include-coordinator=true", f"http-server.http.port={self.port}"]
        lines += [f"discovery.uri=http://127.0.0.1:{self.port}", "query.max-memory-per-node=512MB"]
        # One node: on a busy machine it must not be taken for a dead one.
        lines += ["failure-detector.enabled=false"]
        (etc / "config.properties").write_text("\n".join(lines))
        node = {"node.environment": "interop", "node.id": "interop", "node.data-dir": self.folder / "data"}
        node |= {"node.internal-address": "127.0.0.1", "node.bind-ip": "127.0.0.1", "config": etc / "config.properties"}
        node |= {"plugin.dir": INTEROP / "trino/plugin", "catalog.config-dir": etc / "catalog"}
        # This runtime has no `jdk.incubator.vector`; Trino then works without SIMD.
        command = [java25(), "-Xmx1500m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "--sun-misc-unsafe-memory-access=allow"]
        command += ["--enable-native-access=ALL-UNNAMED", "-cp", f"{INTEROP}/trino/lib/*"]
        command += [*(f"-D{key}={value}" for key, value in node.items()), "io.trino.server.TrinoServer"]
        self.process = Process("trino", command, self.folder)
        try:
            self.process.answers(f"http://127.0.0.1:{self.port}/v1/info")
            until(self.ready, "Trino's catalog", tail=self.process.tail)
        except BaseException:
            self.stop()
            raise

    def stop(self):
        """Ends the server and returns its log."""
        self.process.stop()
        log = self.process.log.read_text(errors="replace")
        shutil.rmtree(self.folder, ignore_errors=True)
        return log

    def connect(self):
        from trino.dbapi import connect

        return connect(host="127.0.0.1", port=self.port, user="interop", catalog="lake", schema="interop", timezone="UTC")

    def ready(self):
        from trino.exceptions import TrinoConnectionError, TrinoQueryError

        try:
            # The node is known before it is known to have the catalog.
            nodes = self.execute("SELECT node_id FROM system.runtime.nodes WHERE state = 'active'")
            return nodes and self.execute("SELECT schema_name FROM lake.information_schema.schemata")
        except (TrinoQueryError, TrinoConnectionError):
            return False

    def execute(self, query):
        return self.execute_in_session(query)

    def execute_in_session(self, *queries):
        """Runs queries in one session and returns the rows of the last."""
        connection = self.connect()
        for query in queries:
            rows = connection.cursor().execute(query).fetchall()
        return rows


class Trino(Driver):
    def connect(self, setup):
        self.server = Server(setup)

    def version(self):
        return self.server.execute("SELECT version()")[0][0]

    def read(self, table, columns):
        names = ", ".join(f'"{column}"' for column in columns)
        kinds = {field["name"]: field["type"] for field in self.schemas[table]["fields"]}
        rows = self.server.execute(f"SELECT {names} FROM {table}")
        return [{name: canonical_object(item, kinds[name]) for name, item in zip(columns, row)} for row in rows]

    def totals(self, table):
        return tuple(self.server.execute(f"SELECT count(*), sum(row), sum(amount) FROM {table}")[0])

    def pruned(self, table, low, high):
        where = f"at >= TIMESTAMP '{low} UTC' AND at < TIMESTAMP '{high} UTC'"
        rows = len(self.server.execute(f"SELECT row, kind FROM {table} WHERE {where}"))
        plan = self.server.execute(f"EXPLAIN ANALYZE SELECT row, kind FROM {table} WHERE {where}")[0][0]
        files = [int(number) for number in re.findall(r"Splits: (\d+)", plan)]
        total = self.server.execute(f'SELECT count(*) FROM "{table}$files"')[0][0]
        return {"rows": rows, "files": files[-1] if files else None, "of": total}

    def close(self):
        self.server.stop()


if __name__ == "__main__":
    run(Trino)
