"""Every command with outputs that cannot be written or must not be, bad inputs and numbers beyond reason.

Each call ends with status 2 and one line, and nothing on the disk is another than before.
"""

from __future__ import annotations

import json
import os
import shutil
from collections import Counter
from pathlib import Path

import pytest
from spacy.tokens import Span
from spacy.training import Example

from spacy_clinical_ner.tokenization import blank_pipeline
from tests.cli.commands import run_command
from tests.tagging.pipelines import EMBED, model_config

# Command -> its words; {out} is what the test replaces. Inputs are those that `world` lays out.
COMMANDS = {
    "convert": "convert notes {out} --lang es",
    "convert --audit": "convert notes fine.spacy --lang es --audit {out}",
    "evaluate": "evaluate notes notes --output {out}",
    "stats": "stats notes --no-plots --output {out}",
    "vectors": "vectors notes {out} --lang es",
    "vectors --overwrite": "vectors notes {out} --lang es --overwrite",
    "pretrain": "pretrain notes {out}",
    "pretrain --overwrite": "pretrain notes {out} --overwrite",
    "trim": "trim encoder {out} --texts notes",
    "trim --overwrite": "trim encoder {out} --texts notes --overwrite",
    "pool": "pool pipe pipe {out}",
    "pool --overwrite": "pool pipe pipe {out} --overwrite",
    "refit": "refit pipe notes {out}",
    "refit --overwrite": "refit pipe notes {out} --overwrite",
    "distill": "distill pipe notes {out} --config config.cfg",
    "distill --overwrite": "distill pipe notes {out} --config config.cfg --overwrite",
    "calibrate": "calibrate pipe notes {out}",
    "calibrate --overwrite": "calibrate pipe notes {out} --overwrite",
    "calibrate --report": "calibrate pipe notes fine --report {out}",
    "calibrate --plot": "calibrate pipe notes fine --plot {out}",
    "import-ccks": "import-ccks records.jsonl {out}",
    "masks": "masks {out}",
    "annotate": "annotate pipe notes {out}",
    "annotate jsonl": "annotate pipe notes {out} --format jsonl",
    "annotate parquet --overwrite": "annotate pipe notes {out} --format parquet --overwrite",
    "report": "report notes notes --format md --output {out}",
    "learning-curve": "learning-curve config.cfg --train notes --dev notes --output {out}",
    "search": "search config.cfg --train notes --dev notes --param a.b=0..1 --output {out}",
}
# Those that write into a folder beside what stands there already.
INTO = {"stats", "annotate", "learning-curve", "search"}
OUTPUTS = {
    "below a file": "file.txt/out",
    "deep below a file": "file.txt/a/b/out",
    "name too long": "x" * 300,
    "folder name too long": "x" * 300 + "/out",
    "path too long": "/".join(["y" * 200] * 30),
    "proc": "/proc/out",
    "below a device": "/dev/null/out",
    "a device": "/dev/null",
    "a pipe": "pipe.fifo",
    "another's file": "file.txt",
    "another's binary": "scan.png",
    "another's folder": "home",
    "the notes": "notes",
    "above the notes": ".",
    "a link to the notes": "link",
    "a note": "notes/a.txt",
}
INPUTS = {
    "missing": "nowhere",
    "empty folder": "empty",
    "a file": "scan.png",
    "not UTF-8": "latin",
    "a name that is not UTF-8": os.fsdecode(b"named"),
}
READERS = {
    "convert": "convert {in} out.spacy --lang es",
    "evaluate gold": "evaluate {in} predicted",
    "stats": "stats {in}",
    "vectors": "vectors {in} out --lang es",
    "vectors --also": "vectors notes out --lang es --also {in}",
    "pretrain": "pretrain {in} out --no-plots",
    "trim": "trim encoder out --texts {in}",
    "refit": "refit pipe {in} out",
    "distill": "distill pipe {in} out --config config.cfg",
    "calibrate": "calibrate pipe {in} out",
    "annotate": "annotate pipe {in} out",
    "import-ccks": "import-ccks {in} out",
    "masks": "masks out.png --note {in}",
    "project prepare": "project prepare mine --lang es --given {in}",
}
# What a pipeline is given as: none of these is one.
PIPELINES = {
    "nowhere": "nowhere",
    "a module": "json",
    "a module without load": "string",
    "a file": "file.txt",
    "a folder": "home",
    "no meta": "pipe_null",
    "NaN": "pipe_nan",
    "negative batch": "pipe_batch",
    "more labels than the model": "pipe_labels",
    "no vectors": "pipe_vectors",
}
USERS = {
    "convert": "convert notes out.spacy --pipeline {pipe}",
    "stats": "stats notes --pipeline {pipe}",
    "annotate": "annotate {pipe} notes out",
    "calibrate": "calibrate {pipe} notes out",
    "refit": "refit {pipe} notes out",
    "pool": "pool {pipe} {pipe} out",
    "distill": "distill {pipe} notes out --config config.cfg",
}
# Configs that cannot be trained.
CONFIGS = {"missing": "nowhere.cfg", "a file": "file.txt", "a picture": "scan.png", "of no training": "config.cfg"}
TRAINERS = {
    "learning-curve": "learning-curve {config} --train notes --dev notes",
    "search": "search {config} --train notes --dev notes --param training.dropout=0.1..0.2",
    "distill": "distill pipe notes out --config {config}",
    "project train": "project train w --corpus c --config {config}",
}
WHOLE = ("-1", str(2**70), "1.5", "nan", "many")
REAL = ("-1", "inf", "1e30", "nan", "many")
NUMBERS = {
    "vectors notes out --lang es": {"WHOLE": "--dim --epochs --min-count --buckets --threads --seed"},
    "pretrain notes out": {
        "WHOLE": "--max-steps --seed --vocab-size --min-notes --sequence-length --batch-size",
        "REAL": "--max-minutes --learning-rate --held-out",
    },
    "distill pipe notes out --config config.cfg": {
        "WHOLE": "--epochs --max-steps --batch-tokens --seed",
        "REAL": "--temperature --held-out",
    },
    "refit pipe notes out": {"WHOLE": "--steps --seed --threads"},
    "pool pipe pipe out": {"REAL": "--weight"},
    "annotate pipe notes out": {"WHOLE": "--n-process --batch-size --batch-tokens --max-length --max-errors"},
    "evaluate notes notes": {"WHOLE": "--bootstrap --seed", "REAL": "--fail-under"},
    "convert notes out.spacy --lang es": {"WHOLE": "--max-dropped"},
    "masks out.png": {"WHOLE": "--context"},
    "project train w --corpus c": {"WHOLE": "--seed --threads --max-epochs"},
    "project pretrain c --lang es": {"WHOLE": "--seed --threads", "REAL": "--max-minutes"},
}
LANGUAGES = ("../x", "xyz", "char_classes", "lex_attrs", "", "es/../en")
counts: Counter = Counter()


