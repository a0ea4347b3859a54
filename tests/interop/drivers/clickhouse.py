"""ClickHouse, embedded (chDB), with its data lake catalog."""

from arrow_rows import rows_of
from driver import Driver, run


class ClickHouse(Driver):
    def connect(self, setup):
        from chdb import session

        self.session = session.Session()
        for statement in setup.split(";"):
            if statement.strip():
                self.session.query(statement)

    def version(self):
        return str(self.session.query("SELECT version()")).strip().strip('"')

    def query(self, text):
        import pyarrow as pa

        settings = "output_format_arrow_string_as_string = 1, session_timezone = 'UTC'"
        answer = self.session.query(f"{text} SETTINGS {settings}", "Arrow").bytes()
        return pa.ipc.open_file(answer).read_all()

    def read(self, table, columns):
        names = ", ".join(f"`{column}`" for column in columns)
        rows = rows_of(self.query(f"SELECT {names} FROM lake.`interop.{table}`"))
        return rows

    def totals(self, table):
        row = self.query(f"SELECT count() c, sum(row) s, sum(amount) a FROM lake.`interop.{table}`").to_pylist()[0]
        return row["c"], row["s"], row["a"]


if __name__ == "__main__":
    run(ClickHouse)
