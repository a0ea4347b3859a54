"""The results of the matrix as docs/compatibility.md, and what in them is not as it should be."""

import re

import catalogs
import limits
import matrix
import stores
import tables
from snippets import ROOT

PAGE = ROOT / "docs/compatibility.md"
SPECS = {f"spec_{name}": f"partitioned by `{spec}`" for name, spec in tables.SPECS.items()} | {"spec_none": "not partitioned"}
SUBJECTS = SPECS | {
    "evolved": "columns added and types widened by Frazil",
    "compacted": "compacted and expired by Spark",
    "busy": "while Frazil writes it",
    "totals": "count and sums, computed by the engine",
    "pruning": "files read for one day of five",
}
HEAD = """# Compatibility

Written by `./scripts/interop`, not by hand. It starts a real deployment (nats-server, an S3 server, a catalog, proxy and
writer), sends events through Frazil, and compares what each engine reads with what was sent, value by value: for every type
the ordinary and the extreme values, plain, as keys of maps, and in lists of structs with maps. The connection is the one that
the engine's page shows.

`./scripts/interop --list` prints the names for `--engine`, `--catalog` and `--store`. The software is installed under
`.tools/interop` (some 4 GB).

"""


def surprises(results):
    """Cells that are neither `ok` nor a known limit."""
    bad = [cell for cell in results["cells"] if not good(cell) and limits.explanation(cell) is None]
    return [" ".join(cell[key] for key in ("engine", "catalog", "store", "subject")) + ": " + cell["outcome"] for cell in bad]


def good(cell):
    outcome = cell["outcome"]
    if cell["subject"] == "pruning":
        return outcome in ("1 of 5 files", "no figure")
    if cell["subject"].startswith("reports: "):
        return re.fullmatch(r"\d+ equal|none sent", outcome) is not None
    return outcome == "ok" or (cell["subject"] == "write: CREATE VIEW" and outcome.startswith("refused: "))


class Notes:
    """Numbered notes under a table; the same text has one number."""

    def __init__(self):
        self.texts = []

    def cell(self, cell):
        if cell is None:
            return "-"
        if good(cell) and not cell["outcome"].startswith("refused"):
            return cell["outcome"]
        if good(cell):
            return "refused"
        text = limits.explanation(cell) or cell["outcome"]
        if text not in self.texts:
            self.texts.append(text)
        number = f"[{self.texts.index(text) + 1}]"
        return f"ok but {number}" if re.fullmatch(limits.EMPTY, cell["outcome"]) else number

    def lines(self):
        return [f"{number}. {text.rstrip('.')}." for number, text in enumerate(self.texts, start=1)]


def documented():
    """Links to the pages of catalogs that the matrix does not start."""
    run = {page for *_, page in catalogs.CATALOGS.values()}
    pages = sorted(path for path in (ROOT / "docs/catalogs").glob("*.md") if f"catalogs/{path.name}" not in run)
    return ", ".join(f"[{path.read_text().splitlines()[0].removeprefix('# ')}](catalogs/{path.name})" for path in pages)


def table(head, rows):
    lines = ["| " + " | ".join(head) + " |", "|" + " --- |" * len(head)]
    return "\n".join([*lines, *("| " + " | ".join(row) + " |" for row in rows)]) + "\n"


def section(title, text, head, rows, notes):
    return "\n".join([f"## {title}\n", text, table(head, rows), *notes.lines()]).rstrip() + "\n\n"


