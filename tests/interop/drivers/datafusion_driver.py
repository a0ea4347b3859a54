"""DataFusion with the table provider of Iceberg's Rust library, on PyIceberg's metadata."""

from arrow_rows import rows_of
from driver import Driver, run


class DataFusion(Driver):
    def connect(self, setup):
        names = {}
        exec(setup, names)
        self.session = names["session"]

    def version(self):
        import datafusion

        return datafusion.__version__

    def query(self, table, what):
        # A data frame is of use only as long as its session.
        session = self.session(f"interop.{table}")
        return session.sql(f"SELECT {what} FROM {table}").to_arrow_table()

    def read(self, table, columns):
        return rows_of(self.query(table, ", ".join(f'"{column}"' for column in columns)))

    def totals(self, table):
        return tuple(self.query(table, 'count(*) AS c, sum("row") AS r, sum("amount") AS a').to_pylist()[0].values())


if __name__ == "__main__":
    run(DataFusion)
