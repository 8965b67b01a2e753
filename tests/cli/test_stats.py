"""`clinical-ner stats` as it is called: tables, JSON, plots, and nothing of the notes unless asked."""

from __future__ import annotations

import importlib
import importlib.util
import json
import time
from functools import partial

import pytest

from tests.cli.commands import run_command


@pytest.fixture()
def corpus(tmp_path):
    folder = tmp_path / "corpus"
    folder.mkdir()
    for name in ("a", "b"):
        (folder / f"{name}.txt").write_text("Carcinoma ductal de mama.\n", encoding="utf8")
        (folder / f"{name}.ann").write_text(
            "T1\tMORFOLOGIA 0 16\tCarcinoma ductal\nT2\tMORFOLOGIA 0 9\tCarcinoma\nT3\tSITIO 20 23\tmam\n",
            encoding="utf8",
        )
    return folder


run = partial(run_command, "stats")


def test_tables_only(corpus, tmp_path, monkeypatch, capsys):
    assert run(monkeypatch, corpus) == 0
    printed = capsys.readouterr()
    assert "MORFOLOGIA" in printed.out and "Ceiling" in printed.out
    assert "arcinoma" not in printed.out + printed.err
    assert list(tmp_path.iterdir()) == [corpus]


def test_output(corpus, tmp_path, monkeypatch, capsys):
    pytest.importorskip("matplotlib")
    output = tmp_path / "statistics"
    assert run(monkeypatch, corpus, "--lang", "es", "--output", output) == 0
    assert {path.name for path in output.iterdir()} == {"stats.json", "entities.png", "sentence_lengths.png"}
    report = json.loads((output / "stats.json").read_text(encoding="utf8"))
    assert report["documents"] == 2
    assert report["entities"]["misaligned"] == 2
    # Two of six mentions can be found: the inner one is hidden, and "mam" ends inside a token.
    assert report["ceiling"]["flat"]["strict"]["micro"]["r"] == pytest.approx(1 / 3)
    assert "arcinoma" not in json.dumps(report)


def test_policies_change_the_ceiling(corpus, tmp_path, monkeypatch):
    output = tmp_path / "statistics"
    options = ("--overlap", "shortest", "--misaligned", "expand", "--discontinuous", "skip", "--no-plots")
    assert run(monkeypatch, corpus, "--output", output, *options) == 0
    report = json.loads((output / "stats.json").read_text(encoding="utf8"))
    assert report["policy"] == {"overlap": "shortest", "misaligned": "expand", "discontinuous": "skip"}
    micro = report["ceiling"]["flat"]["strict"]["micro"]
    assert (micro["tp"], micro["fp"], micro["fn"]) == (2, 2, 4)
    assert [path.name for path in output.iterdir()] == ["stats.json"]


def test_word_cloud_only_if_asked(corpus, tmp_path, monkeypatch, capsys):
    pytest.importorskip("wordcloud")
    output = tmp_path / "statistics"
    assert run(monkeypatch, corpus, "--lang", "es", "--output", output, "--word-cloud") == 0
    assert (output / "word_cloud.png").is_file()
    assert "arcinoma" not in capsys.readouterr().out


def test_labels_with_a_dollar_and_two_thousand_labels(tmp_path, monkeypatch):
    """The picture has the most frequent ones, the report all; matplotlib's mathematics read no label."""
    pytest.importorskip("matplotlib")
    folder = tmp_path / "corpus"
    folder.mkdir()
    (folder / "a.txt").write_text("tos " * 2000, encoding="utf8")
    labels = [r"$\\frac{", "$x$", *(f"L{number}" for number in range(1998))]
    lines = [f"T{i + 1}\t{label} {4 * i} {4 * i + 3}\ttos\n" for i, label in enumerate(labels)]
    (folder / "a.ann").write_text("".join(lines), encoding="utf8")
    output = tmp_path / "statistics"
    started = time.process_time()
    assert run(monkeypatch, folder, "--output", output) == 0
    assert time.process_time() - started < 30
    report = json.loads((output / "stats.json").read_text(encoding="utf8"))
    assert set(report["entities"]["labels"]) == set(labels)
    assert (output / "entities.png").stat().st_size < 1_000_000  # of 2,000 bars it would be larger by far


@pytest.mark.parametrize("lang, package", [("th", "pythainlp"), ("ja", "sudachipy")])
def test_a_language_whose_words_are_not_known_is_named(corpus, monkeypatch, capsys, lang, package):
    if importlib.util.find_spec(package):
        pytest.skip(f"{package} is installed")
    assert run(monkeypatch, corpus, "--lang", lang) == 0
    assert f"tokenizer for {lang} is not installed" in " ".join(capsys.readouterr().out.split())
    assert run(monkeypatch, corpus, "--lang", "zh") == run(monkeypatch, corpus, "--lang", "es") == 0
    assert "not installed" not in capsys.readouterr().out


def one_line(capsys):
    (line,) = capsys.readouterr().err.splitlines()
    return line


def test_bad_input_is_one_line_and_status_2(corpus, tmp_path, monkeypatch, capsys):
    assert run(monkeypatch, tmp_path / "nowhere") == 2
    assert "nowhere: no such folder" in one_line(capsys)
    assert run(monkeypatch, corpus, "--lang", "klingon") == 2
    assert "'klingon'" in one_line(capsys)
    assert run(monkeypatch, corpus, "--word-cloud") == 2
    assert "--word-cloud needs --output" in one_line(capsys)
    (corpus / "b.ann").write_text("T1\tSITIO 20 2300\tmam\n", encoding="utf8")
    assert run(monkeypatch, corpus) == 2
    assert "b.ann:1: " in one_line(capsys)


def test_a_missing_library_is_one_line_before_any_work(corpus, tmp_path, monkeypatch, capsys):
    load = importlib.import_module

    def without_matplotlib(name, package=None):
        if name.startswith("matplotlib"):
            raise ImportError(name)
        return load(name, package)

    monkeypatch.setattr(importlib, "import_module", without_matplotlib)
    output = tmp_path / "statistics"
    assert run(monkeypatch, corpus, "--output", output) == 2
    assert "spacy-clinical-ner[plots]" in one_line(capsys)
    assert not output.exists()
    assert run(monkeypatch, corpus, "--output", output, "--no-plots") == 0


def test_help_teaches(monkeypatch, capsys):
    assert run(monkeypatch, "--help") == 0
    printed = " ".join(capsys.readouterr().out.split())
    assert "Example: clinical-ner stats" in printed
