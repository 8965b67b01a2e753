"""The service: the rows of `annotate`, refusals in words, and no word of a note anywhere else."""

from __future__ import annotations

import json
import logging
import threading

import pytest

pytest.importorskip("fastapi")
pytest.importorskip("httpx")
from fastapi.testclient import TestClient

from spacy_clinical_ner.annotation import words
from spacy_clinical_ner.annotation.piping import Job
from spacy_clinical_ner.annotation.rows import ROWS
from spacy_clinical_ner.annotation.tables import Columns
from spacy_clinical_ner.service import app as module
from spacy_clinical_ner.service.app import create_app
from spacy_clinical_ner.service.worker import Busy, Worker
from tests.annotation.tasks import pipeline, random_notes, read_rows, run, write_jsonl

SENTINEL = "Sentinela-47"
NOTE = "niño con fiebre tras carcinoma 😀 fiebre"


@pytest.fixture()
def client():
    with TestClient(create_app(pipeline(), max_bytes=100_000)) as client:
        yield client


def test_rows_are_those_of_annotate(client, tmp_path, monkeypatch):
    notes = [{"note_id": row["note_id"], "text": row["text"]} for row in random_notes(40)]
    source = write_jsonl(tmp_path / "in.jsonl", [{**note, "ward": "w"} for note in notes])
    run(source, tmp_path / "out.jsonl", monkeypatch, format="jsonl", text=True, columns=Columns())
    expected = read_rows("jsonl", tmp_path / "out.jsonl")
    assert {row["kind"] for row in expected} == {"mention", "relation"}
    found = client.post("/annotate/batch?text=true", json={"notes": notes}).json()
    assert found == {"rows": expected, "errors": []}
    one_by_one = [row for note in notes for row in client.post("/annotate?text=true", json=note).json()["rows"]]
    assert one_by_one == expected


def test_text_only_if_asked_for_and_all_columns(client):
    rows = client.post("/annotate", json={"text": NOTE}).json()["rows"]
    assert all([*row] == [column.name for column in ROWS] for row in rows)
    assert [(row["id"], row["text"], row["note_id"]) for row in rows] == [
        (id, None, "note") for id in ("T1", "T2", "T3", "R1", "R2")
    ]
    assert NOTE[rows[2]["start"] : rows[2]["end"]] == "fiebre", "offsets are those of Python"


def test_threshold_and_brat(client):
    rows = client.post("/annotate?threshold=0.22", json={"text": NOTE}).json()["rows"]
    assert [(row["id"], row["confidence"]) for row in rows] == [("T1", 1 / 3), ("T2", 1 / 4)]
    ann = client.post("/annotate/brat?threshold=0.22", json={"text": NOTE})
    assert ann.text == "T1\tS 9 15\tfiebre\nT2\tM 21 30\tcarcinoma\n"
    assert "R1\tNEXT Arg1:T1 Arg2:T2" in client.post("/annotate/brat", json={"text": NOTE}).text
    assert client.post("/annotate?threshold=nan", json={"text": NOTE}).status_code == 422


def test_notes_without_anything(client):
    assert client.post("/annotate", json={"text": ""}).json() == {"rows": [], "errors": []}
    assert client.post("/annotate/batch", json={"notes": []}).json() == {"rows": [], "errors": []}
    assert client.post("/annotate/brat", json={"text": ""}).text == ""


def test_a_note_that_fails_costs_no_other(client):
    notes = [
        {"note_id": id, "text": text} for id, text in (("a", "fiebre"), ("b", f"secreto {SENTINEL}"), ("c", "tos"))
    ]
    answer = client.post("/annotate/batch", json={"notes": notes})
    assert [row["note_id"] for row in answer.json()["rows"]] == ["a"]
    [error] = answer.json()["errors"]
    assert error["note_id"] == "b" and error["reason"].endswith("ValueError in test_tables_relates")
    assert client.post("/annotate/brat", json={"text": "secreto"}).status_code == 422


BAD = {
    "nothing": b"",
    "not JSON": b"{" + SENTINEL.encode(),
    "not UTF-8": b'{"text": "\xff' + SENTINEL.encode() + b'"}',
    "nested without end": b"[" * 50_000,
    "a list": json.dumps([SENTINEL]).encode(),
    "a string": json.dumps(SENTINEL).encode(),
    "no text": json.dumps({"note_id": SENTINEL}).encode(),
    "a number": json.dumps({"text": 7, "note_id": SENTINEL}).encode(),
    "a list for text": json.dumps({"text": [SENTINEL]}).encode(),
    "another field": json.dumps({"text": "a", SENTINEL: SENTINEL}).encode(),
    "half a pair": b'{"text": "' + SENTINEL.encode() + b' \\ud800"}',
    "no id": json.dumps({"text": SENTINEL, "note_id": ""}).encode(),
    "not a number": b'{"text": NaN}',
}


@pytest.mark.parametrize("path", ["/annotate", "/annotate/batch", "/annotate/brat"])
@pytest.mark.parametrize("body", BAD.values(), ids=BAD)
def test_bad_bodies_are_refused_in_words_that_quote_nothing(client, path, body, caplog, capfd):
    answer = client.post(path, content=body, headers={"content-type": "application/json"})
    assert answer.status_code == 422
    assert len(answer.json()["detail"]) > 10
    assert SENTINEL not in answer.text + caplog.text + "".join(capfd.readouterr())


