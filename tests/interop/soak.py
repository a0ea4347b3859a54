"""A soak: Frazil writes a table at a fixed rate while Spark compacts and expires it, and Trino asks it.

At the end every acknowledged event must be a row, once, by the count of three engines. A run of an hour or more writes
docs/soak.md; a shorter one prints the page.
"""

import argparse
import json
import pathlib
import platform
import subprocess
import sys
import threading
import time

sys.path.insert(0, str(pathlib.Path(__file__).parents[1] / "python"))

import coexistence
import matrix
import soak_report
import tables
from deployment import Deployment
from processes import Process, until
from soak_load import SoakLoad

TABLE, STREAM = "interop.soak", "soak"
SAMPLE_EVERY = 10
SCHEMA = {
    "type": "struct",
    "schema-id": 0,
    "fields": [
        tables.field(1, "id", "long"),
        tables.field(2, "kind", "string"),
        tables.field(3, "note", "string"),
        tables.field(4, "sent", "timestamptz"),
    ],
}
# Engine -> (its driver, seconds between its rounds).
ENGINES = {"spark35": ("spark_soak.py", 300), "trino": ("trino_soak.py", 10)}


def parse_arguments():
    parser = argparse.ArgumentParser(prog="./scripts/soak", description=__doc__)
    parser.add_argument("--minutes", type=int, default=60, help="how long the load lasts (default: 60)")
    parser.add_argument("--rate", type=int, default=2000, help="events a second (default: 2000)")
    parser.add_argument("--maintain-every", type=int, default=300, help="seconds between Spark's rounds (default: 300)")
    parser.add_argument("--results", type=pathlib.Path, help="write the figures here, too, as JSON")
    return parser.parse_args()


class Memory(threading.Thread):
    """Samples the resident memory of Frazil's roles and of the log, and the size of the log on disk, in MiB."""

    def __init__(self, deployment):
        super().__init__(daemon=True)
        self.deployment, self.ending = deployment, threading.Event()
        self.processes = [process for process in deployment.running if isinstance(process, Process)] + [deployment.store.process]
        self.samples = {process.name: [] for process in self.processes} | {"log on disk": []}

    def run(self):
        while not self.ending.wait(SAMPLE_EVERY):
            for process in self.processes:
                if process.child.poll() is None:
                    self.samples[process.name].append(resident_mib(process.child.pid))
            folder = self.deployment.folder / "jetstream"
            size = subprocess.run(["du", "-sm", folder], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True).stdout
            self.samples["log on disk"].append(int(size.split()[0]))


def resident_mib(pid):
    status = pathlib.Path(f"/proc/{pid}/status").read_text()
    return next(int(line.split()[1]) // 1024 for line in status.splitlines() if line.startswith("VmRSS"))


def start(deployment, name, every, began=0, end=0):
    """Starts an engine's driver, which works from one Unix time to the other, or only counts; its results go to a file."""
    engine, script = matrix.ENGINES[name], ENGINES[name][0]
    task, results = (deployment.folder / f"soak.{name}.{end:.0f}.{kind}" for kind in ("task", "results"))
    own = {"setup": matrix.setup(deployment, engine.page), "jars": engine.jars, "table": TABLE}
    own |= {"every": every, "from": began, "until": end}
    task.write_text(json.dumps(own))
    results.touch()
    command, environment = matrix.command(engine, script, task, results)
    return Process(f"soak-{name}-{end:.0f}", command, deployment.folder, environment), results


def finished(process, results, limit):
    """What a driver found, once it is done."""
    status = process.child.wait(limit)
    assert status == 0, f"{process.name} ended with {status}\n{process.tail()}"
    return [json.loads(line) for line in results.read_text().splitlines()]


def soak(deployment, arguments):
    """The figures of the run."""
    seconds = arguments.minutes * 60
    path = deployment.folder / "soak.schema.json"
    path.write_text(json.dumps(SCHEMA))
    deployment.frazil("stream", "create", STREAM, "--shards", "2", "--max-bytes", "4GiB", "--dedupe-window", "10m")
    deployment.frazil("table", "create", TABLE, "--schema", str(path), "--partition-by", "day(sent)")
    until(lambda: deployment.post(TABLE, "[]", STREAM, "application/json")[0] != 404, "the stream")
    memory = Memory(deployment)
    memory.start()
    every = {name: seconds_between for name, (_, seconds_between) in ENGINES.items()} | {"spark35": arguments.maintain_every}
    began = time.time()
    running = {name: start(deployment, name, every[name], began, began + seconds) for name in ENGINES}
    load = SoakLoad(deployment, STREAM, TABLE, arguments.rate, seconds)
    try:
        load.run()
        found = {name: finished(*process, 600) for name, process in running.items()}
    finally:
        for process, _ in running.values():
            process.stop()
    memory.ending.set()
    counts = {name: finished(*start(deployment, name, every[name]), 600)[0] for name in ENGINES}
    counts["pyiceberg"] = pyiceberg_count(deployment)
    return soak_report.figures(arguments, load, found, counts, memory.samples) | {"machine": platform.machine()}


def pyiceberg_count(deployment):
    """Rows, different ids, and the least and greatest id, computed without an engine."""
    import pyarrow.compute as compute

    catalog = coexistence.pyiceberg(deployment)
    assert not catalog.table_exists(f"{TABLE}__dead_letter"), "there are dead letters"
    ids = catalog.load_table(TABLE).scan(selected_fields=("id",)).to_arrow().column("id")
    low_high = compute.min_max(ids).as_py()
    return {"rows": len(ids), "ids": len(compute.unique(ids)), "low": low_high["min"], "high": low_high["max"]}


def main():
    arguments = parse_arguments()
    deployment = Deployment("embedded", "seaweedfs")
    try:
        found = soak(deployment, arguments)
    finally:
        deployment.stop()
    if arguments.results:
        arguments.results.write_text(json.dumps(found, indent=1))
    page = soak_report.page(found)
    print(page)
    if arguments.minutes >= 60:
        soak_report.PAGE.write_text(page)
    problems = soak_report.problems(found)
    for problem in problems:
        print(f"FAILED: {problem}")
    return 1 if problems else 0


if __name__ == "__main__":
    began = time.monotonic()
    status = main()
    print(f"{time.monotonic() - began:.0f} s")
    sys.exit(status)
