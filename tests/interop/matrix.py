"""One cell after the other: runs an engine's driver on a deployment and judges what it read by what was sent."""

import contextlib
import dataclasses
import decimal
import json
import os
import pickle
import subprocess
import threading

import tables
from engines import differs
from processes import until
from snippets import INTEROP, ROOT, TOOLS, snippet

DRIVER_LIMIT = 900
ICEBERG = "1.10.1"
BUSY = {"type": "struct", "schema-id": 0, "fields": [tables.field(1, "id", "long")]}


@dataclasses.dataclass
class Engine:
    """An engine: the Python that its driver runs in, its page, its jars."""

    title: str
    page: str
    python: str
    driver: str
    jars: tuple = ()


def jars(spark):
    names = (f"iceberg-spark-runtime-{spark}-{ICEBERG}.jar", f"iceberg-aws-bundle-{ICEBERG}.jar")
    return tuple(str(INTEROP / "jars" / name) for name in names)


READERS, MAIN = str(INTEROP / "readers/bin/python"), str(TOOLS / "venv/bin/python")
SPARK35, SPARK40 = (str(INTEROP / name / "bin/python") for name in ("spark35", "spark40"))
ENGINES = {
    "spark35": Engine("Spark 3.5", "engines/spark.md", SPARK35, "spark.py", jars("3.5_2.12")),
    "spark40": Engine("Spark 4.0", "engines/spark.md", SPARK40, "spark.py", jars("4.0_2.13")),
    "trino": Engine("Trino", "engines/trino.md", READERS, "trino_driver.py"),
    "pyiceberg": Engine("PyIceberg", "engines/pyiceberg.md", MAIN, "pyiceberg_driver.py"),
    "duckdb": Engine("DuckDB", "engines/duckdb.md", MAIN, "duckdb_driver.py"),
    "clickhouse": Engine("ClickHouse", "engines/clickhouse.md", READERS, "clickhouse.py"),
    "polars": Engine("Polars", "engines/polars.md", READERS, "polars_driver.py"),
    "daft": Engine("Daft", "engines/daft.md", READERS, "daft_driver.py"),
    "datafusion": Engine("DataFusion", "engines/datafusion.md", MAIN, "datafusion_driver.py"),
}
# The engines of ./scripts/test: they run in the Python that all tests use.
CORE = [name for name, engine in ENGINES.items() if engine.python == MAIN]


class Load:
    """Ids that go into a table one batch after the other until `end`."""

    BATCH = 25

    def __init__(self, deployment, table, more=lambda number: {}):
        self.deployment, self.table, self.more = deployment, table, more
        self.acked, self.failure, self.ending = 0, None, threading.Event()
        self.thread = threading.Thread(target=self.send)

    def __enter__(self):
        self.thread.start()
        until(lambda: self.failure or self.acked >= self.BATCH, "the first events")
        return self

    def __exit__(self, *_):
        self.ending.set()
        self.thread.join()
        assert self.failure is None, self.failure

    def send(self):
        try:
            while not self.ending.wait(0.1):
                lines = [json.dumps({"id": n} | self.more(n)) for n in range(self.acked, self.acked + self.BATCH)]
                status, answer = self.deployment.post(self.table, "\n".join(lines), key=f"{self.table}-{self.acked}", wait=False)
                assert status == 200, f"{self.table}: {status} {answer}"
                self.acked += self.BATCH
        except Exception as error:
            self.failure = error


def setup(deployment, page):
    heading = "Connect with OAuth2" if deployment.catalog.oauth2 else "Connect"
    return snippet(page, heading, deployment.values())


def command(engine, script, *arguments):
    """How a script runs in an engine's Python: its command and environment."""
    modules = f"{ROOT}/tests/interop:{ROOT}/tests/python"
    environment = dict(os.environ, PYTHONPATH=modules, PYTHONDONTWRITEBYTECODE="1", AWS_EC2_METADATA_DISABLED="true")
    return [engine.python, str(ROOT / "tests/interop/drivers" / script), *map(str, arguments)], environment


def run_python(deployment, engine, script, *arguments):
    """Runs a script in an engine's Python; fails with the end of what it said."""
    line, environment = command(engine, script, *arguments)
    done = subprocess.run(
        line,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=DRIVER_LIMIT,
        env=environment,
        cwd=deployment.folder,
    )
    assert done.returncode == 0, f"{script} failed:\n{done.stdout[-4000:]}"
    return done.stdout


def task(deployment, engine, names, found, busy):
    low, high = ("2026-03-02 00:00:00", "2026-03-03 00:00:00")
    listed = [{"name": table.name, "schema": table.final} for table in found]
    has = {table.name for table in found}
    return {
        "setup": setup(deployment, engine.page),
        "jars": engine.jars,
        "tables": [*listed, {"name": busy, "schema": BUSY, "busy": True}],
        "totals": [name for name in names if name in has],
        "prune": {"table": "spec_day", "low": low, "high": high} if "spec_day" in has else None,
        "busy": busy,
    }