def test_other_refusals(client):
    twice = [{"text": "a", "note_id": SENTINEL}] * 2
    answer = client.post("/annotate/batch", json={"notes": twice})
    assert answer.status_code == 422 and "a note_id of its own" in answer.text and SENTINEL not in answer.text
    assert client.post("/annotate", content=b"text", headers={"content-type": "text/plain"}).status_code == 422
    assert client.post(f"/annotate?threshold={SENTINEL}", json={"text": "a"}).status_code == 422
    assert client.get("/annotate").status_code == 405
    assert client.get(f"/{SENTINEL}").json() == {"detail": "Not Found"}
    assert client.get("/static/..%2Fapp.py").status_code == 404


@pytest.mark.parametrize("length", [100_001, 5_000_000])
def test_too_large_is_413(client, length):
    answer = client.post("/annotate", content=b"x" * length)
    assert answer.status_code == 413 and "larger than 100,000 bytes" in answer.json()["detail"]

    def parts():
        for _ in range(length // 1000 + 1):
            yield b"x" * 1000

    assert client.post("/annotate", content=parts()).status_code == 413, "without a length that is said beforehand"
    assert client.post("/annotate", json={"text": "fiebre " * 10_000}).status_code == 200


def test_what_goes_wrong_unforeseen_is_logged_by_its_kind_alone(client, monkeypatch, caplog, capfd):
    def failing(*args, **kwargs):
        raise RuntimeError(SENTINEL)

    monkeypatch.setattr(module, "note_rows", failing)
    with caplog.at_level(logging.DEBUG):
        answer = client.post("/annotate", json={"text": SENTINEL})
    assert answer.status_code == 500 and "a request failed: RuntimeError" in caplog.text
    assert SENTINEL not in answer.text + caplog.text + "".join(capfd.readouterr())
    monkeypatch.undo()
    assert client.post("/annotate", json={"text": "fiebre"}).status_code == 200, "the next one is answered"


def test_no_note_in_any_log(client, caplog, capfd):
    with caplog.at_level(logging.DEBUG, logger="spacy_clinical_ner"):
        client.post("/annotate?text=true", json={"text": f"fiebre {SENTINEL}"})
        client.post("/annotate", json={"text": f"secreto {SENTINEL}"})
    assert SENTINEL not in caplog.text + "".join(capfd.readouterr())


def test_health_version_and_headers(client):
    assert client.get("/health").json() == {"status": "ok"}
    found = client.get("/version").json()
    assert found["pipeline"]["name"] == "es_test" and found["pipeline"]["version"] == "1.2"
    assert len(found["pipeline"]["sha256"]) == 64 and found["spacy"]
    for path in ("/", "/docs", "/openapi.json", "/static/base.css", "/annotate"):
        headers = client.get(path).headers
        assert (
            headers["content-security-policy"].startswith("default-src 'self'")
            and headers["cache-control"] == "no-store"
        )


def test_openapi_says_what_rows_are(client):
    schema = client.get("/openapi.json").json()
    rows = schema["components"]["schemas"]["Row"]["properties"]
    assert {name: each["description"] for name, each in rows.items()} == {each.name: each.meaning for each in ROWS}
    assert set(schema["paths"]) == {"/annotate", "/annotate/batch", "/annotate/brat", "/health", "/version"}
    assert set(schema["paths"]["/annotate"]["post"]["responses"]) == {"200", "413", "422", "503"}


def test_requests_at_once_get_each_its_own(client):
    notes = [{"text": note["text"], "note_id": note["note_id"]} for note in random_notes(60)]
    expected = [client.post("/annotate", json=note).json() for note in notes]
    found = [None] * len(notes)

    def ask(first):
        for place in range(first, len(notes), 6):
            found[place] = client.post("/annotate", json=notes[place]).json()

    threads = [threading.Thread(target=ask, args=(first,)) for first in range(6)]
    [thread.start() for thread in threads]
    [thread.join() for thread in threads]
    assert found == expected


def test_words_are_forgotten(monkeypatch):
    nlp = pipeline()
    if not hasattr(nlp, "memory_zone"):
        pytest.skip("spaCy before 3.8 has no memory zones")
    monkeypatch.setattr(words, "_NEW_WORDS", 50)
    before = len(nlp.vocab.strings)
    with TestClient(create_app(nlp)) as client:
        for number in range(20):
            text = " ".join(f"nueva{number}palabra{chr(97 + i)}" for i in range(20))
            assert client.post("/annotate", json={"text": text}).status_code == 200
        assert len(nlp.vocab.strings) <= before + 4 * 50
    assert len(nlp.vocab.strings) == before


def test_more_requests_than_may_wait():
    begun, go_on = threading.Event(), threading.Event()

    def slow(job, doc):
        begun.set()
        go_on.wait(30)

    worker = Worker(pipeline(), waiting=2)
    note = [Job("a", text="fiebre")]
    running = worker.submit(note, slow)
    assert begun.wait(30)
    waiting = [worker.submit(note, lambda job, doc: len(doc)) for _ in range(2)]
    with pytest.raises(Busy):
        worker.submit(note, slow)
    assert waiting[1].cancel()
    go_on.set()
    assert running.result(30) == [None] and waiting[0].result(30) == [1]
    worker.close()
    assert not worker.alive
