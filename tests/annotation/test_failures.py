"""Notes that fail: counted, named, never quoted, and no reason for others to be missing."""

from __future__ import annotations

import json
import os
import signal
from typing import List, Optional

import pytest
from spacy.language import Language
from spacy.tokens import Doc

from spacy_clinical_ner.annotation.local import TooManyErrors
from spacy_clinical_ner.annotation.piping import Intake, Job, annotated
from spacy_clinical_ner.annotation.tables import Columns
from spacy_clinical_ner.errors import ClinicalNerError, InputError
from spacy_clinical_ner.tokenization import blank_pipeline
from tests.annotation.tasks import pipeline, random_notes, read_rows, run, write_jsonl
from tests.cli.commands import run_command

BAD = [
    b'{"note_id": "bad1", "text": "secreto"}',
    b'{"note_id": "bad2"}',
    b'{"note_id": "bad3", "text": null}',
    b'{"text": "secreto"}',
    b"{secreto",
    b'["secreto"]',
    b'{"note_id": "\xff", "text": "secreto"}',
    b'{"note_id": "bad8", "text": "secreto \\ud800"}',
    b'{"note_id": "bad9", "text": "' + b"secreto " * 50 + b'"}',
    b'{"note_id": "bada", "text": ["secreto"]}',
]


def errors(path) -> list:
    return [json.loads(line) for line in path.read_text(encoding="utf8").splitlines()]


def source(tmp_path):
    good = random_notes(20)
    path = write_jsonl(tmp_path / "in.jsonl", good)
    lines = path.read_bytes().splitlines()
    for place, line in enumerate(BAD):
        lines.insert(2 * place, line)
    path.write_bytes(b"\n".join(lines))
    return path


@pytest.mark.parametrize("n_process", [1, 2])
def test_every_kind_of_bad_note(n_process, tmp_path, monkeypatch):
    out = tmp_path / "out.jsonl"
    outcome = run(
        source(tmp_path), out, monkeypatch, format="jsonl", n_process=n_process, max_length=300, columns=Columns()
    )
    assert (outcome.summary.notes, outcome.summary.n_failed) == (20, len(BAD))
    found = {row["note_id"]: row["reason"] for row in errors(outcome.errors)}
    assert found == {
        "bad1": "the pipeline fails on this note: ValueError in test_tables_relates",
        "bad2": "line 3: no column 'text'",
        "bad3": "line 5: no text in the column 'text'",
        "line 7": "no column 'note_id'",
        "line 9": "not JSON",
        "line 11": "not an object of JSON",
        "line 13": "not UTF-8",
        "bad8": "line 15: not UTF-8, or half of a surrogate pair",
        "bad9": "400 characters are more than --max-length allows",
        "bada": "line 19: no text in the column 'text'",
    }
    assert "secreto" not in outcome.errors.read_text(encoding="utf8")
    run(write_jsonl(tmp_path / "good.jsonl", random_notes(20)), tmp_path / "good", monkeypatch, format="jsonl")
    assert {row["note_id"] for row in read_rows("jsonl", out)} <= {str(number) for number in range(20)}


def test_bad_rows_of_csv(tmp_path, monkeypatch):
    lines = [b"note_id,text", b"1,carcinoma", b"2", b"3,fiebre,secreto", b",secreto", b"5,secre\xffto", b"", b"6,tos"]
    (tmp_path / "in.csv").write_bytes(b"\n".join(lines))
    outcome = run(tmp_path / "in.csv", tmp_path / "out.csv", monkeypatch, format="csv", columns=Columns())
    assert [(row["note_id"], row["reason"]) for row in errors(outcome.errors)] == [
        ("line 3", "1 values, but 2 columns"),
        ("line 4", "3 values, but 2 columns"),
        ("line 5", "nothing in the column 'note_id'"),
        ("5", "line 6: not UTF-8, or half of a surrogate pair"),
    ]
    assert outcome.summary.notes == 2


def test_ids_that_cannot_be_files(tmp_path, monkeypatch):
    ids = ["../up", "/etc/x", "a/../b", "fine/one", "fine/one", "x" * 300, "a//b", "."]
    source = write_jsonl(tmp_path / "in.jsonl", [{"note_id": id, "text": "tos"} for id in ids])
    outcome = run(source, tmp_path / "out", monkeypatch, format="brat", columns=Columns())
    assert sorted(path.name for path in (tmp_path / "out").rglob("*.txt")) == ["one.txt"]
    assert outcome.summary.n_failed == len(ids) - 1
    assert {path.name for path in tmp_path.iterdir()} == {"in.jsonl", "out", "out.run"}


def test_two_notes_of_one_name_in_two_parts(tmp_path, monkeypatch):
    notes = [{"note_id": str(number % 6), "text": f"tos {number}"} for number in range(8)]
    source = write_jsonl(tmp_path / "in.jsonl", notes)
    outcome = run(source, tmp_path / "out", monkeypatch, format="brat", columns=Columns(), shard_notes=2)
    assert [row["note_id"] for row in errors(outcome.errors)] == ["0", "1"]
    assert (tmp_path / "out" / "0.txt").read_text() == "tos 0"


