"""`clinical-ner evaluate` as it is called: exit status, one line for bad input, JSON and table."""

from __future__ import annotations

import json
from functools import partial

import pytest

from tests.cli.commands import run_command

TEXT = "secretword one two\n"


@pytest.fixture()
def folders(tmp_path):
    for name, ann in (
        ("gold", "T1\tA 0 10\tsecretword\nT2\tA 11 14\tone\n"),
        ("pred", "T1\tA 0 10\tsecretword\nT2\tA 11 18\tone two\n"),
        ("other", ""),
    ):
        folder = tmp_path / name
        folder.mkdir()
        (folder / "n.txt").write_text(TEXT, encoding="utf8")
        (folder / "n.ann").write_text(ann, encoding="utf8")
    return tmp_path


run = partial(run_command, "evaluate")


def test_figures_go_to_the_table_and_to_json(folders, monkeypatch, capsys):
    output = folders / "new" / "metrics.json"
    assert run(monkeypatch, folders / "gold", folders / "pred", "--output", output, "--bootstrap", 20) == 0
    printed = capsys.readouterr()
    assert "50.00" in printed.out
    assert "secretword" not in printed.out + printed.err
    metrics = json.loads(output.read_text(encoding="utf8"))
    assert metrics["entities"]["strict"]["micro"]["f"] == 0.5
    assert metrics["entities"]["relaxed"]["micro"]["f"] == 1.0
    assert metrics["bootstrap"]["samples"] == 20
    assert metrics["relations"] is None


@pytest.mark.parametrize("threshold, status", [(0.5, 0), (0.51, 1), (0, 0), (1, 1)])
def test_fail_under(folders, monkeypatch, capsys, threshold, status):
    output = folders / "metrics.json"
    arguments = (folders / "gold", folders / "pred", "--fail-under", threshold, "--bootstrap", 0, "-o", output)
    assert run(monkeypatch, *arguments) == status
    assert output.is_file()  # the figures are written all the same
    assert ("is below --fail-under" in capsys.readouterr().out) == bool(status)


def test_compare_relations_and_seed(folders, monkeypatch, capsys):
    output = folders / "metrics.json"
    arguments = ("--compare", folders / "other", "--relations", "--seed", 5, "--bootstrap", 10, "-o", output)
    assert run(monkeypatch, folders / "gold", folders / "pred", *arguments) == 0
    metrics = json.loads(output.read_text(encoding="utf8"))
    assert metrics["comparison"]["entities"]["strict"]["micro"]["difference"] == 0.5
    assert metrics["bootstrap"] == {"samples": 10, "seed": 5, "confidence": 0.95, "unit": "document"}
    assert metrics["relations"]["strict"]["micro"]["support"] == 0
    assert "Difference" in capsys.readouterr().out


def one_line(capsys):
    (line,) = capsys.readouterr().err.splitlines()
    assert "secretword" not in line
    return line


def test_bad_input_is_one_line_and_status_2(folders, monkeypatch, capsys):
    gold, pred = folders / "gold", folders / "pred"
    (pred / "n.txt").write_text(TEXT.upper(), encoding="utf8")
    assert run(monkeypatch, gold, pred) == 2
    assert "n.txt:1: the text differs" in one_line(capsys)
    (pred / "n.txt").unlink()
    (pred / "n.ann").write_text("T1\tA 0 10\tsecretword\nT2\tA 5 secretword\tx\n", encoding="utf8")
    assert run(monkeypatch, gold, pred) == 2
    assert "n.ann:2: " in one_line(capsys)
    assert run(monkeypatch, gold, folders / "nowhere") == 2
    assert "nowhere: no such folder" in one_line(capsys)
    assert run(monkeypatch, gold, folders / "other", "--compare", gold, "--bootstrap", 0) == 2
    assert "--compare needs --bootstrap" in one_line(capsys)


def test_extra_predictions(folders, monkeypatch, capsys):
    (folders / "pred" / "more.ann").write_text("", encoding="utf8")
    assert run(monkeypatch, folders / "gold", folders / "pred") == 2
    assert "more.ann: there is no gold document" in one_line(capsys)
    assert run(monkeypatch, folders / "gold", folders / "pred", "--ignore-extra", "--bootstrap", 0) == 0


def test_help_teaches(monkeypatch, capsys):
    assert run(monkeypatch, "--help") == 0
    printed = " ".join(capsys.readouterr().out.split())
    assert "Example: clinical-ner evaluate" in printed
    assert "0/0 is 0" in printed
