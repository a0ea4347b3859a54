"""One deployment: nats-server, an S3 server, a catalog, one proxy, one writer, and a client of the proxy."""

import json
import os
import pathlib
import shutil
import subprocess
import tempfile
import urllib.error
import urllib.request

import catalogs
from processes import Process, free_port, until
from snippets import ROOT, TOOLS, snippet
from stores import STORES


class Deployment:
    """Running servers; `stop` ends all of them."""

    def __init__(self, catalog, store):
        self.catalog_name, self.store_name = catalog, store
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="frazil-interop-"))
        self.running = []
        built = pathlib.Path(os.environ.get("CARGO_TARGET_DIR") or ROOT / "target").resolve() / "debug/frazil"
        self.binary = os.environ.get("FRAZIL_BIN") or str(built)
        try:
            self.start(catalog, store)
        except BaseException:
            self.stop()
            raise

    def start(self, catalog, store):
        self.store = self.keep(STORES[store](self.folder))
        self.store.make_bucket()
        self.catalog = self.keep(catalogs.CATALOGS[catalog][2](self.store, self.folder))
        self.nats_port, self.proxy_port = free_port(), free_port()
        self.url = f"http://127.0.0.1:{self.proxy_port}"
        self.start_nats()
        self.config = self.folder / "frazil.toml"
        self.config.write_text(self.configuration())
        for stream, settings in {"default": [], "evolving": ["--unknown-fields", "evolve"]}.items():
            self.frazil("stream", "create", stream, "--shards", "2", "--max-bytes", "1GiB", *settings)
        words = self.frazil("token", "create", "--name", "interop", "--stream", "*", "--table", "*").split()
        self.token = next(word for word in words if word.startswith("frz_"))
        if catalog == "embedded":
            self.start_catalog()
        self.role("proxy").answers(f"{self.url}/readyz")
        self.role("writer", "--ordinal", "0", "--replicas", "1")
        for stream in ("default", "evolving"):
            until(lambda: self.post("known.known", "[]", stream, "application/json")[0] != 404, f"the stream {stream}")

    def configuration(self):
        own = f'[nats]\nservers = ["nats://127.0.0.1:{self.nats_port}"]\n\n[proxy]\nlisten = "127.0.0.1:{self.proxy_port}"\n\n'
        own += '[writer]\nadmin_listen = "127.0.0.1:0"\nflush_interval = "1s"\n\n'
        return own + catalogs.frazil_configuration(self.catalog_name, self.catalog, self.store)

    def start_nats(self):
        store = f'jetstream {{ store_dir: "{self.folder}/jetstream", max_file: 20GB, sync_interval: always }}'
        config = self.folder / "nats.conf"
        config.write_text(f"host: 127.0.0.1\nport: {self.nats_port}\nmax_payload: 4MB\n{store}\n")
        self.keep(Process("nats", [TOOLS / "bin/nats-server", "-c", config], self.folder)).listens(self.nats_port)

    def start_catalog(self):
        """`frazil catalog`, which forwards the metrics reports that engines send it to the proxy."""
        token = self.folder / "engines-token"
        token.write_text(self.token)
        values = {"http://127.0.0.1:8080": self.url, "/run/secrets/engines-token": str(token)}
        forwarding = snippet("iceberg-metrics.md", "From the embedded catalog", values)
        self.config.write_text(f"{self.config.read_text()}\n{forwarding}")
        self.role("catalog").answers(f"{self.catalog.uri}/v1/config")

    def keep(self, process):
        self.running.append(process)
        return process

    def role(self, name, *arguments):
        return self.keep(Process(name, [self.binary, name, *arguments, "--config", self.config], self.folder))

    def frazil(self, *command):
        """Runs a command of the binary and returns what it printed."""
        line = [self.binary, *command, "--config", str(self.config)]
        done = subprocess.run(line, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        assert done.returncode == 0, f"frazil {' '.join(command)}: {done.stderr}"
        return done.stdout

    def create(self, table, schema, partition_by="none"):
        """Makes a table of exactly these columns."""
        path = self.folder / f"{table}.json"
        path.write_text(json.dumps(schema))
        options = ["--partition-by", partition_by, "--no-system-columns", "--property", "frazil.non-finite=accept"]
        self.frazil("table", "create", table, "--schema", str(path), *options)

    def post(self, table, body, stream="default", content_type="application/x-ndjson", key=None, wait=True):
        """Status and JSON of the answer; with `wait` once the rows are visible."""
        headers = {"authorization": f"Bearer {self.token}", "content-type": content_type, "table": table}
        headers |= {"idempotency-key": key} if key else {}
        address = f"{self.url}/v1/streams/{stream}/events" + ("?wait=committed&timeout=60s" if wait else "")
        try:
            with urllib.request.urlopen(urllib.request.Request(address, body.encode(), headers), timeout=90) as answer:
                return answer.status, json.load(answer)
        except urllib.error.HTTPError as refusal:
            return refusal.code, json.load(refusal)

    def accept(self, table, lines, stream="default"):
        """Posts events that must be accepted and become visible."""
        status, answer = self.post(table, "\n".join(lines), stream)
        assert status == 200 and answer.get("state") == "committed", f"{table}: {status} {answer}"
        assert answer["accepted"] == len(lines), answer

    def values(self):
        """What replaces the examples of the pages."""
        return catalogs.values(self.catalog, self.store)

    def stop(self):
        for process in reversed(self.running):
            process.stop()
        shutil.rmtree(self.folder, ignore_errors=True)
