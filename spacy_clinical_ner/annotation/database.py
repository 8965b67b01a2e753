"""Notes of a database, and rows into one, by SQLAlchemy."""

from __future__ import annotations

import json
from contextlib import contextmanager
from datetime import date, datetime
from typing import Any, Dict, Iterator, List, Optional

from spacy_clinical_ner.annotation.rows import flat
from spacy_clinical_ner.annotation.runs import Record, Run
from spacy_clinical_ner.annotation.tables import Columns, Jobs, Reader, needed
from spacy_clinical_ner.annotation.writers import Output, RowCollector, RowMaker, Shard
from spacy_clinical_ner.errors import ClinicalNerError

_BATCH = 200  # rows of a query in memory
_SHARDS = "clinical_ner_shards"  # the table that says which parts of which runs are in the database
_KINDS = {
    str: "Text",
    int: "BigInteger",
    float: "Float",
    bool: "Boolean",
    list: "Text",
    date: "Date",
    datetime: "DateTime",
}


def connect(url: str) -> Any:
    """An engine. Raises ClinicalNerError, one line without password, if there is no such database or driver."""
    sql = needed("sqlalchemy", "sql")
    try:
        engine = sql.create_engine(url)
        with engine.connect():
            return engine
    except ModuleNotFoundError as error:
        raise ClinicalNerError(f"{shown(url)}: its driver {error.name} is not installed: pip install it") from None
    except sql.exc.ArgumentError:
        raise ClinicalNerError("not the URL of a database, such as postgresql+psycopg://host/name") from None
    except sql.exc.SQLAlchemyError as error:
        raise ClinicalNerError(f"{shown(url)}: cannot be opened: {type(error).__name__}") from None


def shown(url: str) -> str:
    """The URL without its password."""
    return needed("sqlalchemy", "sql").engine.make_url(url).render_as_string(hide_password=True)


@contextmanager
def _told(where: str) -> Iterator[None]:
    """Errors of a database on one line: what they say may quote rows, so it is kept back."""
    sql = needed("sqlalchemy", "sql")
    try:
        yield
    except sql.exc.SQLAlchemyError as error:
        kind = type(getattr(error, "orig", None) or error).__name__
        raise ClinicalNerError(f"{where}: the database refuses: {kind}") from None


def _table(engine: Any, name: str) -> Any:
    """A table as the database has it; the name may be SCHEMA.NAME."""
    sql = needed("sqlalchemy", "sql")
    schema, _, table = name.rpartition(".")
    try:
        return sql.Table(table, sql.MetaData(), schema=schema or None, autoload_with=engine)
    except sql.exc.NoSuchTableError:
        where = engine.url.render_as_string(hide_password=True)
        raise ClinicalNerError(f"{where}: no such table: {name}") from None


class SqlReader(Reader):
    """The rows of a table or query, in the order of their ids, which must be unique."""

    def __init__(self, url: str, columns: Columns, *, table: Optional[str] = None, query: Optional[str] = None) -> None:
        if (table is None) == (query is None):
            raise ClinicalNerError(f"{shown(url)}: name the table that holds the notes (--from), or give a --query")
        sql = needed("sqlalchemy", "sql")
        self.where = shown(url)
        self.columns = columns
        self.origin = table or query
        self.engine = connect(url)
        with _told(self.where):
            if table is not None:
                source = _table(self.engine, table)
                columns.check(source.c.keys(), f"{self.where}, table {table}")
                self.types = {name: _python_type(source.c[name].type) for name in columns.carried}
            else:
                source = sql.text(query).columns(*map(sql.column, columns.all)).subquery("notes")
                self.types = dict.fromkeys(columns.carried, str)
            chosen = [source.c[name] for name in columns.all]
            self._select = sql.select(*chosen).order_by(source.c[columns.id])
            id, function = source.c[columns.id], sql.func
            counts = sql.select(function.count(), function.count(id.distinct()), function.min(id), function.max(id))
            with self.engine.connect() as connection:
                self.n_rows, distinct, *ends = connection.execute(counts.select_from(source)).one()
        if distinct != self.n_rows:
            raise ClinicalNerError(f"{self.where}: {columns.id} must be unique and never null, to tell notes apart")
        self.ends = [str(end) for end in ends]

    def jobs(self, skip: int = 0) -> Jobs:
        with _told(self.where), self.engine.connect() as connection:
            options = {"stream_results": True, "max_row_buffer": _BATCH, "yield_per": _BATCH}
            for row in connection.execution_options(**options).execute(self._select.offset(skip)).mappings():
                yield self.columns.job(dict(row), "a row")

    def fingerprint(self) -> Dict[str, Any]:
        return {"url": self.where, "from": self.origin, "rows": self.n_rows, "ends": self.ends}

    def total(self, read: int) -> Optional[int]:
        return self.n_rows


