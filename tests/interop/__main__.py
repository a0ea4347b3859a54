"""The compatibility matrix: real engines, catalogs and S3 servers, what they read judged by what was sent.

Without arguments everything runs and docs/compatibility.md is written; with a selection only the selected cells run,
and the page is left alone.
"""

import argparse
import json
import pathlib
import random
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).parents[1] / "python"))

import catalogs
import coexistence
import matrix
import report
import reports
import selfcheck
import stores
import tables
from deployment import Deployment

PARTS = ("read", "write", "reports")


def parse_arguments():
    parser = argparse.ArgumentParser(prog="./scripts/interop", description=__doc__)
    parser.add_argument("--engine", action="append", choices=matrix.ENGINES, help="repeatable; all if not given")
    parser.add_argument("--catalog", action="append", choices=catalogs.CATALOGS, help="repeatable; all if not given")
    parser.add_argument("--store", action="append", choices=stores.STORES, help="repeatable; all if not given")
    parser.add_argument("--part", action="append", choices=PARTS, help="repeatable; all if not given")
    parser.add_argument("--core", action="store_true", help="what ./scripts/test runs: its engines read the core tables")
    parser.add_argument("--list", action="store_true", help="print the names and end")
    parser.add_argument("--seed", type=int, default=random.randrange(2**32), help="of the values that are sent")
    parser.add_argument("--results", type=pathlib.Path, help="write the results here, too, as JSON")
    parser.add_argument("--report", type=pathlib.Path, nargs="+", help="run nothing: write the page from such files")
    arguments = parser.parse_args()
    if arguments.core:
        arguments.engine, arguments.catalog, arguments.store = list(matrix.CORE), ["embedded"], ["seaweedfs"]
        arguments.part = ["read"]
    arguments.part = arguments.part or list(PARTS)
    return arguments


def deployments(arguments):
    """Catalog, store, and whether every table is read: each catalog and each store once, not each pair."""
    pairs = [("embedded", "seaweedfs", not arguments.core)]
    pairs += [(name, "seaweedfs", False) for name in catalogs.CATALOGS if name != "embedded"]
    pairs += [("embedded", name, False) for name in stores.STORES if name != "seaweedfs"]
    chosen = (arguments.catalog or list(catalogs.CATALOGS), arguments.store or list(stores.STORES))
    return [pair for pair in pairs if pair[0] in chosen[0] and pair[1] in chosen[1]]


def compact(deployment):
    """Spark compacts the table `compacted`."""
    engine = matrix.ENGINES["spark35"]
    path = deployment.folder / "compact.json"
    task = {"setup": matrix.setup(deployment, engine.page), "jars": engine.jars, "table": "compacted"}
    path.write_text(json.dumps(task))
    matrix.run_python(deployment, engine, "spark_compact.py", path)


def send(deployment, found, full):
    """Makes and fills the tables; of those that could not be made or filled, why."""
    unsent = {}
    for table in found:
        try:
            table.send(deployment)
        except AssertionError as refusal:
            unsent[table.name] = "not sent: " + matrix.first_line(str(refusal).split("frazil: ")[-1])
    if full:
        compact(deployment)
    return unsent


def run(catalog, store, full, arguments, results):
    log(f"catalog {catalog}, store {store}: starting")
    deployment = Deployment(catalog, store)
    try:
        found = [table for table in tables.all_tables(arguments.seed) if full or table.name in tables.CORE]
        unsent = send(deployment, found, full) if "read" in arguments.part else {}
        found = [table for table in found if table.name not in unsent]
        for name in arguments.engine or matrix.ENGINES:
            started = time.monotonic()
            cells, version = matrix.run_engine(deployment, name, found) if "read" in arguments.part else ({}, None)
            cells |= unsent
            results["versions"][name] = version or results["versions"].get(name)
            if full and "write" in arguments.part and name in coexistence.SCRIPTS:
                done = coexistence.run(deployment, name)
                cells |= {f"write: {subject}": outcome for subject, outcome in done.items()}
            if full and "reports" in arguments.part:
                done = reports.run(deployment, name)
                cells |= {f"reports: {subject}": outcome for subject, outcome in done.items()}
            results["cells"] += [
                {"engine": name, "catalog": catalog, "store": store, "subject": subject, "outcome": outcome}
                for subject, outcome in cells.items()
            ]
            if arguments.results:
                arguments.results.write_text(json.dumps(results, indent=1))
            good = sum(report.good({"subject": subject, "outcome": outcome}) for subject, outcome in cells.items())
            log(f"{name} {version}: {good} of {len(cells)} cells ok, {time.monotonic() - started:.0f} s")
    finally:
        deployment.stop()


def log(text):
    print(text, file=sys.stderr, flush=True)


def main():
    arguments = parse_arguments()
    if arguments.list:
        for kind, names in (("engine", matrix.ENGINES), ("catalog", catalogs.CATALOGS), ("store", stores.STORES)):
            print(f"{kind}: {' '.join(names)}")
        return 0
    results = {"versions": {}, "cells": []}
    if arguments.report:
        return finish(merged(arguments.report), True)
    selfcheck.check()
    log(f"seed {arguments.seed}")
    for catalog, store, full in deployments(arguments):
        run(catalog, store, full, arguments, results)
    selected = arguments.engine or arguments.catalog or arguments.store or set(arguments.part) != set(PARTS)
    return finish(results, not selected)


def merged(paths):
    """The results of several runs; of the same cell the last one's."""
    versions, cells = {}, {}
    for part in (json.loads(path.read_text()) for path in paths):
        versions |= {name: version for name, version in part["versions"].items() if version}
        cells |= {(cell["engine"], cell["catalog"], cell["store"], cell["subject"]): cell for cell in part["cells"]}
    return {"versions": versions, "cells": list(cells.values())}


def finish(results, page):
    """Says what is not as it should be, and writes the page if it is complete."""
    surprises = report.surprises(results)
    for surprise in surprises:
        print(surprise)
    if page:
        report.write(results)
    print(f"{len(results['cells']) - len(surprises)} passed, {len(surprises)} failed")
    return 1 if surprises else 0


if __name__ == "__main__":
    sys.exit(main())
