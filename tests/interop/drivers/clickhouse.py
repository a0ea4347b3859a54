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

        # Its strings are bytes: Iceberg's string and binary columns are both such.
        settings = "output_format_arrow_string_as_string = 0, session_timezone = 'UTC'"
        answer = self.session.query(f"{text} SETTINGS {settings}", "Arrow").bytes()
        return pa.ipc.open_file(answer).read_all()

    def read(self, table, columns):
        names = ", ".join(f"`{column}`" for column in columns)
        kinds = {field["name"]: field["type"] for field in self.schemas[table]["fields"]}
        rows = rows_of(self.query(f"SELECT {names} FROM lake.`interop.{table}`"))
        return [{name: texts(value, kinds[name]) for name, value in row.items()} for row in rows]

    def totals(self, table):
        row = self.query(f"SELECT count() c, sum(row) s, sum(amount) a FROM lake.`interop.{table}`").to_pylist()[0]
        return row["c"], row["s"], row["a"]


def texts(value, kind):
    """A value with the bytes of its string columns as text."""
    if value is None or isinstance(kind, str):
        return value.decode() if kind == "string" and value is not None else value
    if kind["type"] == "struct":
        return {field["name"]: texts(value[field["name"]], field["type"]) for field in kind["fields"]}
    if kind["type"] == "list":
        return [texts(item, kind["element"]) for item in value]
    return [(texts(key, kind["key"]), texts(item, kind["value"])) for key, item in value]


if __name__ == "__main__":
    run(ClickHouse)
