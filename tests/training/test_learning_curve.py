"""Learning curves and searches on a few notes: parts of one another, resumable, and told apart from other trainings."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest
import srsly
from typer.testing import CliRunner

from spacy_clinical_ner import cli
from spacy_clinical_ner.brat import BratDocument, Entity, write_document
from spacy_clinical_ner.errors import ClinicalNerError, InputError
from spacy_clinical_ner.training import learning_curve as module
from spacy_clinical_ner.training import search as search_module
from spacy_clinical_ner.training.learning_curve import Trial, fingerprint, learning_curve, score, share_of
from spacy_clinical_ner.training.search import Parameter, parse_parameter
from tests.cli.commands import run_command

CONFIG = """
[paths]
train = null
dev = null

[system]
seed = 0
gpu_allocator = null

[nlp]
lang = "en"
pipeline = ["crf_ner"]

[nlp.tokenizer]
@tokenizers = "spacy-clinical-ner.ClinicalTokenizer.v1"

[components]

[components.crf_ner]
factory = "crf_ner"

[corpora]

[corpora.train]
@readers = "spacy-clinical-ner.BratCorpus.v1"
path = ${paths.train}
gold_tokens = true

[corpora.dev]
@readers = "spacy-clinical-ner.BratCorpus.v1"
path = ${paths.dev}

