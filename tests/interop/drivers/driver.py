"""What every driver does: takes a task, reads the tables it names, and writes what its engine saw.

A driver runs in its engine's own Python. The task is JSON; the result is pickled, since values are dates, decimals and
bytes. Rows are in the canonical form of `tests/python/engines.py`.
"""

import json
import pathlib
import pickle
import sys


class Driver:
    """An engine. A method that an engine has no use for says None."""

    def __init__(self, task):
        self.task, self.schemas = task, {table["name"]: table["schema"] for table in task["tables"]}
        self.connect(task["setup"])

    def connect(self, setup):
        """Connects by the configuration of the engine's page."""
        raise NotImplementedError

    def version(self):
        raise NotImplementedError

    def read(self, table, columns):
        """The rows of a table, these columns of it, as canonical dicts."""
        raise NotImplementedError

    def totals(self, table):
        """Count, and sums of `row` and `amount`, computed by the engine."""
        raise NotImplementedError

    def pruned(self, table, low, high):
        """What was read for `low <= at < high`: rows of the answer, and what the engine's own figures say."""
        return None

    def close(self):
        pass


def attempt(action, *arguments):
    """The result and no error, or none and the error's text."""
    try:
        return action(*arguments), None
    except Exception as error:
        return None, f"{type(error).__name__}: {error}"


def read_table(driver, table):
    """All columns at once; if the engine cannot, each for itself, so that one column does not hide the others."""
    columns = [field["name"] for field in table["schema"]["fields"]]
    rows, error = attempt(driver.read, table["name"], columns)
    if error is None:
        return {"rows": rows, "errors": {}}
    merged, errors = {}, {"*": error}
    for column in columns:
        rows, error = attempt(driver.read, table["name"], list(dict.fromkeys(["row", column])))
        if error is not None:
            errors[column] = error
            continue
        for row in rows:
            merged.setdefault(row["row"], {"row": row["row"]}).update(row)
    return {"rows": list(merged.values()), "errors": errors}


def run(kind):
    task_path, result_path = sys.argv[1:]
    task = json.loads(pathlib.Path(task_path).read_text())
    driver = kind(task)
    try:
        result = {"version": driver.version(), "busy": [busy(driver, task)]}
        result["tables"] = {table["name"]: read_table(driver, table) for table in task["tables"] if not table.get("busy")}
        result["totals"] = {name: attempt(driver.totals, name) for name in task["totals"]}
        prune = task["prune"]
        result["pruned"] = prune and attempt(driver.pruned, prune["table"], prune["low"], prune["high"])
        result["busy"].append(busy(driver, task))
    finally:
        driver.close()
    pathlib.Path(result_path).write_bytes(pickle.dumps(result))


def busy(driver, task):
    """The ids in the table that is being written."""
    if not task["busy"]:
        return None
    rows, error = attempt(driver.read, task["busy"], ["id"])
    return (rows and [row["id"] for row in rows], error)