def run_engine(deployment, name, found):
    """The cells of one engine on one deployment: subject -> outcome, and the engine's version."""
    engine = ENGINES[name]
    task_path, result_path = (deployment.folder / f"{name}.{suffix}" for suffix in ("task.json", "result.pickle"))
    totals = [table.name for table in found if table.name.startswith("spec_") or table.name == "compacted"]
    busy = f"busy_{name}"
    task_path.write_text(json.dumps(task(deployment, engine, totals, found, busy)))
    deployment.create(f"interop.{busy}", BUSY)
    with Load(deployment, f"interop.{busy}") as load:
        before = until(lambda: visible(deployment, busy), "the first commit of the table that is being written")
        try:
            run_python(deployment, engine, engine.driver, task_path, result_path)
        except (AssertionError, subprocess.TimeoutExpired) as failure:
            return {"start": str(failure)[-1500:]}, None
    result = pickle.loads(result_path.read_bytes())
    cells = {table.name: judge(table, result["tables"][table.name]) for table in found}
    cells["busy"] = judge_busy(result["busy"], before, load.acked + Load.BATCH)
    if totals:
        cells["totals"] = judge_totals(result["totals"], found)
    if result["pruned"]:
        cells["pruning"] = judge_pruned(*result["pruned"])
    return cells, result["version"]


def visible(deployment, table):
    """Rows of the table that is being written, by its newest snapshot's own count."""
    names = {}
    exec(setup(deployment, "engines/pyiceberg.md"), names)
    with contextlib.suppress(Exception):
        snapshot = names["catalog"].load_table(f"interop.{table}").current_snapshot()
        return int(snapshot.summary["total-records"]) if snapshot else 0
    return 0


def judge(table, result):
    """`ok`, or what an engine did not read as it was sent."""
    if set(result["errors"]) == {"*"} and not result["rows"]:
        return "error: " + first_line(result["errors"]["*"])
    problems = [f"error: `{column}`: {first_line(error)}" for column, error in result["errors"].items() if column != "*"]
    if len(result["rows"]) != len(table.rows):
        return "; ".join([*problems, f"{len(result['rows'])} rows, {len(table.rows)} were sent"])
    found = {row["row"]: row for row in result["rows"]}
    if found.keys() != table.rows.keys():
        return "other rows than were sent"
    nulls = []
    for column, kind in ((field["name"], field["type"]) for field in table.final["fields"]):
        if column in result["errors"]:
            continue
        pairs = [(row[column], found[number].get(column, "missing")) for number, row in table.rows.items()]
        wrong = [(sent, read, where) for sent, read in pairs if (where := differs(sent, read))]
        if wrong and all(same_but_for_nulls(kind, sent, read) for sent, read, _ in wrong):
            nulls.append(f"`{column}`")
        elif wrong:
            example = first_line(wrong[0][2].lstrip(": "))
            problems.append(f"differs: `{column}`: {len(wrong)} of {len(pairs)} values, such as {example}")
    if nulls:
        problems.append(f"differs: null lists, maps or structs are read as empty ones in {', '.join(nulls)}")
    return "; ".join(problems) or "ok"


def same_but_for_nulls(kind, sent, read):
    try:
        return differs(emptied(kind, sent), emptied(kind, read)) is None
    except (KeyError, TypeError, ValueError):
        return False  # not even of the same shape


def emptied(kind, value):
    """A value with empty lists and maps, and structs of nulls, for those that are null."""
    if isinstance(kind, str):
        return value
    if kind["type"] == "struct":
        return {field["name"]: emptied(field["type"], value and value[field["name"]]) for field in kind["fields"]}
    if kind["type"] == "list":
        return [emptied(kind["element"], item) for item in value or []]
    return [(key, emptied(kind["value"], item)) for key, item in value or []]


def judge_busy(readings, before, sent):
    """A table that is being written: every reading has each id at most once, and all that were visible before it."""
    count, seen = before, set()
    for ids, error in readings:
        if error:
            return "error: " + first_line(error)
        found = set(ids)
        if len(ids) != len(found):
            return f"differs: {len(ids) - len(found)} ids twice"
        if len(found) < count or not seen <= found:
            return f"differs: {len(found)} rows, {max(count, len(seen))} were visible before"
        if not found <= set(range(sent)):
            return "differs: ids that were not sent"
        count, seen = len(found), found
    return "ok"


def judge_totals(found, sent):
    rows = {table.name: table.rows.values() for table in sent}
    for name, (values, error) in found.items():
        if error:
            return f"error: {name}: {first_line(error)}"
        expected = len(rows[name]), sum(row["row"] for row in rows[name]), sum(row["amount"] for row in rows[name])
        values = (values[0], values[1], decimal.Decimal(str(values[2])))
        if values != expected:
            return f"differs: {name}: {values}, expected {expected}"
    return "ok"


def judge_pruned(found, error):
    """The five days have a file each; a query for one day must read one."""
    if error:
        return "error: " + first_line(error)
    if found is None:
        return "no figure"
    if found["rows"] != tables.PER_DAY:
        return f"differs: {found['rows']} rows, {tables.PER_DAY} expected"
    if found["files"] is None:
        return "no figure"
    return f"{found['files']} of {found['of']} files"


def first_line(text):
    """The part of an error that says something, short enough for a table."""
    lines = [line.strip(" :") for line in str(text).splitlines() if line.strip() and not line.startswith("Py4JJavaError")]
    line = lines[0] if lines else str(text)
    return line if len(line) <= 220 else line[:217] + "…"