class Report:
    def __init__(self, results):
        self.results = results
        keys = ("engine", "catalog", "store", "subject")
        self.cells = {tuple(cell[key] for key in keys): cell for cell in results["cells"]}
        self.engines = [name for name in matrix.ENGINES if any(cell["engine"] == name for cell in results["cells"])]

    def titles(self):
        return [f"[{matrix.ENGINES[name].title}]({matrix.ENGINES[name].page})" for name in self.engines]

    def full(self, subjects, notes):
        """One row for each subject, on the embedded catalog and SeaweedFS."""
        for subject, title in subjects.items():
            found = [self.cells.get((name, "embedded", "seaweedfs", subject)) for name in self.engines]
            yield [title, *map(notes.cell, found)]

    def versions(self):
        rows = [[title, self.results["versions"][name] or ""] for title, name in zip(self.titles(), self.engines)]
        ran = {name for cell in self.results["cells"] for name in (("catalog", cell["catalog"]), ("store", cell["store"]))}
        for name, (title, version, _, page) in catalogs.CATALOGS.items():
            rows += [[f"catalog: [{title}]({page})", version]] if ("catalog", name) in ran else []
        rows += [[f"S3 server: {store.title}", store.release] for name, store in stores.STORES.items() if ("store", name) in ran]
        text = f"Spark's Iceberg runtime and AWS bundle are {matrix.ICEBERG}.\n"
        return section("Versions", text, ["software", "version"], rows, Notes())

    def types(self):
        notes = Notes()
        subjects = {table.name: f"`{table.about}`" for table in (tables.type_table(name, 0) for name in tables.TYPES)}
        text = "Catalog: `frazil catalog`; store: SeaweedFS. `ok`: every value of every column is what was sent.\n"
        return section("Types", text, ["type", *self.titles()], list(self.full(subjects, notes)), notes)

    def shapes(self):
        notes = Notes()
        text = "The same catalog and store. *no figure*: the engine does not say how many files it read.\n"
        return section("Tables", text, ["table", *self.titles()], list(self.full(SUBJECTS, notes)), notes)

    def places(self):
        """Every catalog and every store with the core of the tables: how many are `ok`, and what is not."""
        notes, rows = Notes(), []
        for catalog, store in dict.fromkeys((cell["catalog"], cell["store"]) for cell in self.results["cells"]):
            row = [catalogs.CATALOGS[catalog][0], stores.STORES[store].title]
            rows.append(row + [self.place(name, catalog, store, notes) for name in self.engines])
        core = ", ".join(f"`{name}`" for name in [*tables.CORE, "busy"][:-1]) + " and the one that is being written"
        text = (
            f"The tables {core}.\n"
            "Each catalog was run with one store and each store with one catalog, not every pair: Frazil and the engines reach\n"
            "a store in the same way whatever catalog names it, and SeaweedFS's catalog keeps its tables in SeaweedFS alone.\n"
            "All types, partition specs and maintenance were run on the first line alone, see above. *-*: not run.\n"
            f"Documented, and not run for want of the software or an account: {documented()}.\n"
        )
        return section("Catalogs and stores", text, ["catalog", "store", *self.titles()], rows, notes)

    def place(self, engine, catalog, store, notes):
        wanted = [self.cells.get((engine, catalog, store, subject)) for subject in [*tables.CORE, "busy"]]
        if start := self.cells.get((engine, catalog, store, "start")):
            return notes.cell(start)
        bad = [notes.cell(cell) for cell in wanted if cell and not good(cell)]
        return " ".join(dict.fromkeys(bad)) if bad else ("ok" if all(wanted) else "-")

    def writes(self):
        notes = Notes()
        every = [cell["subject"] for cell in self.results["cells"] if cell["subject"].startswith("write: ")]
        last = "write: nothing lost, nothing doubled"
        subjects = dict.fromkeys([*(subject for subject in every if subject != last), *(last for _ in every[:1])])
        engines = [name for name in self.engines if any(key[0] == name and key[3] in subjects for key in self.cells)]
        rows = []
        for subject in subjects:
            found = [self.cells.get((name, "embedded", "seaweedfs", subject)) for name in engines]
            rows.append([subject.removeprefix("write: "), *map(notes.cell, found)])
        text = (
            "What an engine does to a table that Frazil writes at the same time, some 200 events a second. `ok`: it succeeded\n"
            "(after a retry where it lost against a commit of Frazil's), and Frazil went on writing, by the new schema and\n"
            "partitioning. *tables of its own*: the catalog used without Frazil. Last row: every acknowledged event counted.\n"
            "*-*: not tried with this engine. The engines that are not here only read in this matrix. Catalog: `frazil catalog`;\n"
            "store: SeaweedFS.\n"
        )
        return section("Other writers", text, ["change", *(matrix.ENGINES[name].title for name in engines)], rows, notes)

    def reports(self):
        notes, rows = Notes(), []
        for subject in ("scans", "commits"):
            found = [self.cells.get((name, "embedded", "seaweedfs", f"reports: {subject}")) for name in self.engines]
            rows.append([subject, *map(notes.cell, found)])
        text = (
            "[Metrics reports](iceberg-metrics.md) that `frazil catalog` got and forwarded. *n equal*: n reports, as many as\n"
            "the engine logged; every field, timer and counter of the rows is what it logged, and what the report of a commit\n"
            "has in common with the summary of its snapshot is the same, too. *none sent*: it scanned, and no report came; only\n"
            "Iceberg's Java library has them, which Spark and Trino use. *-*: the engine commits nothing here.\n"
        )
        return section("Metrics reports", text, ["reports of", *self.titles()], rows, notes)


def write(results):
    """Writes the page."""
    report = Report(results)
    parts = [report.versions(), report.types(), report.shapes(), report.places(), report.writes(), report.reports()]
    PAGE.write_text((HEAD + "".join(parts)).rstrip() + "\n")
