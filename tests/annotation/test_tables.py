"""Every format in and every format out: the same notes give the same rows."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pyarrow
import pyarrow.parquet
import pytest
import sqlalchemy
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from spacy_clinical_ner.annotation.rows import OMOP, ROWS
from spacy_clinical_ner.annotation.tables import Columns, open_files, shards
from spacy_clinical_ner.errors import ClinicalNerError
from tests.annotation.tasks import (
    pipeline,
    random_notes,
    read_brat,
    read_docs,
    read_rows,
    run,
    tree,
    write_jsonl,
)

NAMES = {"jsonl": "out.jsonl", "csv": "out.csv", "parquet": "out.parquet", "sql": "out.db"}


def target(format: str, folder: Path) -> str:
    return f"sqlite:///{folder / NAMES[format]}" if format == "sql" else str(folder / NAMES[format])


def write_input(kind: str, folder: Path, notes: list) -> tuple:
    """The notes as an input of a kind; the input, and options that it needs."""
    if kind in ("jsonl", "jsonl.gz"):
        path = write_jsonl(folder / "in.jsonl", notes)
        if kind == "jsonl":
            return path, {}
        packed = folder / "in.jsonl.gz"
        packed.write_bytes(gzip.compress(path.read_bytes()))
        return packed, {}
    if kind == "folder of jsonl":
        (folder / "in").mkdir()
        write_jsonl(folder / "in" / "a.jsonl", notes[:7])
        write_jsonl(folder / "in" / "b.jsonl", notes[7:])
        return folder / "in", {}
    if kind == "csv":
        lines = [",".join(notes[0]), *(",".join('"' + v.replace('"', '""') + '"' for v in n.values()) for n in notes)]
        path = folder / "in.csv"
        path.write_bytes(("\ufeff" + "\n".join(lines) + "\n").encode("utf8"))
        return path, {}
    table = pyarrow.Table.from_pylist(notes)
    if kind == "parquet":
        pyarrow.parquet.write_table(table, folder / "in.parquet", row_group_size=4)
        return folder / "in.parquet", {}
    if kind == "folder of parquet":
        (folder / "in" / "deep").mkdir(parents=True)
        pyarrow.parquet.write_table(table[:3], folder / "in" / "a.parquet")
        pyarrow.parquet.write_table(table[3:], folder / "in" / "deep" / "b.parquet")
        (folder / "in" / "_metadata.parquet").write_bytes(b"of somebody else")
        return folder / "in", {}
    url = f"sqlite:///{folder / 'in.db'}"
    columns = [sqlalchemy.Column(name, sqlalchemy.Text) for name in notes[0]]
    rows = sqlalchemy.Table("notes", meta := sqlalchemy.MetaData(), *columns)
    engine = sqlalchemy.create_engine(url)
    with engine.begin() as connection:
        meta.create_all(connection)
        connection.execute(rows.insert(), notes)
    return url, {"table_in": "notes"} if kind == "table" else {"query": "SELECT * FROM notes WHERE ward <> 'none'"}


def expected(notes: list) -> list:
    """What the pipeline finds in notes, by itself."""
    nlp = pipeline()
    rows = []
    for note in notes:
        doc = nlp(note["text"])
        for number, ent in enumerate(doc.ents):
            rows.append((note["note_id"], f"T{number + 1}", ent.label_, ent.start_char, ent.end_char, note["ward"]))
        for number in range(len(doc.ents) - 1):
            rows.append((note["note_id"], f"R{number + 1}", f"T{number + 1}", f"T{number + 2}", note["ward"]))
    return rows


def seen(rows: list) -> list:
    mention, relation = ("note_id", "id", "label", "start", "end", "ward"), ("note_id", "id", "head", "tail", "ward")
    return [tuple(row[name] for name in (mention if row["kind"] == "mention" else relation)) for row in rows]


@pytest.mark.parametrize(
    "kind", ["jsonl", "jsonl.gz", "folder of jsonl", "csv", "parquet", "folder of parquet", "table", "query"]
)
def test_every_input(kind, tmp_path, monkeypatch):
    notes = sorted(random_notes(23), key=lambda note: note["note_id"])
    source, options = write_input(kind, tmp_path, notes)
    outcome = run(source, tmp_path / "out.jsonl", monkeypatch, format="jsonl", **options)
    assert outcome.summary.notes == 23 and not outcome.summary.n_failed
    assert seen(read_rows("jsonl", tmp_path / "out.jsonl")) == expected(notes)


text = st.text(st.characters(blacklist_categories=["Cs"], blacklist_characters="\0"), max_size=30)
ids = st.text(st.characters(whitelist_categories=["L", "Nd"]), min_size=1, max_size=8)


@settings(max_examples=12, deadline=None, suppress_health_check=[*HealthCheck])
@given(st.dictionaries(ids, st.tuples(text, text), min_size=1, max_size=12), st.booleans())
def test_every_output_has_the_same_rows(tmp_path_factory, monkeypatch, found, asked):
    folder = tmp_path_factory.mktemp("outputs")
    notes = [{"note_id": id, "text": f"{a} carcinoma {b} fiebre", "ward": "7"} for id, (a, b) in found.items()]
    source = write_jsonl(folder / "in.jsonl", notes)
    results = []
    for format in NAMES:
        run(source, target(format, folder), monkeypatch, format=format, text=asked, state=folder / format)
        results.append(read_rows(format, target(format, folder)))
    assert results[0] == results[1] == results[2] == results[3]
    assert seen(results[0]) == expected(notes)
    assert [*results[0][0]] == [*(column.name for column in ROWS), "ward"]
    texts = {note["note_id"]: note["text"] for note in notes}
    mentions = [row for row in results[0] if row["kind"] == "mention"]
    assert all(row["text"] == (texts[row["note_id"]][row["start"] : row["end"]] if asked else None) for row in mentions)


def test_docs_and_brat_hold_notes_that_can_be_read_again(tmp_path, monkeypatch):
    notes = random_notes(13)
    source = write_jsonl(tmp_path / "in.jsonl", notes)
    for name in ("docs", "one.spacy"):
        run(source, tmp_path / name, monkeypatch, format="spacy")
        assert [doc.text for doc in read_docs(tmp_path / name)] == [note["text"] for note in notes]
        run(tmp_path / name, tmp_path / f"{name}.jsonl", monkeypatch, format="jsonl")
        assert seen(read_rows("jsonl", tmp_path / f"{name}.jsonl")) == expected(notes)
    assert sorted(tree(tmp_path / "docs")) == [f"part-{number:05d}.spacy" for number in range(3)]
    run(source, tmp_path / "brat", monkeypatch, format="brat")
    assert read_brat(tmp_path / "brat") == {note["note_id"]: note["text"] for note in notes}
    run(tmp_path / "brat", tmp_path / "again.parquet", monkeypatch, format="parquet", columns=Columns())
    again = [{**row, "ward": None} for row in read_rows("parquet", tmp_path / "again.parquet")]
    assert sorted(seen(again), key=str) == sorted(((*row[:-1], None) for row in expected(notes)), key=str)


def test_a_folder_of_parts_or_one_file(tmp_path, monkeypatch):
    source = write_jsonl(tmp_path / "in.jsonl", random_notes(12))
    for format in ("jsonl", "csv", "parquet"):
        run(source, tmp_path / format, monkeypatch, format=format)
        run(source, tmp_path / f"one.{format}", monkeypatch, format=format)
        parts = sorted((tmp_path / format).iterdir())
        assert [path.name for path in parts] == [f"part-{number:05d}.{format}" for number in range(3)]
        assert [row for path in parts for row in read_rows(format, path)] == read_rows(
            format, tmp_path / f"one.{format}"
        )
    run(source, tmp_path / "packed.jsonl.gz", monkeypatch, format="jsonl")
    assert gzip.decompress((tmp_path / "packed.jsonl.gz").read_bytes()) == (tmp_path / "one.jsonl").read_bytes()


@pytest.mark.parametrize("n_process", [1, 2])
@pytest.mark.parametrize("unordered", [False, True])
def test_processes_and_order(n_process, unordered, tmp_path, monkeypatch):
    notes = random_notes(31)
    source = write_jsonl(tmp_path / "in.jsonl", notes)
    run(source, tmp_path / "out.jsonl", monkeypatch, format="jsonl", n_process=n_process, unordered=unordered)
    found = seen(read_rows("jsonl", tmp_path / "out.jsonl"))
    assert sorted(found) == sorted(expected(notes))
    assert (found == expected(notes)) is not unordered


def test_omop(tmp_path, monkeypatch):
    notes = [{**note, "note_text": note["text"]} for note in random_notes(11)]
    url = f"sqlite:///{tmp_path / 'cdm.db'}"
    source = write_jsonl(tmp_path / "in.jsonl", notes)
    engine = sqlalchemy.create_engine(url)
    with engine.begin() as connection:
        types = {
            "note_nlp_id": "INTEGER NOT NULL",
            "note_id": "INTEGER NOT NULL",
            "lexical_variant": "VARCHAR(250) NOT NULL",
        }
        columns = [f'"{column.name}" {types.get(column.name, "TEXT")}' for column in OMOP]
        connection.exec_driver_sql(f"CREATE TABLE note_nlp ({', '.join(columns)})")
        connection.exec_driver_sql("INSERT INTO note_nlp (note_nlp_id, note_id, lexical_variant) VALUES (41, 1, 'x')")
    options = {"columns": Columns("note_id", "note_text"), "schema": "omop"}
    run(source, url, monkeypatch, format="sql", state=tmp_path / "state", **options)
    with engine.connect() as connection:
        rows = [dict(row) for row in connection.execute(sqlalchemy.text("SELECT * FROM note_nlp")).mappings()]
    mentions = [row for row in expected(notes) if row[1].startswith("T")]
    texts = {note["note_id"]: note["text"] for note in notes}
    assert [(str(row["note_id"]), int(row["offset"]), row["lexical_variant"]) for row in rows[1:]] == [
        (id, start, texts[id][start:end]) for id, _, _, start, end, _ in mentions
    ]
    numbers = [row["note_nlp_id"] for row in rows]
    assert numbers[1] == 42 and len(set(numbers)) == len(numbers)
    assert {row["nlp_system"] for row in rows[1:]} == {"es_test 1.2"}
    run(source, tmp_path / "nlp.parquet", monkeypatch, format="parquet", **options)
    written = pyarrow.parquet.read_table(tmp_path / "nlp.parquet")
    assert written.num_rows == len(mentions) and written.schema.field("nlp_date").type == pyarrow.date32()


def test_nothing_in_nothing_out(tmp_path, monkeypatch):
    (tmp_path / "in.jsonl").write_text("\n")
    for name in ("jsonl", "csv", "parquet", "spacy"):
        assert run(tmp_path / "in.jsonl", tmp_path / f"out.{name}", monkeypatch, format=name).summary.notes == 0
        run(tmp_path / "in.jsonl", tmp_path / name, monkeypatch, format=name)
        assert [*(tmp_path / name).iterdir()] == []
    assert read_rows("parquet", tmp_path / "out.parquet") == read_rows("csv", tmp_path / "out.csv") == []


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 25), st.integers(1, 7))
def test_readers_begin_anywhere(tmp_path_factory, skip, size):
    folder = tmp_path_factory.mktemp("skip")
    for kind in ("jsonl", "folder of jsonl", "csv", "parquet", "folder of parquet"):
        (folder / kind).mkdir()
        source, _ = write_input(kind, folder / kind, random_notes(20))
        reader = open_files(source, Columns())
        every = [*reader.jobs()]
        assert [*reader.jobs(skip)] == every[skip:]
        parts = [*shards(iter(every), size, 40)]
        assert [job for part in parts for job in part] == every
        assert all(len(part) <= size and sum(len(job.text) for job in part[:-1]) < 40 for part in parts)


@pytest.mark.parametrize(
    "module, name, format",
    [("pyarrow.parquet", "in.parquet", "jsonl"), ("pyarrow", "in.jsonl", "parquet"), ("sqlalchemy", "in.jsonl", "sql")],
)
def test_a_missing_library_is_named(module, name, format, tmp_path, monkeypatch):
    import sys

    write_jsonl(tmp_path / "in.jsonl", random_notes(1))
    (tmp_path / "in.parquet").write_bytes(b"")
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(ClinicalNerError, match=r"is not installed: pip install 'spacy-clinical-ner\[(parquet|sql)\]'"):
        run(tmp_path / name, "sqlite://" if format == "sql" else tmp_path / "out", monkeypatch, format=format)


@pytest.mark.parametrize(
    "name, content, message",
    [
        ("in.jsonl.gz", b"not gzip", "gzip"),
        ("in.jsonl.gz", gzip.compress(b'{"note_id": 1, "text": "a"}\n' * 99, mtime=0)[:-9], "gzip"),
        ("in.parquet", b"PAR1 of somebody else", "Parquet"),
        ("in.spacy", b"of somebody else", ".spacy"),
        ("in.csv", b"note_id,body\n1,x\n", "no column 'text'"),
        ("in.xlsx", b"", "not a .txt file"),
    ],
)
def test_input_that_cannot_be_read(name, content, message, tmp_path, monkeypatch):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ClinicalNerError, match=message):
        run(tmp_path / name, tmp_path / "out.jsonl", monkeypatch, format="jsonl", columns=Columns())
    assert not (tmp_path / "out.jsonl").exists()


def test_types_of_carried_columns(tmp_path, monkeypatch):
    import datetime

    note = {"note_id": 7, "text": "carcinoma", "n": 3, "day": datetime.date(2026, 1, 2), "x": 0.5, "list": [1]}
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist([note]), tmp_path / "in.parquet")
    columns = Columns(carried=("n", "day", "x", "list"))
    for format in ("parquet", "jsonl"):
        run(tmp_path / "in.parquet", tmp_path / f"out.{format}", monkeypatch, format=format, columns=columns)
    [row] = read_rows("parquet", tmp_path / "out.parquet")
    assert {name: row[name] for name in columns.carried} == {"n": 3, "day": note["day"], "x": 0.5, "list": "[1]"}
    [row] = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    assert (row["n"], row["day"]) == (3, "2026-01-02")
