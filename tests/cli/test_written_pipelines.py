"""What `calibrate`, `pool`, `refit` and `distill` write of notes, some of which are empty."""

from __future__ import annotations

import json

import pytest
import spacy
from spacy.tokens import Span
from spacy.training import Example

from spacy_clinical_ner.tokenization import blank_pipeline
from tests.cli.commands import run_command
from tests.tagging.pipelines import model_config

# Words that no language data of spaCy has: found again, they were read in the notes.
SENTINELS = [f"Zqvx{letter}wk" for letter in "abcdefgh"]
TEXT = "Paciente {} con fiebre alta."
COMMANDS = {
    "calibrate": "calibrate pipe {notes} out",
    "calibrate --test": "calibrate pipe notes out --test {notes}",
    "refit": "refit pipe {notes} out",
    "refit --also": "refit pipe notes out --also {notes}",
    "distill": "distill pipe {notes} out --config config.cfg --epochs 1",
    "pool": "pool pipe pipe out",
}


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """A trained pipeline, saved with all the words it has read, and notes with and without text."""
    root = tmp_path_factory.mktemp("written")
    texts = [TEXT.format(word) for word in SENTINELS]
    for folder, contents in {"notes": texts, "one_empty": [*texts, "", " \n"], "all_empty": ["", " \n", "\n"]}.items():
        (root / folder).mkdir()
        for number, text in enumerate(contents):
            (root / folder / f"{number}.txt").write_bytes(text.encode("utf8"))
            start = text.find("fiebre")
            ann = f"T1\tSIGNO {start} {start + 6}\tfiebre\n" if start >= 0 else ""
            (root / folder / f"{number}.ann").write_bytes(ann.encode("utf8"))
    nlp = blank_pipeline("es")
    nlp.add_pipe("crf_ner", config={"model": model_config()})
    reader = {"@readers": "spacy-clinical-ner.BratCorpus.v1", "path": "notes"}
    nlp.config["corpora"] = {"train": reader, "dev": reader}
    nlp.config["training"]["max_steps"] = 2
    examples = []
    for text in texts:
        doc = nlp.make_doc(text)
        doc.set_ents([Span(doc, 3, 4, "SIGNO")])
        examples.append(Example(nlp.make_doc(text), doc))
    optimizer = nlp.initialize(lambda: examples)
    for _ in range(20):
        nlp.update(examples, sgd=optimizer)
    assert [ent.label_ for ent in nlp(texts[0]).ents] == ["SIGNO"]
    nlp.to_disk(root / "pipe")
    nlp.config.to_disk(root / "config.cfg")
    assert set(SENTINELS) <= set(_strings(root / "pipe"))
    return root


def _strings(pipeline) -> list:
    return json.loads((pipeline / "vocab" / "strings.json").read_text("utf8"))


@pytest.mark.parametrize("command", COMMANDS)
def test_no_word_of_a_note_is_written(world, tmp_path, monkeypatch, command):
    """Neither in strings.json nor in any other file; and the pipeline can be loaded and used."""
    monkeypatch.chdir(world)
    words = COMMANDS[command].format(notes="one_empty").replace(" out", f" {tmp_path / 'out'}").split()
    assert run_command(words[0], monkeypatch, *words[1:]) == 0
    for path in (tmp_path / "out").rglob("*"):
        if path.is_file():
            content = path.read_bytes()
            assert not [word for word in SENTINELS if word.encode() in content], path
    nlp = spacy.load(tmp_path / "out")
    assert [len(nlp(text)) for text in ("", TEXT.format("x"))] == [0, 6]


@pytest.mark.parametrize("command", [name for name in COMMANDS if name not in ("pool", "refit --also")])
def test_notes_without_any_text_are_refused_in_one_line(world, tmp_path, monkeypatch, capsys, command):
    monkeypatch.chdir(world)
    words = COMMANDS[command].format(notes="all_empty").replace(" out", f" {tmp_path / 'out'}").split()
    assert run_command(words[0], monkeypatch, *words[1:]) == 2
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("clinical-ner: ")]
    assert len(lines) == 1 and not (tmp_path / "out").exists()
