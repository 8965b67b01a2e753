"""Tables show the figures of the JSON, in percent."""

from __future__ import annotations

from wasabi import Printer

from spacy_clinical_ner.brat import parse_standoff
from spacy_clinical_ner.evaluation import evaluate
from spacy_clinical_ner.evaluation.statistics import corpus_report
from spacy_clinical_ner.evaluation.tables import print_corpus, print_metrics
from spacy_clinical_ner.tokenization import blank_pipeline

TEXT = "alpha beta gamma"
GOLD = "T1\tLetter 0 5\talpha\nT2\tA_label_that_is_longer_than_thirty_signs 6 10\tbeta\nR1\tNEAR Arg1:T1 Arg2:T2\t\n"
PRED = "T1\tLetter 0 5\talpha\nT2\tLetter 6 16\tbeta gamma\nT3\tLetter 0 5\talpha\n"


def rows(printed):
    """Cells by first cell, of the last table that has the row."""
    return {line.split("  ")[0].strip(): line.split() for line in printed.splitlines() if line.strip()}


def test_metrics(capsys):
    gold = [parse_standoff("n", TEXT, GOLD), parse_standoff("m", TEXT, "")]
    print_metrics(evaluate(gold, [parse_standoff("n", TEXT, PRED)], samples=20), Printer())
    printed = capsys.readouterr().out
    strict, relations = printed.split("Entities, relaxed")[0], printed.split("Relations, strict")[1]
    assert "2 documents" in strict
    assert rows(strict)["Letter"][1:4] == ["50.00", "100.00", "66.67"]
    assert rows(strict)["Letter"][-4:] == ["1", "1", "1", "0"]
    assert rows(strict)["micro"][1:4] == ["50.00", "50.00", "50.00"]
    assert rows(relations)["micro"][-4:] == ["1", "0", "0", "1"]
    assert "gold documents without a prediction, all missed: 1 (m)" in printed
    assert "1 predicted mentions repeat" in printed
    header, line, *_ = [row for row in strict.splitlines() if row.startswith(("  ", "--"))][-2:]
    assert len(header.rstrip()) <= len(line)


def test_no_intervals_without_samples(capsys):
    document = parse_standoff("n", TEXT, GOLD)
    print_metrics(evaluate([document], [document], samples=0), Printer())
    printed = capsys.readouterr().out
    assert "100.00" in printed
    assert " to " not in printed


def test_corpus(capsys):
    report = corpus_report(blank_pipeline("en"), [parse_standoff("n", TEXT, GOLD), parse_standoff("m", TEXT, PRED)])
    print_corpus(report, Printer())
    printed = capsys.readouterr().out
    cells = rows(printed)
    assert cells["tokens"] == ["tokens", "6"]
    assert cells["repeated mentions"][-1] == "1"
    assert cells["Letter"][1:3] == ["3", "2"]
    assert cells["NEAR"] == ["NEAR", "1"]
    assert "No mention overlaps another" in printed
    assert cells["flat (doc.ents)"][2:5] == ["100.00", "100.00", "100.00"]
    for word in TEXT.split():
        assert word not in printed
