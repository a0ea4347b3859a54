"""An engine changes a table while Frazil writes it; afterwards every event that Frazil acknowledged is a row, once."""

import collections
import json
import subprocess

import matrix
import tables
from processes import until

SCRIPTS = {"spark35": "spark_life.py", "spark40": "spark_life.py", "trino": "trino_life.py"}
# Ids from here on are the engines' own rows.
FOREIGN = 10_000_000
SCHEMA = {
    "type": "struct",
    "schema-id": 0,
    "fields": [tables.field(1, "id", "long"), tables.field(2, "kind", "string"), tables.field(3, "note", "string")],
}


def event(number):
    return {"kind": f"k{number % 3}", "note": f"n{number}", "extra": f"e{number}"}


def run(deployment, name):
    """The cells of one engine: what it did -> outcome; last, the count of every event."""
    engine = matrix.ENGINES[name]
    task, result = deployment.folder / f"{name}.life.json", deployment.folder / f"{name}.life.result.json"
    table = f"interop.life_{name}"
    task.write_text(json.dumps({"setup": matrix.setup(deployment, engine.page), "jars": engine.jars, "table": table}))
    path = deployment.folder / "life.schema.json"
    path.write_text(json.dumps(SCHEMA))
    deployment.frazil("table", "create", table, "--schema", str(path), "--partition-by", "kind")
    catalog = pyiceberg(deployment)
    with matrix.Load(deployment, table, event) as load:
        until(lambda: matrix.visible(deployment, f"life_{name}") > 500, "rows to change")
        try:
            matrix.run_python(deployment, engine, SCRIPTS[name], task, result)
            cells = json.loads(result.read_text())
        except (AssertionError, subprocess.TimeoutExpired) as failure:
            cells = {"start": str(failure)[-1500:]}
    cells["nothing lost, nothing doubled"] = account(catalog, table, load.acked)
    return {subject: outcome if outcome == "ok" else matrix.first_line(outcome) for subject, outcome in cells.items()}


def pyiceberg(deployment):
    names = {}
    exec(matrix.setup(deployment, "engines/pyiceberg.md"), names)
    return names["catalog"]


def account(catalog, table, acked):
    """`ok` if the table has each acknowledged id once, and there is no dead letter."""

    def ids():
        return catalog.load_table(table).scan(selected_fields=("id",)).to_arrow().column("id").to_pylist()

    try:
        until(lambda: len({number for number in ids() if number < FOREIGN}) >= acked, "the last events", 60)
    except AssertionError:
        pass
    counts = collections.Counter(ids())
    lost = [number for number in range(acked) if number not in counts]
    twice = [number for number, count in counts.items() if count > 1]
    foreign = [number for number in counts if acked <= number < FOREIGN]
    if lost or twice or foreign:
        return f"differs: of {acked} events {len(lost)} are lost, {len(twice)} doubled, {len(foreign)} never sent"
    if catalog.table_exists(f"{table}__dead_letter"):
        return f"differs: {catalog.load_table(f'{table}__dead_letter').scan().count()} dead letters"
    return "ok"
