"""PyIceberg with pyarrow: the reference reading."""

from arrow_rows import rows_of
from driver import Driver, run


class PyIceberg(Driver):
    def connect(self, setup):
        names = {}
        exec(setup, names)
        self.catalog = names["catalog"]

    def version(self):
        import pyiceberg

        return pyiceberg.__version__

    def scan(self, table, **options):
        return self.catalog.load_table(f"interop.{table}").scan(**options)

    def read(self, table, columns):
        return rows_of(self.scan(table, selected_fields=tuple(columns)).to_arrow())

    def totals(self, table):
        import pyarrow.compute as pc

        rows = self.scan(table).to_arrow()
        return rows.num_rows, pc.sum(rows["row"]).as_py(), pc.sum(rows["amount"]).as_py()

    def pruned(self, table, low, high):
        scan = self.scan(table, row_filter=f"at >= '{iso(low)}' and at < '{iso(high)}'")
        files, total = len(list(scan.plan_files())), len(list(self.scan(table).plan_files()))
        return {"rows": scan.to_arrow().num_rows, "files": files, "of": total}


def iso(text):
    return text.replace(" ", "T") + "+00:00"


if __name__ == "__main__":
    run(PyIceberg)
