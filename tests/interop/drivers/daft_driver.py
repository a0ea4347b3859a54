"""Daft with its own Parquet reader, on PyIceberg's metadata."""

from arrow_rows import rows_of
from driver import Driver, run


class Daft(Driver):
    def connect(self, setup):
        names = {}
        exec(setup, names)
        self.frame = names["read"]

    def version(self):
        import daft

        return daft.__version__

    def read(self, table, columns):
        return rows_of(self.frame(f"interop.{table}").select(*columns).to_arrow())

    def totals(self, table):
        from daft import col

        frame = self.frame(f"interop.{table}")
        found = frame.agg(col("kind").count("all").alias("c"), col("row").sum(), col("amount").sum()).to_pydict()
        return found["c"][0], found["row"][0], found["amount"][0]


if __name__ == "__main__":
    run(Daft)
