"""A deployment of Frazil as the scripts of the tests reach it."""

import argparse
import json
import pathlib
import subprocess
import tempfile
import time
import urllib.error
import urllib.parse
import urllib.request

import grpc
from engines import load_catalog
from grpc_client import generate


def parser(description):
    """The arguments every script has."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--url", required=True, help="the proxy")
    parser.add_argument("--token", required=True)
    parser.add_argument("--catalog", required=True, help="Iceberg REST catalog")
    parser.add_argument("--frazil", required=True, help="the binary")
    parser.add_argument("--config", required=True, help="its configuration file")
    return parser


class Service:
    """The deployment under test."""

    def __init__(self, arguments):
        self.arguments = arguments
        self.catalog = load_catalog(arguments.catalog, {})
        self.messages = self.unary = None

    def frazil(self, *command):
        """Runs the binary and returns what it printed."""
        line = [self.arguments.frazil, *command, "--config", self.arguments.config]
        return subprocess.run(line, check=True, stdout=subprocess.PIPE, text=True).stdout

    def create(self, table, schema, **properties):
        """Creates an unpartitioned table; `a_b="c"` becomes the property `frazil.a-b`."""
        with tempfile.TemporaryDirectory() as folder:
            path = pathlib.Path(folder, "schema.json")
            path.write_text(json.dumps(schema))
            pairs = [f"frazil.{key.replace('_', '-')}={value}" for key, value in properties.items()]
            options = [option for pair in pairs for option in ("--property", pair)]
            self.frazil("table", "create", table, "--schema", str(path), "--partition-by", "none", *options)

    def post(self, table, body, content_type="application/x-ndjson", stream="default", **headers):
        """Status and JSON of the answer, once the rows are visible. Without a table the stream finds it."""
        headers = {key.replace("_", "-"): value for key, value in headers.items()}
        headers |= {"authorization": f"Bearer {self.arguments.token}", "content-type": content_type}
        headers |= {"table": table} if table else {}
        address = f"{self.arguments.url}/v1/streams/{stream}/events?wait=committed&timeout=60s"
        request = urllib.request.Request(address, body if isinstance(body, bytes) else body.encode(), headers)
        try:
            with urllib.request.urlopen(request, timeout=90) as answer:
                return answer.status, json.load(answer)
        except urllib.error.HTTPError as refusal:
            return refusal.code, json.load(refusal)

    def known(self, stream):
        """Waits until the proxy knows a new stream: it follows the control bucket."""
        for _ in range(300):
            if self.post("known.known", "[]", "application/json", stream)[0] != 404:
                return
            time.sleep(0.05)
        raise AssertionError(f"the proxy does not know {stream}")

    def accept(self, table, body, content_type="application/x-ndjson", stream="default", **headers):
        """Posts what must be accepted and become visible; returns the answer."""
        status, answer = self.post(table, body, content_type, stream, **headers)
        assert status == 200 and answer.get("state", "committed") == "committed", f"{status} {answer}"
        return answer

    def accept_by_grpc(self, table, body, format_name):
        """The same over gRPC: one unary call."""
        if self.unary is None:
            folder = tempfile.mkdtemp()
            self.messages, stubs = generate(folder)
            channel = grpc.insecure_channel(urllib.parse.urlsplit(self.arguments.url).netloc)
            self.unary = stubs.IngestStub(channel).Ingest
        request = {"stream": "default", "table": table, "format": format_name, "events": body}
        metadata = [("authorization", f"Bearer {self.arguments.token}")]
        message = self.messages.IngestRequest(**request, wait_committed_ms=60_000)
        answer = self.unary(message, metadata=metadata, timeout=90)
        return {"accepted": answer.accepted, "receipt": answer.receipt}

    def rows(self, name):
        """The rows of a table as dicts."""
        return self.table(name).scan().to_arrow().to_pylist()

    def table(self, name):
        """The table as PyIceberg loads it now."""
        return self.catalog.load_table(name)