[training]
gpu_allocator = ${system.gpu_allocator}
seed = ${system.seed}
dropout = 0.1
max_steps = 30
eval_frequency = 15
patience = 0
"""


@pytest.fixture(scope="module")
def notes(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("curve")
    for part, count in (("train", 8), ("dev", 2)):
        for number in range(count):
            text = f"Note {number}: the fever began and the rash was gone."
            entities = [
                Entity(f"T{i}", "Sign", ((text.index(word), text.index(word) + len(word)),), word)
                for i, word in enumerate(("fever", "rash"), 1)
            ]
            write_document(BratDocument(f"n{number}", text, entities), folder / part / f"n{number}.txt")
    (folder / "config.cfg").write_text(CONFIG)
    return folder


def trial(notes: Path, **overrides) -> Trial:
    return Trial(notes / "config.cfg", notes / "train", notes / "dev", overrides)


def test_smaller_shares_are_parts_of_larger_ones():
    names = [f"n{i}" for i in range(40)]
    chosen = [share_of(names, names, share) for share in (0.01, 0.25, 0.5, 1.0)]
    assert [len(part) for part in chosen] == [1, 10, 20, 40]
    for small, large in zip(chosen, chosen[1:]):
        assert set(small) < set(large)
    assert share_of(names, names, 0.25) != names[:10]


def test_the_curve_is_trained_once_and_goes_on(notes, tmp_path, monkeypatch):
    told = []
    points = learning_curve(trial(notes), tmp_path, [1, 0.25], report=lambda point, before: told.append(before))
    assert [(point.share, point.notes) for point in points] == [(0.25, 2), (1, 8)]
    assert points[-1].scores["micro"] == score(tmp_path / "share-1-seed-0/model-best", notes / "dev")["micro"]
    assert points[-1].scores["micro"]["f"] == 1.0

    strings = (tmp_path / "share-1-seed-0/model-best/vocab/strings.json").read_text("utf8")
    assert "Sign" in strings and "Note" not in strings  # the label, and no word of a note

    trained = []
    train = module.run_training
    monkeypatch.setattr(module, "run_training", lambda *args: trained.append(args) or train(*args))
    again = learning_curve(trial(notes), tmp_path, [1, 0.25, 0.5], report=lambda point, before: told.append(before))
    assert len(trained) == 1 and told == [False, False, True, False, True]
    assert (again[0], again[2]) == tuple(points)
    with pytest.raises(InputError, match="another config, notes or settings"):
        learning_curve(trial(notes, **{"training.max_steps": 5}), tmp_path, [1])


@pytest.mark.parametrize("command", ["learning-curve", "search"])
@pytest.mark.parametrize("role", ["--train", "--dev"])
def test_notes_without_a_mention_are_refused(notes, tmp_path, monkeypatch, capsys, command, role):
    (tmp_path / "empty").mkdir()
    for name, text in {"a": "", "b": " \n", "c": "No mention here."}.items():
        (tmp_path / f"empty/{name}.txt").write_text(text)
        (tmp_path / f"empty/{name}.ann").write_text("")
    folders = {"--train": notes / "train", "--dev": notes / "dev", role: tmp_path / "empty"}
    words = [word for pair in folders.items() for word in pair]
    words += ["--param", "training.dropout=0.1..0.2"] if command == "search" else []
    output = tmp_path / "out"
    assert run_command(command, monkeypatch, notes / "config.cfg", *words, "--output", output) == 2
    assert capsys.readouterr().err == (
        f"clinical-ner: {tmp_path}/empty: not one note with a mention: nothing can be learnt or scored\n"
    )
    assert not output.exists()


def test_malformed_lines_are_named_before_any_training(notes, tmp_path):
    """In the notes that are scored; training notes may have some if the config reads them leniently."""
    for part in ("train", "dev"):
        shutil.copytree(notes / part, tmp_path / part)
        with (tmp_path / part / "n1.ann").open("a") as file:
            file.write("T9\tnonsense\n")
    broken = Trial(notes / "config.cfg", tmp_path / "train", notes / "dev", {})
    assert fingerprint(broken) != fingerprint(trial(notes))
    with pytest.raises(InputError, match=r"dev.n1\.ann:3: "):
        fingerprint(broken._replace(dev=tmp_path / "dev"))


NO_CONFIG = "not a config, or not one with these settings: "


@pytest.mark.parametrize(
    ("content", "words", "said"),
    [
        (CONFIG.replace("[paths]", "[places]").replace("paths.", "places."), [], f"{NO_CONFIG}.*paths -> train"),
        ("hello", [], NO_CONFIG),
        ("[nlp", [], NO_CONFIG),
        (b"\xff\xfe\x00", [], NO_CONFIG),
        (CONFIG, ["--training.dropout", "much"], "cannot be trained: .*dropout"),
        (CONFIG, ["max_steps", "3"], "settings of the config look like --training.max_steps 100, not 3"),
    ],
)
def test_configs_that_cannot_be_trained_are_one_line(notes, tmp_path, monkeypatch, capsys, content, words, said):
    config = tmp_path / "config.cfg"
    config.write_bytes(content if isinstance(content, bytes) else content.encode())
    folders = ["--train", notes / "train", "--dev", notes / "dev", "--output", tmp_path / "out"]
    assert run_command("learning-curve", monkeypatch, config, *folders, "--shares", "1", *words) == 2
    [line] = [line for line in capsys.readouterr().err.splitlines() if line.startswith("clinical-ner: ")]
    assert re.search(said, line)


@pytest.mark.parametrize("share", [0, 1.5, -1])
def test_shares_that_cannot_be(notes, tmp_path, share):
    with pytest.raises(InputError, match="a share is above 0"):
        learning_curve(trial(notes), tmp_path, [share])


def test_command(notes, tmp_path):
    pytest.importorskip("matplotlib")
    cli._register()
    arguments = ["learning-curve", notes / "config.cfg", "--train", notes / "train", "--dev", notes / "dev"]
    arguments += ["--shares", "0.5", "--output", tmp_path / "c", "--training.max_steps", "4"]
    result = CliRunner().invoke(cli.app, [str(each) for each in arguments])
    assert result.exit_code == 0, result.output
    assert srsly.read_json(tmp_path / "c/learning-curve.json")[0]["notes"] == 4
    assert (tmp_path / "c/learning-curve.png").read_bytes().startswith(b"\x89PNG")
    with pytest.raises(ClinicalNerError, match="numbers between commas"):
        CliRunner().invoke(cli.app, [*map(str, arguments), "--shares", "all"], catch_exceptions=False)


@pytest.mark.parametrize(
    ("text", "parameter"),
    [
        ("a.b=0.1..0.5", Parameter("a.b", 0.1, 0.5)),
        ("a.b=1e-4..1e-2 log", Parameter("a.b", 1e-4, 1e-2, log=True)),
        ("a.b=1..4", Parameter("a.b", 1, 4, whole=True)),
        ('a.b="x",true,3', Parameter("a.b", choices=["x", True, 3])),
        ("a.b=BIO,BIOES", Parameter("a.b", choices=["BIO", "BIOES"])),
    ],
)
def test_parameters(text, parameter):
    assert parse_parameter(text) == parameter


@pytest.mark.parametrize("text", ["a", "a=1..2", "a.b=", "a.b=2..1", "a.b=0..1 log", "a.b=1e..2"])
def test_parameters_that_cannot_be(text):
    with pytest.raises(ClinicalNerError, match=r"parameter|range"):
        parse_parameter(text)


class Killed(BaseException):
    """As SIGKILL would: nobody catches it."""


def test_a_curve_that_was_killed_goes_on(notes, tmp_path, monkeypatch):
    calls = []

    def training(*args):
        calls.append(args)
        (args[2] / "model-best").mkdir(parents=True, exist_ok=True)
        if len(calls) == 2:
            raise Killed
        return {"micro": {"p": 0.5, "r": 0.5, "f": len(calls) / 10, "ci_low": 0.0, "ci_high": 1.0}}

    monkeypatch.setattr(module, "run_training", training)
    with pytest.raises(Killed):
        learning_curve(trial(notes), tmp_path, [0.25, 0.5, 1])
    before = []
    points = learning_curve(trial(notes), tmp_path, [0.25, 0.5, 1], report=lambda point, done: before.append(done))
    assert before == [True, False, False] and len(calls) == 4
    assert [point.scores["micro"]["f"] for point in points] == [0.1, 0.3, 0.4]


def test_a_search_that_was_killed_ends_as_one_that_was_not(notes, tmp_path, monkeypatch):
    pytest.importorskip("optuna")
    tried = []
    kill_at = {3, 8, 14}

    def training(trial, train, folder, values):
        tried.append((folder.name, values))
        if len(tried) in kill_at:
            raise Killed
        if values["training.dropout"] > 0.45:
            raise ClinicalNerError("a setting that cannot be")
        return {"micro": {"f": 1 - values["training.dropout"]}}

    monkeypatch.setattr(search_module, "run_training", training)
    parameters = [Parameter("training.dropout", 0.0, 0.5), Parameter("training.seed", 1, 9, whole=True)]
    for _ in kill_at:
        with pytest.raises(Killed):
            search_module.search(trial(notes), tmp_path / "killed", parameters, 16)
    found = search_module.search(trial(notes), tmp_path / "killed", parameters, 16)
    assert len(tried) == 16 + len(kill_at)
    assert all(tried[i] == tried[i - 1] for i in kill_at)  # begun anew, in the same folder
    assert found == search_module.search(trial(notes), tmp_path / "whole", parameters, 16)
    assert [row.number for row in found] == list(range(16)) and any(row.value is None for row in found)
    assert len({row.params["training.dropout"] for row in found}) == 16


def test_search_goes_on(notes, tmp_path):
    pytest.importorskip("optuna")
    pytest.importorskip("matplotlib")
    cli._register()
    arguments = ["search", notes / "config.cfg", "--train", notes / "train", "--dev", notes / "dev"]
    arguments += ["--param", "training.dropout=0.0..0.3", "--output", tmp_path, "--training.max_steps", "3"]
    for trials in (1, 2, 2):
        result = CliRunner().invoke(cli.app, [*map(str, arguments), "--trials", str(trials)])
        assert result.exit_code == 0, result.output
        assert len(list(tmp_path.glob("trial-*"))) == trials
    assert (tmp_path / "search.png").read_bytes().startswith(b"\x89PNG")
    with pytest.raises(InputError, match="another config, notes or settings"):
        CliRunner().invoke(cli.app, [*map(str, arguments), "--training.patience", "9"], catch_exceptions=False)
