"""Outputs in files and folders: rows as JSONL, CSV or Parquet, spaCy's DocBin, BRAT. Databases: `database`.

An output is written in parts. A worker makes a part (`shard`), the process that started it takes it over in order
(`commit`), and at the end what was made is put together (`finish`). Each of these may be cut short at any moment and
done again.
"""

from __future__ import annotations

import csv
import gzip
import io
import json
import os
import shutil
from abc import ABC, abstractmethod
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any, Callable, ContextManager, Dict, Iterator, List, Mapping, NamedTuple, Optional, Sequence, Tuple

from spacy.tokens import Doc, DocBin

from spacy_clinical_ner.annotation.notes import written
from spacy_clinical_ner.annotation.piping import Job
from spacy_clinical_ner.annotation.rows import OMOP, ROWS, Column, Row, flat, note_rows, omop_rows
from spacy_clinical_ner.annotation.runs import Record, Run
from spacy_clinical_ner.annotation.tables import NOTE_KEY, needed
from spacy_clinical_ner.brat import BratDocument
from spacy_clinical_ner.errors import InputError
from spacy_clinical_ner.files import replacing

Write = Callable[[Job, Doc, BratDocument], Optional[InputError]]
# Numbers of rows that a shard may use: gaps between shards, so that no number depends on another shard.
_NUMBERS = 200_000


class RowMaker(NamedTuple):
    """How rows are made of a note.

    schema: "rows" or "omop". text: with the text of mentions. types: of the carried columns. system, began: name and
    version of the pipeline, and when the run began, for OMOP. first: number of OMOP's first row.
    """

    schema: str = "rows"
    text: bool = False
    spans_key: str = "sc"
    types: Mapping[str, type] = {}
    system: str = ""
    began: datetime = datetime(1970, 1, 1)
    first: int = 1

    @property
    def columns(self) -> Tuple[Column, ...]:
        own = OMOP if self.schema == "omop" else ROWS
        return own + tuple(Column(name, kind, False, "carried along") for name, kind in self.types.items())

    @property
    def with_text(self) -> bool:
        return self.text or self.schema == "omop"

    def carried(self, job: Job) -> Row:
        """The carried columns of a note."""
        return {name: _typed(job.columns.get(name), kind) for name, kind in self.types.items()}

    def rows(self, job: Job, doc: Doc, document: BratDocument) -> List[Row]:
        """The rows of a note, as `note_rows` gives them."""
        columns, text = self.carried(job), self.with_text
        return note_rows(doc, job.id, spans_key=self.spans_key, text=text, document=document, columns=columns)


def _typed(value: Any, kind: type) -> Any:
    """A carried value; where the input has no types, columns are text."""
    if kind is not str or value is None or isinstance(value, str):
        return value
    return json.dumps(value, ensure_ascii=False, default=str)


class RowCollector:
    """The rows of a shard."""

    def __init__(self, maker: RowMaker, number: int) -> None:
        self.maker = maker
        self.number = number
        self.rows: List[Row] = []

    def __call__(self, job: Job, doc: Doc, document: BratDocument) -> Optional[InputError]:
        return self.add(job, self.maker.rows(job, doc, document))

    def add(self, job: Job, rows: List[Row]) -> Optional[InputError]:
        """Add the rows of a note, as `note_rows` gives them; the error of a note that has none in this schema."""
        maker = self.maker
        if maker.schema != "omop":
            self.rows += rows
            return None
        if len(self.rows) + len(rows) > _NUMBERS:
            raise InputError(job.id, None, f"more than {_NUMBERS:,} rows in one part of the output")
        try:
            first = maker.first + self.number * _NUMBERS + len(self.rows)
            self.rows += omop_rows(rows, first, maker.system, maker.began)
        except ValueError:
            return job.failure("its id is not an integer, as OMOP's note_id must be")
        return None


class Shard(NamedTuple):
    """A part that is being made: what is given each of its notes, and what is taken over by `commit` (in its list)."""

    write: Write
    made: List[Any]


class Output(ABC):
    """Where the results of a run go."""

    def __init__(self, run: Run) -> None:
        self.run = run

    @abstractmethod
    def shard(self, number: int) -> ContextManager[Shard]:
        """Make a part; in a worker. It is there as a whole when the block has ended, or not at all."""

    def done(self) -> List[Record]:
        """Records of the parts that were taken over."""
        return self.run.done()

    def commit(self, record: Record, made: List[Any]) -> None:
        """Take a part over; `record` says what is in it."""
        self.run.add(record)

    @abstractmethod
    def finish(self, parts: int) -> None:
        """All parts were taken over: put the output where it belongs."""


