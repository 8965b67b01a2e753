"""OMOP's NOTE in, NOTE_NLP out, in PostgreSQL. Skipped by name without its programs or its driver."""

from __future__ import annotations

import multiprocessing
import os
import signal

import pytest
import sqlalchemy

from benchmarks.annotation.postgres import postgres, programs
from spacy_clinical_ner.annotation.database import SqlOutput, connect
from spacy_clinical_ner.annotation.tables import Columns
from spacy_clinical_ner.errors import ClinicalNerError
from tests.annotation.tasks import random_notes, run

pytest.importorskip("psycopg", reason="PostgreSQL needs psycopg")
BIN = programs()
if BIN is None:
    pytest.skip("PostgreSQL is not installed", allow_module_level=True)

NOTE = """
CREATE SCHEMA cdm;
CREATE TABLE cdm.note (
  note_id integer PRIMARY KEY, person_id integer NOT NULL, note_date date, note_text text NOT NULL);
CREATE TABLE cdm.note_nlp (
  note_nlp_id integer PRIMARY KEY, note_id integer NOT NULL, section_concept_id integer NULL, snippet varchar(250) NULL,
  "offset" varchar(50) NULL, lexical_variant varchar(250) NOT NULL, note_nlp_concept_id integer NULL,
  note_nlp_source_concept_id integer NULL, nlp_system varchar(250) NULL, nlp_date date NOT NULL,
  nlp_datetime timestamp NULL, term_exists varchar(1) NULL, term_temporal varchar(50) NULL,
  term_modifiers varchar(2000) NULL);
"""
OPTIONS = {
    "format": "sql", "schema": "omop", "table_in": "cdm.note", "table_out": "cdm.note_nlp",
    "columns": Columns("note_id", "note_text"),
}  # fmt: skip


@pytest.fixture(scope="module")
def server():
    with postgres(BIN) as url:
        yield url


@pytest.fixture()
def database(server):
    """An empty common data model with 40 notes."""
    engine = sqlalchemy.create_engine(server)
    notes = [{"note_id": int(note["note_id"]), "person_id": 1, "note_text": note["text"]} for note in random_notes(40)]
    with engine.begin() as connection:
        connection.exec_driver_sql("DROP SCHEMA IF EXISTS cdm CASCADE")
        connection.exec_driver_sql(NOTE)
        insert = "INSERT INTO cdm.note (note_id, person_id, note_text) VALUES (:note_id, :person_id, :note_text)"
        connection.execute(sqlalchemy.text(insert), notes)
    return server


def found(url: str) -> list:
    query = 'SELECT note_nlp_id, note_id, "offset", lexical_variant, term_modifiers FROM cdm.note_nlp ORDER BY 1'
    with sqlalchemy.create_engine(url).connect() as connection:
        return [tuple(row) for row in connection.execute(sqlalchemy.text(query))]


def clear(url: str) -> None:
    with sqlalchemy.create_engine(url).begin() as connection:
        connection.exec_driver_sql("DELETE FROM cdm.note_nlp")


def killed_in_commit(number: int, url: str, options: dict) -> None:
    """Run, and die when a part has been written but not committed."""
    original = sqlalchemy.engine.Connection.execute
    count = 0

    def execute(self, statement, *rest, **options):
        nonlocal count
        result = original(self, statement, *rest, **options)
        if "INSERT INTO cdm.note_nlp" in str(statement):
            count += 1
            if count == number:
                os.kill(os.getpid(), signal.SIGKILL)
        return result

    sqlalchemy.engine.Connection.execute = execute  # type: ignore[method-assign]
    run(url, url, **options)


def test_killed_and_counted(database, tmp_path, monkeypatch):
    run(database, database, monkeypatch, state=tmp_path / "whole", **OPTIONS)
    whole = found(database)
    assert len({row[0] for row in whole}) == len(whole) > 20
    clear(database)
    options = {**OPTIONS, "state": tmp_path / "killed"}
    for number in (3, 2):
        context = multiprocessing.get_context("fork")
        process = context.Process(target=killed_in_commit, args=(number, database, options))
        process.start()
        process.join()
        assert process.exitcode == -signal.SIGKILL
        assert 0 < len(found(database)) < len(whole)
    outcome = run(database, database, monkeypatch, **options)
    assert found(database) == whole
    assert outcome.summary.notes == 40
    again = run(database, database, monkeypatch, **options)
    assert again.already and found(database) == whole


def test_a_part_is_written_once(database, tmp_path, monkeypatch):
    """Also where the lock of the folder does not hold: on another machine, say."""
    outputs = []
    original = SqlOutput.commit

    def commit(self, record, made):
        outputs.append(self)
        original(self, record, made)
        original(self, record, made)

    monkeypatch.setattr(SqlOutput, "commit", commit)
    with pytest.raises(ClinicalNerError, match="the database refuses: UniqueViolation") as told:
        run(database, database, monkeypatch, state=tmp_path / "run", **OPTIONS)
    assert "carcinoma" not in str(told.value) and outputs


def test_notes_that_came_meanwhile_are_another_input(database, tmp_path, monkeypatch):
    options = {**OPTIONS, "state": tmp_path / "run"}
    run(database, database, monkeypatch, **options)
    with sqlalchemy.create_engine(database).begin() as connection:
        connection.exec_driver_sql("INSERT INTO cdm.note VALUES (1000, 1, NULL, 'tos')")
    with pytest.raises(ClinicalNerError, match="another input"):
        run(database, database, monkeypatch, **options)
    query = {**OPTIONS, "table_in": None, "query": "SELECT * FROM cdm.note WHERE note_id >= 1000"}
    assert run(database, database, monkeypatch, state=tmp_path / "more", **query).summary.notes == 1


def test_what_a_database_refuses_is_one_line(database, tmp_path, monkeypatch):
    for options, message in (
        ({"table_in": "cdm.nothing"}, "no such table: cdm.nothing"),
        ({"columns": Columns("note_id", "body")}, "no column 'body'"),
        ({"columns": Columns("person_id", "note_text")}, "person_id must be unique"),
        ({"table_in": None, "query": "SELECT nothing"}, "the database refuses: UndefinedColumn"),
        ({"table_out": "cdm.note"}, "no column 'note_nlp_id' in cdm.note"),
        ({"table_in": None}, "name the table"),
    ):
        with pytest.raises(ClinicalNerError, match=message) as told:
            run(database, database, monkeypatch, state=tmp_path / "run", **{**OPTIONS, **options})
        assert "\n" not in str(told.value)
    for url in ("postgresql+psycopg://u:secret@127.0.0.1:1/x", "nodialect://secret@x/y", "sqlite+nodriver:///x"):
        with pytest.raises(ClinicalNerError) as told:
            connect(url)
        assert "secret" not in str(told.value) and "\n" not in str(told.value)
