"""S3 servers that the matrix runs on, each with the bucket `lake`."""

import json
import os
import time
import urllib.request

from processes import Process, free_port, until
from snippets import INTEROP, TOOLS

ACCESS_KEY, SECRET_KEY, REGION = "testkey", "testsecret", "us-east-1"


class Store:
    """A running S3 server."""

    title = release = ""

    def __init__(self, folder):
        self.port = free_port(companion=10_000)
        self.endpoint = f"http://127.0.0.1:{self.port}"
        self.process = self.start(folder)
        self.process.listens(self.port)

    def start(self, folder):
        raise NotImplementedError

    def make_bucket(self):
        """Makes the bucket `lake`; until the server is ready that fails."""
        import boto3
        from botocore.config import Config
        from botocore.exceptions import BotoCoreError, ClientError

        keys = {"aws_access_key_id": ACCESS_KEY, "aws_secret_access_key": SECRET_KEY}
        config = Config(s3={"addressing_style": "path"}, retries={"max_attempts": 1})
        client = boto3.client("s3", endpoint_url=self.endpoint, region_name=REGION, config=config, **keys)

        def made():
            try:
                names = [bucket["Name"] for bucket in client.list_buckets()["Buckets"]]
                return "lake" in names or bool(client.create_bucket(Bucket="lake"))
            except (BotoCoreError, ClientError):
                time.sleep(0.5)
                return False

        until(made, f"the bucket of {self.title}", tail=self.process.tail)

    def stop(self):
        self.process.stop()


class SeaweedFs(Store):
    """SeaweedFS in one process, with its own Iceberg REST catalog."""

    title, release = "SeaweedFS", "4.48"

    def start(self, folder):
        data, identities = folder / "seaweed", folder / "s3.json"
        data.mkdir()
        keys = {"accessKey": ACCESS_KEY, "secretKey": SECRET_KEY}
        actions = ["Admin", "Read", "Write", "List", "Tagging"]
        identities.write_text(json.dumps({"identities": [{"name": "admin", "credentials": [keys], "actions": actions}]}))
        self.catalog_port = free_port(companion=10_000)
        self.filer_port = free_port(companion=10_000)
        ports = {"s3.port": self.port, "s3.port.iceberg": self.catalog_port, "s3.port.lance": 0, "filer.port": self.filer_port}
        ports |= {name: free_port(companion=10_000) for name in ("master.port", "volume.port", "admin.port")}
        command = [TOOLS / "bin/weed", "-logtostderr=true", "mini", "-ip=127.0.0.1", "-ip.bind=127.0.0.1"]
        command += ["-master.telemetry=false", "-webdav=false", "-admin.ui=false", "-bucket=lake", "-tableBucket=tables"]
        command += [f"-dir={data}", f"-s3.config={identities}", *(f"-{name}={port}" for name, port in ports.items())]
        return Process("weed", command, folder)

    def make_bucket(self):
        self.process.answers(f"http://127.0.0.1:{self.filer_port}/buckets/lake/")
        self.process.listens(self.port)


class VersityGw(Store):
    """versitygw over a local folder."""

    title, release = "versitygw", "1.7.0"

    def start(self, folder):
        (folder / "versity").mkdir()
        command = [INTEROP / "bin/versitygw", "--access", ACCESS_KEY, "--secret", SECRET_KEY, "--region", REGION]
        command += ["--port", f"127.0.0.1:{self.port}", "posix", folder / "versity"]
        return Process("versitygw", command, folder)


class Moto(Store):
    """moto, a mock of AWS: for its quirks."""

    title, release = "moto", "5.2.5"

    def start(self, folder):
        command = [INTEROP / "readers/bin/moto_server", "-H", "127.0.0.1", "-p", self.port]
        return Process("moto", command, folder, dict(os.environ, S3_IGNORE_SUBDOMAIN_BUCKETNAME="true"))

    def make_bucket(self):
        self.process.answers(f"{self.endpoint}/moto-api/")
        request = urllib.request.Request(f"{self.endpoint}/lake", method="PUT")
        urllib.request.urlopen(request, timeout=10).close()


STORES = {"seaweedfs": SeaweedFs, "versitygw": VersityGw, "moto": Moto}