def _python_type(kind: Any) -> type:
    try:
        found = kind.python_type
    except NotImplementedError:
        return str
    return found if found in _KINDS else str


class SqlOutput(Output):
    """Rows of a table, which is made if there is none. A part and the record of it are written in one transaction."""

    def __init__(self, run: Run, url: str, name: str, maker: RowMaker) -> None:
        super().__init__(run)
        self.where = shown(url)
        self.url = url
        self.name = name
        self.maker = maker
        self._tables: Any = None

    def __getstate__(self) -> Dict[str, Any]:
        return {**self.__dict__, "_tables": None}  # workers make rows, and write none

    def _opened(self) -> Any:
        """Engine, the table of rows and that of finished parts."""
        if self._tables is None:
            sql = needed("sqlalchemy", "sql")
            engine = connect(self.url)
            schema, _, name = self.name.rpartition(".")
            meta = sql.MetaData(schema=schema or None)
            columns = [sql.Column(each.name, getattr(sql, _KINDS[each.type])) for each in self.maker.columns]
            rows = sql.Table(name, meta, *columns)
            key = {"primary_key": True, "autoincrement": False}
            shards = sql.Table(
                _SHARDS, meta, sql.Column("run", sql.String(16), **key), sql.Column("shard", sql.Integer, **key),
                sql.Column("record", sql.Text, nullable=False),
            )  # fmt: skip
            with _told(self.where):
                meta.create_all(engine)
                there = _table(engine, self.name).c
            missing = [each.name for each in self.maker.columns if each.name not in there]
            if missing:
                raise ClinicalNerError(f"{self.where}: no column {missing[0]!r} in {self.name}: name another --table")
            self._tables = engine, rows, shards
        return self._tables

    @contextmanager
    def shard(self, number: int) -> Iterator[Shard]:
        collector = RowCollector(self.maker, number)
        made: List[Any] = []
        yield Shard(collector, made)
        made += map(flat, collector.rows)

    def done(self) -> List[Record]:
        engine, _, shards = self._opened()
        sql = needed("sqlalchemy", "sql")
        found = sql.select(shards.c.record).where(shards.c.run == self.run.id).order_by(shards.c.shard)
        with _told(self.where), engine.connect() as connection:
            return [json.loads(record) for record in connection.execute(found).scalars()]

    def commit(self, record: Record, made: List[Any]) -> None:
        engine, rows, shards = self._opened()
        with _told(self.where), engine.begin() as connection:
            # First, as it fails if another run has written this part.
            mark = {"run": self.run.id, "shard": record["shard"], "record": json.dumps(record)}
            connection.execute(shards.insert(), mark)
            if made:
                connection.execute(rows.insert(), made)

    def finish(self, parts: int) -> None:
        pass


def first_number(url: str, name: str) -> int:
    """One more than the largest note_nlp_id of a table; 1 if there is none."""
    sql = needed("sqlalchemy", "sql")
    engine = connect(url)
    schema, _, table = name.rpartition(".")
    with _told(shown(url)):
        if not sql.inspect(engine).has_table(table, schema=schema or None):
            return 1
        columns = _table(engine, name).c
        if "note_nlp_id" not in columns:  # which is refused when it is to be written
            return 1
        with engine.connect() as connection:
            return 1 + (connection.execute(sql.select(sql.func.max(columns["note_nlp_id"]))).scalar() or 0)
