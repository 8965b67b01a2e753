from __future__ import annotations

import json

import pytest
import spacy
from spacy.tokens import DocBin

from spacy_clinical_ner import cli
from spacy_clinical_ner.brat import from_doc
from spacy_clinical_ner.tokenization import blank_pipeline
from tests.brat.malformed import MALFORMED, SECRETS, TEXT

ANN = "T1\tX 9 18\tcarcinoma\nT2\tX 9 25\tcarcinoma ductal\nT3\tY 27 29\tDo\nR1\tZ Arg1:T1 Arg2:T3\t\n"


@pytest.fixture
def folder(tmp_path):
    """A folder with one note of TEXT whose .ann tests may replace."""
    put(tmp_path / "brat", ANN)
    return tmp_path / "brat"


def put(folder, ann):
    folder.mkdir(exist_ok=True)
    (folder / "note.txt").write_bytes(TEXT.encode("utf8"))
    (folder / "note.ann").write_bytes(ann.encode("utf8"))


@pytest.fixture
def run(monkeypatch, capsys):
    """Run `clinical-ner convert`; returns the exit status, stdout and stderr."""

    def run(*args):
        monkeypatch.setattr("sys.argv", ["clinical-ner", "convert", *map(str, args)])
        with pytest.raises(SystemExit) as stop:
            cli.main()
        captured = capsys.readouterr()
        return stop.value.code or 0, captured.out, captured.err

    return run


def docs(path):
    return list(DocBin().from_disk(path).get_docs(blank_pipeline("es").vocab))


def test_converts_and_audits(run, folder, tmp_path):
    out, audit = tmp_path / "new" / "notes.spacy", tmp_path / "audits" / "audit.json"
    status, stdout, _ = run(folder, out, "--lang", "es", "--audit", audit, "--max-dropped", 0)
    assert status == 0
    assert "all lines" in stdout and "overlaps another mention" in stdout and "Saved 1 notes" in stdout
    report = json.loads(audit.read_text())
    assert report["lines"]["read"] == report["lines"]["kept"] == 4
    assert report["dropped"] == 0
    [doc] = docs(out)
    assert doc.text == TEXT
    assert [span.text for span in doc.ents] == ["carcinoma ductal", "Do"]
    assert from_doc(doc).standoff() == ANN
    assert sorted(path.name for path in out.parent.iterdir()) == ["notes.spacy"]


def test_policies(run, folder, tmp_path):
    out = tmp_path / "notes.spacy"
    options = ["--overlap", "shortest", "--misaligned", "expand", "--spans-key", "all"]
    assert run(folder, out, "-l", "es", *options)[0] == 0
    [doc] = docs(out)
    assert [span.text for span in doc.ents] == ["carcinoma", "Dolor"]
    assert len(doc.spans["all"]) == 3
    put(folder, "T1\tX 8 18\t carcinoma\nT2\tX 0 7;19 25\tSecreto ductal\n")
    assert run(folder, out, "-l", "es", "--trim-whitespace", "--discontinuous", "first")[0] == 0
    assert [span.text for span in docs(out)[0].ents] == ["Secreto", "carcinoma"]


def test_tokenizer_of_a_pipeline(run, folder, tmp_path):
    nlp = spacy.blank("es")
    nlp.tokenizer.token_match = None
    nlp.to_disk(tmp_path / "pipeline")
    out = tmp_path / "notes.spacy"
    assert run(folder, out, "--pipeline", tmp_path / "pipeline")[0] == 0
    assert [token.text for token in docs(out)[0]] == [
        *("Secreto", ":", "carcinoma", "ductal", ".", "\n", "Do", "lor"),
        *[token.text for token in nlp("8mg.\n")],
    ]


def test_dropped_lines_and_mentions_cross_the_threshold(run, folder, tmp_path):
    out = tmp_path / "notes.spacy"
    put(folder, ANN + "T9\tX 0 99\tx\nR9\tZ Arg1:T9 Arg2:T1\t\n")
    assert run(folder, out, "-l", "es")[0] == 2
    assert not out.exists()
    assert run(folder, out, "-l", "es", "--lenient")[0] == 0
    for limit, status in ((2, 0), (1, 1), (0, 1)):
        assert run(folder, out, "-l", "es", "--lenient", "--max-dropped", limit)[0] == status
    put(folder, ANN)
    assert run(folder, out, "-l", "es", "--misaligned", "drop", "--max-dropped", 0)[0] == 1
    assert from_doc(docs(out)[0]).standoff() == ANN  # what the Doc does not show is in the file all the same


def test_differing_text(run, folder, tmp_path):
    put(folder, "T1\tX 9 18\tcarcinoma \n")
    status, stdout, _ = run(folder, tmp_path / "a.spacy", "-l", "es")
    assert status == 0 and "mention text differed from the document" in stdout
    status, _, stderr = run(folder, tmp_path / "a.spacy", "-l", "es", "--strict-text")
    assert status == 2 and "note.ann:1: mention text differs" in stderr


@pytest.mark.parametrize("kind", sorted(MALFORMED))
def test_malformed_input_ends_with_one_line(run, folder, tmp_path, kind):
    case = MALFORMED[kind]
    put(folder, case.ann)
    status, stdout, stderr = run(folder, tmp_path / "out.spacy", "-l", "es", "--audit", tmp_path / "audit.json")
    assert status == 2
    assert stdout == ""
    [line] = stderr.splitlines()
    assert line.startswith(f"clinical-ner: {folder / 'note.ann'}:{case.line}: ")
    assert case.says in line and not any(secret in line for secret in SECRETS)
    assert [path.name for path in tmp_path.iterdir()] == ["brat"]


@pytest.mark.parametrize(
    "options, says",
    [
        (["out.spacy"], "give either --lang"),
        (["out.spacy", "-l", "es", "--pipeline", "es"], "give either --lang"),
        (["out.bin", "-l", "es"], "out.bin: the output is a .spacy file"),
        (["out.spacy", "-l", "klingon"], "no language 'klingon'"),
        (["out.spacy", "--pipeline", "nowhere"], "nowhere: not a pipeline"),
    ],
)
def test_bad_usage_ends_with_one_line(run, folder, tmp_path, monkeypatch, options, says):
    monkeypatch.chdir(tmp_path)
    status, _, stderr = run(folder, *options)
    assert status == 2
    [line] = stderr.splitlines()
    assert says in line


def test_bad_folder(run, tmp_path):
    status, _, stderr = run(tmp_path / "nowhere", tmp_path / "a.spacy", "-l", "es")
    assert (status, stderr) == (2, f"clinical-ner: {tmp_path / 'nowhere'}: no such folder\n")


@pytest.mark.parametrize("option", ["--overlap", "--misaligned", "--discontinuous"])
def test_unknown_policy(run, folder, tmp_path, option):
    status, _, stderr = run(folder, tmp_path / "a.spacy", "-l", "es", option, "best")
    assert status == 2
    assert "best" in stderr and "Traceback" not in stderr
