"""Iceberg REST catalogs that the matrix runs on: how each is started, and what its clients have to know."""

import dataclasses

from processes import Process, free_port
from snippets import INTEROP, ROOT, java25, snippet
from stores import ACCESS_KEY, REGION, SECRET_KEY

NESSIE = "0.99.0"


@dataclasses.dataclass
class Catalog:
    """A catalog as Frazil and the engines reach it."""

    uri: str
    # Values of the examples in the pages, beyond those that every page has.
    values: dict
    oauth2: bool = False
    process: Process | None = None

    def stop(self):
        if self.process:
            self.process.stop()


def embedded(store, folder):
    """`frazil catalog`; the deployment starts it, because it has the same configuration file as the other roles."""
    return Catalog(f"http://127.0.0.1:{free_port()}", {})


def seaweedfs(store, folder):
    """The catalog inside SeaweedFS, which asks for OAuth2 client credentials."""
    uri = f"http://127.0.0.1:{store.catalog_port}"
    store.process.listens(store.catalog_port)
    return Catalog(uri, {"CLIENT_ID": ACCESS_KEY, "CLIENT_SECRET": SECRET_KEY, "WAREHOUSE": "s3://tables"}, oauth2=True)


def fixture(store, folder):
    """Apache Iceberg's own REST adapter and servlet, those that its tests use, over SQLite."""
    port = free_port()
    properties = {
        "catalog-impl": "org.apache.iceberg.jdbc.JdbcCatalog",
        "uri": f"jdbc:sqlite:{folder}/fixture.db",
        "jdbc.schema-version": "V1",
        "warehouse": "s3://lake/fixture",
        "io-impl": "org.apache.iceberg.aws.s3.S3FileIO",
        "s3.endpoint": store.endpoint,
        "s3.path-style-access": "true",
        "s3.access-key-id": ACCESS_KEY,
        "s3.secret-access-key": SECRET_KEY,
        "client.region": REGION,
    }
    classpath = f"{INTEROP}/fixture/*:{INTEROP}/jars/iceberg-aws-bundle-1.10.1.jar"
    command = ["java", "-Xmx512m", "-cp", classpath, ROOT / "tests/interop/fixture/LoopbackFixture.java", port]
    process = Process("fixture", command + [f"{key}={value}" for key, value in properties.items()], folder)
    process.answers(f"http://127.0.0.1:{port}/v1/config")
    return Catalog(f"http://127.0.0.1:{port}", {}, process=process)


def nessie(store, folder):
    """Nessie, its branch `main`, with everything in memory. It wants Java 21 or newer."""
    port, management = free_port(), free_port()
    s3 = "nessie.catalog.service.s3.default-options"
    properties = {
        "quarkus.http.host": "127.0.0.1",
        "quarkus.http.port": port,
        "quarkus.management.host": "127.0.0.1",
        "quarkus.management.port": management,
        "nessie.version.store.type": "IN_MEMORY",
        "nessie.catalog.default-warehouse": "lake",
        "nessie.catalog.warehouses.lake.location": "s3://lake/nessie",
        f"{s3}.endpoint": store.endpoint,
        f"{s3}.path-style-access": "true",
        f"{s3}.region": REGION,
        f"{s3}.request-signing-enabled": "false",
        f"{s3}.access-key": "urn:nessie-secret:quarkus:store-keys",
        "store-keys.name": ACCESS_KEY,
        "store-keys.secret": SECRET_KEY,
    }
    options = ["-Xmx768m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"]
    options += [f"-D{key}={value}" for key, value in properties.items()]
    jar = INTEROP / f"nessie/nessie-quarkus-{NESSIE}-runner.jar"
    process = Process("nessie", [java25(), *options, "-jar", jar], folder)
    process.answers(f"http://127.0.0.1:{port}/iceberg/v1/config")
    return Catalog(f"http://127.0.0.1:{port}/iceberg", {}, process=process)


# Name -> (title, version, how to start it, its page).
CATALOGS = {
    "embedded": ("`frazil catalog`", "this version", embedded, "catalogs/embedded.md"),
    "seaweedfs": ("SeaweedFS", "4.48", seaweedfs, "catalogs/seaweedfs.md"),
    "nessie": ("Nessie", NESSIE, nessie, "catalogs/nessie.md"),
    "fixture": ("Apache Iceberg REST fixture", "1.10.1", fixture, "catalogs/iceberg-rest-fixture.md"),
}


def values(catalog, store):
    """What replaces the example addresses and keys of the pages."""
    own = {"http://catalog:8181": catalog.uri, "http://store:8333": store.endpoint, "catalog:8181": catalog.uri[7:]}
    return own | {"store:8333": store.endpoint[7:], "ACCESS_KEY": ACCESS_KEY, "SECRET_KEY": SECRET_KEY} | catalog.values


def frazil_configuration(name, catalog, store):
    """Frazil's part of the configuration for a catalog, from its page."""
    return snippet(CATALOGS[name][3], "Frazil", values(catalog, store))