class RowFormat(NamedTuple):
    """How rows are written into a file, and how files are put together."""

    write: Callable[[Path, Sequence[Row], Sequence[Column], bool], None]
    join: Callable[[Sequence[Path], Path, Sequence[Column]], None]


class FileOutput(Output):
    """A file, or a folder of parts if the target has no ending of a file."""

    def __init__(self, run: Run, target: Path, ending: str, single: bool) -> None:
        super().__init__(run)
        self.target = target
        self.ending = ending
        self.single = single

    def part(self, number: int) -> Path:
        return self.run.shards / f"part-{number:05d}{self.ending}"

    def finish(self, parts: int) -> None:
        paths = [self.part(number) for number in range(parts)]
        if self.single:
            with replacing(self.target) as temporary:
                self.join(paths, temporary)
        elif not parts:
            self.target.mkdir(parents=True, exist_ok=True)
        elif self.run.shards.exists():  # else a run that was killed had put it there already
            for path in set(self.run.shards.iterdir()) - set(paths):  # of a run that was killed
                shutil.rmtree(path) if path.is_dir() else path.unlink()
            with replacing(self.target) as temporary:
                self.run.shards.rename(temporary)

    @abstractmethod
    def join(self, paths: Sequence[Path], target: Path) -> None:
        """Put parts together, one after the other."""


class RowOutput(FileOutput):
    """Rows as JSONL, CSV or Parquet."""

    def __init__(self, run: Run, target: Path, ending: str, single: bool, maker: RowMaker) -> None:
        super().__init__(run, target, ending, single)
        self.maker = maker
        self.format = _ROW_FORMATS[ending.partition(".gz")[0]]

    @contextmanager
    def shard(self, number: int) -> Iterator[Shard]:
        collector = RowCollector(self.maker, number)
        yield Shard(collector, [])
        with replacing(self.part(number)) as temporary:
            self.format.write(temporary, collector.rows, self.maker.columns, not self.single)

    def join(self, paths: Sequence[Path], target: Path) -> None:
        self.format.join(paths, target, self.maker.columns)


class DocBinOutput(FileOutput):
    """Docs as spaCy saves them; id and carried columns of a note are in `doc.user_data["spacy_clinical_ner.note"]`."""

    @contextmanager
    def shard(self, number: int) -> Iterator[Shard]:
        box = DocBin(store_user_data=True)

        def write(job: Job, doc: Doc, document: BratDocument) -> None:
            doc.user_data[NOTE_KEY] = {"id": job.id, "columns": {k: _plain(v) for k, v in job.columns.items()}}
            box.add(doc)

        yield Shard(write, [])
        with replacing(self.part(number)) as temporary:
            temporary.write_bytes(box.to_bytes())

    def join(self, paths: Sequence[Path], target: Path) -> None:
        whole = DocBin(store_user_data=True)
        for path in paths:
            whole.merge(DocBin(store_user_data=True).from_disk(path))
        target.write_bytes(whole.to_bytes())


def _plain(value: Any) -> Any:
    return value if isinstance(value, (str, int, float, type(None))) else _typed(value, str)


class BratOutput(Output):
    """Notes with their .ann beside them, under their ids. They are moved there when their part is taken over."""

    def __init__(self, run: Run, target: Path, overwrite: bool) -> None:
        super().__init__(run)
        self.target = target
        self.overwrite = overwrite

    def _staging(self, number: int) -> Path:
        return self.run.shards / f"part-{number:05d}"

    @contextmanager
    def shard(self, number: int) -> Iterator[Shard]:
        with replacing(self._staging(number)) as temporary:
            temporary.mkdir()

            def write(job: Job, doc: Doc, document: BratDocument) -> Optional[InputError]:
                path = Path(f"{job.id}.txt")
                if job.path is None and not _is_name(job.id):
                    return job.failure("its id cannot be the name of a file")
                target = temporary / path
                before = () if self.overwrite else (self.target / path,)
                if any(map(os.path.lexists, (target, *before))):
                    return job.failure("a note of this name is there already")
                return written(job._replace(target=target), doc, document)

            yield Shard(write, [])

    def commit(self, record: Record, made: List[Any]) -> None:
        super().commit(record, made)
        self._move(record["shard"])

    def done(self) -> List[Record]:
        records = super().done()
        for record in records[-1:]:  # a run that was killed may not have moved all of it
            self._move(record["shard"])
        return records

    def _move(self, number: int) -> None:
        staging = self._staging(number)
        for path in sorted(path for path in staging.rglob("*") if path.is_file()):
            target = self.target / path.relative_to(staging)
            target.parent.mkdir(parents=True, exist_ok=True)
            os.replace(path, target)
        shutil.rmtree(staging, ignore_errors=True)

    def finish(self, parts: int) -> None:
        pass


