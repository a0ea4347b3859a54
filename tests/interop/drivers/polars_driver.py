"""Polars with its native Iceberg reader."""

from arrow_rows import rows_of
from driver import Driver, run


class Polars(Driver):
    def connect(self, setup):
        names = {}
        exec(setup, names)
        self.frame = names["read"]

    def version(self):
        import polars

        return polars.__version__

    def read(self, table, columns):
        return rows_of(self.frame(f"interop.{table}").select(columns).collect().to_arrow(), self.schemas.get(table))

    def totals(self, table):
        import polars

        column = polars.col
        frame = self.frame(f"interop.{table}").select(polars.len(), column("row").sum(), column("amount").sum()).collect()
        return frame.row(0)


if __name__ == "__main__":
    run(Polars)