def _write(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """A folder of inputs, and of things that a command has no business with."""
    root = tmp_path_factory.mktemp("world")
    for name in ("a", "b"):
        _write(root / "notes" / f"{name}.txt", b"Paciente con fiebre y tos.\n")
        _write(root / "notes" / f"{name}.ann", b"T1\tA 13 19\tfiebre\n")
    _write(root / "file.txt", b"not ours")
    _write(root / "scan.png", b"\x89PNG\r\n\x1a\n of somebody else")
    _write(root / "home" / "diary.txt", b"dear diary")
    _write(root / "home" / "meta.json", b"{}")
    _write(root / "latin" / "a.txt", "Niño".encode("latin1"))
    _write(root / "latin" / "a.ann", b"")
    _write(root / "named" / os.fsdecode(b"ni\xf1o.txt"), b"x")
    _write(root / "config.cfg", b'[nlp]\nlang = "es"\n')
    _write(root / "records.jsonl", b'{"originalText": "a", "entities": []}\n')
    for name in ("file.txt", "scan.png", "notes/a.txt"):
        _write(root / f"{name}.spacy", b"of somebody else")
    for name in ("home", "notes", "link"):
        _write(root / f"{name}.spacy" / "diary.txt", b"dear diary")
    os.mkfifo(root / "pipe.fifo.spacy")
    _write(root / "predicted" / "a.ann", b"T1\tA 0 4\tNi\xc3\xb1o\n")
    (root / "empty").mkdir()
    (root / "link").symlink_to("notes")
    os.mkfifo(root / "pipe.fifo")
    nlp = blank_pipeline("es")
    nlp.add_pipe("crf_ner", config={"model": model_config()})
    reader = {"@readers": "spacy-clinical-ner.BratCorpus.v1", "path": "notes"}
    nlp.config["corpora"] = {"train": reader, "dev": reader}
    nlp.config["training"]["max_steps"] = 1
    nlp.initialize(lambda: [_example(nlp)])
    for name in ("pipe", "pipe_null", "pipe_batch"):
        nlp.to_disk(root / name)
    (root / "pipe_null" / "meta.json").write_text("null", encoding="utf8")
    config = root / "pipe_batch" / "config.cfg"
    config.write_text(config.read_text(encoding="utf8").replace("batch_size = 1000", "batch_size = -5"), "utf8")
    nlp.get_pipe("crf_ner").cfg["labels"].append("B")
    nlp.to_disk(root / "pipe_labels")
    nlp = blank_pipeline("es")
    nlp.vocab.vectors.resize((3, 2))
    embed = {**EMBED, "embed": {**EMBED["embed"], "include_static_vectors": True}}
    nlp.add_pipe("crf_ner", config={"model": model_config(tok2vec=embed)})
    nlp.initialize(lambda: [_example(nlp)])
    nlp.to_disk(root / "pipe_vectors")
    shutil.rmtree(root / "pipe_vectors" / "vocab")
    nlp = blank_pipeline("es")
    nlp.vocab.vectors.resize((1, 2))
    nlp.vocab.vectors.data[:] = float("nan")
    nlp.to_disk(root / "pipe_nan")
    return root


def _example(nlp) -> Example:
    doc = nlp.make_doc("Paciente con fiebre")
    doc.set_ents([Span(doc, 2, 3, "A")])
    return Example(nlp.make_doc(doc.text), doc)


def _state(root: Path) -> dict:
    """Every path with its content."""
    return {
        path: os.readlink(path) if path.is_symlink() else path.read_bytes() if path.is_file() else None
        for path in sorted(root.rglob("*"))
    }


@pytest.fixture()
def refused(world, monkeypatch, capsys):
    """Run a line of words; it must be refused in one line, with nothing changed."""

    def check(kind: str, words: list) -> str:
        monkeypatch.chdir(world)
        before = _state(world)
        status = run_command(words[0], monkeypatch, *words[1:])
        printed = capsys.readouterr().err
        assert status == 2, (status, printed)
        assert "Traceback" not in printed
        lines = [line for line in printed.splitlines() if line.startswith("clinical-ner: ")]
        assert len(lines) == 1 and printed.rstrip("\n").endswith(lines[0])
        assert _state(world) == before
        assert os.path.exists("/dev/null") and not os.path.isfile("/dev/null")
        counts[kind] += 1
        return printed

    return check


@pytest.mark.parametrize("kind", OUTPUTS)
@pytest.mark.parametrize("command", COMMANDS)
def test_bad_output(refused, command, kind):
    folders = ("another's folder", "above the notes", "a link to the notes", "the notes")
    if command in INTO and kind in (folders[:2] if command == "annotate" else folders):
        pytest.skip("adds files under new names beside those that are there")
    out = OUTPUTS[kind]
    if command == "convert" and kind not in ("a device", "above the notes"):
        out += ".spacy"  # other endings are refused for that alone
    refused("bad output", COMMANDS[command].format(out=out).split())


@pytest.mark.parametrize("kind", INPUTS)
@pytest.mark.parametrize("command", READERS)
def test_bad_input(refused, command, kind):
    if kind == "a name that is not UTF-8" and command in ("import-ccks", "masks"):
        pytest.skip("takes files, whose names it does not write")
    printed = refused("bad input", READERS[command].format(**{"in": INPUTS[kind]}).split())
    assert INPUTS[kind] in printed  # for that reason, and no other


@pytest.mark.parametrize("kind", PIPELINES)
@pytest.mark.parametrize("command", USERS)
def test_bad_pipeline(refused, command, kind):
    refused("bad pipeline", USERS[command].format(pipe=PIPELINES[kind]).split())


@pytest.mark.parametrize("kind", CONFIGS)
@pytest.mark.parametrize("command", TRAINERS)
def test_bad_config(refused, command, kind):
    printed = refused("bad config", TRAINERS[command].format(config=CONFIGS[kind]).split())
    assert CONFIGS[kind] in printed


@pytest.mark.parametrize(
    "line, option, value",
    [
        (line, option, value)
        for line, kinds in NUMBERS.items()
        for kind, options in kinds.items()
        for option in options.split()
        for value in {"WHOLE": WHOLE, "REAL": REAL}[kind]
    ],
)
def test_bad_number(refused, line, option, value):
    printed = refused("bad number", [*line.split(), f"{option}={value}"])
    assert "Invalid value" in printed and len(printed.splitlines()) == 1


@pytest.mark.parametrize("lang", LANGUAGES)
@pytest.mark.parametrize("command", ["convert notes out.spacy", "stats notes", "vectors notes out"])
def test_bad_language(refused, command, lang):
    refused("bad language", [*command.split(), f"--lang={lang}"])


def test_counts_are_printed(capsys):
    """At the end, so that a log shows how much was tried."""
    with capsys.disabled():
        print(f"\nrefused calls: {json.dumps(counts)}")