def _is_name(id: str) -> bool:
    """Whether an id can be a path below a folder, and the only such path of a note."""
    path = Path(id)
    return id == str(path) != "." and not path.is_absolute() and ".." not in path.parts and "\0" not in id


def _write_jsonl(path: Path, rows: Sequence[Row], columns: Sequence[Column], header: bool) -> None:
    lines = "".join(json.dumps(row, ensure_ascii=False, default=str) + "\n" for row in rows)
    _write_text(path, lines)


def _write_csv(path: Path, rows: Sequence[Row], columns: Sequence[Column], header: bool) -> None:
    lines = io.StringIO(newline="")
    table = csv.writer(lines, lineterminator="\n")
    if header:
        table.writerow(column.name for column in columns)
    table.writerows([flat(row)[column.name] for column in columns] for row in rows)
    _write_text(path, lines.getvalue())


def _write_text(path: Path, text: str) -> None:
    data = text.encode("utf8", "backslashreplace")
    # No time and no name in the header of gzip: the same rows are the same bytes.
    path.write_bytes(gzip.compress(data, mtime=0) if path.suffix == ".gz" else data)


def _join_jsonl(paths: Sequence[Path], target: Path, columns: Sequence[Column]) -> None:
    with target.open("ab") as whole:
        for path in paths:
            with path.open("rb") as part:
                shutil.copyfileobj(part, whole)


def _join_csv(paths: Sequence[Path], target: Path, columns: Sequence[Column]) -> None:
    _write_csv(target, [], columns, True)
    _join_jsonl(paths, target, columns)


def _write_parquet(path: Path, rows: Sequence[Row], columns: Sequence[Column], header: bool) -> None:
    arrow, parquet = needed("pyarrow", "parquet"), needed("pyarrow.parquet", "parquet")
    parquet.write_table(arrow.Table.from_pylist(list(rows), schema=arrow_schema(columns)), path)


def _join_parquet(paths: Sequence[Path], target: Path, columns: Sequence[Column]) -> None:
    parquet = needed("pyarrow.parquet", "parquet")
    with parquet.ParquetWriter(target, arrow_schema(columns)) as whole:
        for path in paths:
            whole.write_table(parquet.read_table(path, use_threads=False))


def arrow_schema(columns: Sequence[Column]) -> Any:
    """pyarrow's schema of a table."""
    import datetime as dates

    arrow = needed("pyarrow", "parquet")
    types: Dict[type, Any] = {
        str: arrow.string(), int: arrow.int64(), float: arrow.float64(), bool: arrow.bool_(),
        list: arrow.list_(arrow.list_(arrow.int64())), dates.date: arrow.date32(), datetime: arrow.timestamp("us"),
    }  # fmt: skip
    # Spark knows of no columns that are never null, and refuses other tables than announced.
    return arrow.schema([arrow.field(column.name, types[column.type]) for column in columns])


_ROW_FORMATS = {
    ".jsonl": RowFormat(_write_jsonl, _join_jsonl),
    ".csv": RowFormat(_write_csv, _join_csv),
    ".parquet": RowFormat(_write_parquet, _join_parquet),
}
ENDINGS = {"jsonl": ".jsonl", "csv": ".csv", "parquet": ".parquet", "spacy": ".spacy"}


def open_output(run: Run, format: str, target: Path, maker: RowMaker, *, overwrite: bool = False) -> Output:
    """The output in a format: "brat", or one of `ENDINGS` as a file if the target ends so (JSONL and CSV also with
    .gz), else as a folder of parts.
    """
    if format == "brat":
        return BratOutput(run, target, overwrite)
    ending, single = ending_of(format, target)
    if format == "spacy":
        return DocBinOutput(run, target, ending, single)
    return RowOutput(run, target, ending, single, maker)


def ending_of(format: str, target: Path) -> Tuple[str, bool]:
    """The ending of files of a format, and whether the target is to be one of them."""
    ending = ENDINGS[format]
    packed = ending + ".gz"
    if format in ("jsonl", "csv") and target.name.lower().endswith(packed):
        return packed, True
    return ending, target.suffix.lower() == ending