def test_max_errors_stops_and_goes_on(tmp_path, monkeypatch):
    path = source(tmp_path)
    options = {"format": "jsonl", "columns": Columns(), "max_length": 300}
    with pytest.raises(TooManyErrors, match="more than --max-errors 3"):
        run(path, tmp_path / "out.jsonl", monkeypatch, max_errors=3, **options)
    assert not (tmp_path / "out.jsonl").exists()
    outcome = run(path, tmp_path / "out.jsonl", monkeypatch, max_errors=10, **options)
    assert len(errors(outcome.errors)) == outcome.summary.n_failed == len(BAD)


@Language.component("test_failures_kills")
def kills(doc):
    if "mortal" in doc.text:
        os.kill(os.getpid(), signal.SIGKILL)
    return doc


@Language.component("test_failures_lowers")
def lowers(doc: Doc) -> Doc:
    """Another Doc, of another text if there is a capital in it."""
    return Doc(doc.vocab, [token.lower_ for token in doc], [bool(token.whitespace_) for token in doc])


@pytest.mark.parametrize("changes", ["component", "tokenizer"])
def test_a_pipeline_that_changes_the_text(changes: str) -> None:
    nlp = blank_pipeline("es")
    if changes == "component":
        nlp.add_pipe("test_failures_lowers")
    else:
        cut = nlp.tokenizer
        nlp.tokenizer = lambda text: cut(text.lower())
    texts = ["tos", "Tos seca", "fiebre  alta\n", "SECRETO", ""]
    jobs = (Job(str(number), text=text) for number, text in enumerate(texts))
    found = {job.id: doc for job, _, doc in annotated(Intake(nlp), jobs, batch_tokens=3)}
    assert {id for id, doc in found.items() if isinstance(doc, InputError)} == {"1", "3"}
    assert "changes the text of this note" in str(found["3"]) and "SECRETO" not in str(found["3"])


@Language.component("test_failures_breaks")
def breaks(doc: Doc) -> Doc:
    assert "fatal" not in doc.text
    return doc


@pytest.mark.parametrize("lengths", [[3, 3, 3], [9, 1, 2, 3, 9, 9, 1], [1] * 12, [5, 0, 0, 5, 1], [4, 1, 5, 2]])
@pytest.mark.parametrize("fatal", [None, 0, 2])
def test_batches_hold_so_many_tokens_or_one_note(lengths: List[int], fatal: Optional[int]) -> None:
    nlp = blank_pipeline("es")
    nlp.add_pipe("test_failures_breaks")
    sizes, pipe = [], nlp.pipe

    def watched(docs, batch_size):
        batch = list(docs)
        sizes.append([len(doc) or 1 for doc in batch])
        yield from pipe(iter(batch), batch_size=batch_size)

    nlp.pipe = watched
    texts = [" ".join(["fatal" if place == fatal else "tos"] * length) for place, length in enumerate(lengths)]
    jobs = (Job(str(number), text=text) for number, text in enumerate(texts))
    found = list(annotated(Intake(nlp), jobs, batch_tokens=5))
    assert [job.id for job, _, _ in found] == [str(number) for number in range(len(lengths))]
    assert [isinstance(doc, InputError) for _, _, doc in found] == ["fatal" in text for text in texts]
    assert [size for batch in sizes for size in batch] == [length or 1 for length in lengths]
    assert all(sum(batch) <= 5 or len(batch) == 1 for batch in sizes)
    assert all(sum(one) + two[0] > 5 for one, two in zip(sizes, sizes[1:]))


def test_a_worker_that_is_killed(tmp_path, monkeypatch):
    nlp = pipeline.__wrapped__()
    nlp.add_pipe("test_failures_kills")
    monkeypatch.setattr("tests.annotation.tasks.pipeline", lambda: nlp)
    notes = [{"note_id": str(n), "text": "mortal" + " largo" * 50 if n == 9 else "tos"} for n in range(20)]
    source = write_jsonl(tmp_path / "in.jsonl", notes)
    with pytest.raises(ClinicalNerError, match="killed, perhaps for lack of memory"):
        run(source, tmp_path / "out.jsonl", monkeypatch, format="jsonl", n_process=2, columns=Columns())


def test_the_command(tmp_path, monkeypatch, capsys):
    pipeline().to_disk(tmp_path / "pipeline")
    words = [tmp_path / "pipeline", source(tmp_path), tmp_path / "out.parquet", "--max-length", 300]
    assert run_command("annotate", monkeypatch, *words) == 1
    printed = capsys.readouterr()
    assert "clinical-ner: bad2: line 3: no column 'text'" in printed.err
    assert "secreto" not in printed.err + printed.out
    assert len(errors(tmp_path / "out.parquet.run" / "errors.jsonl")) == len(BAD)
    assert run_command("annotate", monkeypatch, *words) == 1
    assert "Nothing to do" in capsys.readouterr().out
    assert run_command("annotate", monkeypatch, *words, "--text") == 2
    line = capsys.readouterr().err
    assert line.startswith("clinical-ner: ") and line.count("\n") == 1 and "another options (text)" in line
    assert run_command("annotate", monkeypatch, *words[:2], "sqlite:///x", "--schema", "omop", "--overwrite") == 2
    assert run_command("annotate", monkeypatch, *words, "--schema", "omop", "--format", "brat") == 2
