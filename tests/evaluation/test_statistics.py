"""Counting a small corpus by hand."""

from __future__ import annotations

import json

import pytest

from spacy_clinical_ner.brat import parse_standoff
from spacy_clinical_ner.errors import ClinicalNerError
from spacy_clinical_ner.evaluation.matching import Mention
from spacy_clinical_ner.evaluation.statistics import corpus_report, count_overlaps, sentence_lengths, token_lengths
from spacy_clinical_ner.tokenization import blank_pipeline

TEXT = "Adenocarcinoma of left lung. No mass seen!\nPlan\n"
ANN = (
    "T1\tDisease 0 27\tAdenocarcinoma of left lung\nT2\tDisease 0 14\tAdenocarcinoma\nT3\tSite 18 27\tleft lung\n"
    "T4\tSite 23 27\tlung\nT5\tSite 23 27\tlung\nT6\tPart 4 9\tocarc\nT7\tSite 18 22;32 36\tleft mass\n"
    "E1\tDisease:T1 \nR1\tAT Arg1:E1 Arg2:T3\t\nR2\tAT Arg1:T2 Arg2:T3\t\nR3\tIN Arg1:T4 Arg2:T3\t\n"
    "*\tSAME T1 T2\nA1\tNegated E1\nM2\tSure E1\n#1\tAnnotatorNotes T1\tsure\nN1\tReference T1 ICDO:8140/3\tx\n"
)


@pytest.fixture(scope="module")
def nlp():
    return blank_pipeline("en")


@pytest.fixture(scope="module")
def report(nlp):
    return corpus_report(nlp, [parse_standoff("a", TEXT, ANN), parse_standoff("b", "Lung", "T1\tSite 0 4\tLung\n")])


def test_sizes(report):
    assert report["documents"] == 2
    assert report["characters"] == len(TEXT) + 4
    assert report["tokens"] == 11  # Adenocarcinoma of left lung . No mass seen ! Plan, and Lung; no line breaks
    assert report["sentences"] == 4
    assert report["sentence_lengths"] == {"1": 2, "4": 1, "5": 1}


def test_lines_and_labels(report):
    assert report["lines"] == {"T": 8, "R": 3, "E": 1, "*": 1, "A": 1, "M": 1, "#": 1, "N": 1}
    assert report["relations"] == {"AT": 2, "IN": 1}
    assert report["equivalences"] == {"SAME": 1}
    assert report["events"] == {"Disease": 1}
    assert report["attributes"] == {"Negated": 1, "Sure": 1}


def test_entities(report):
    entities = report["entities"]
    assert (entities["total"], entities["duplicates"]) == (8, 1)
    assert (entities["discontinuous"], entities["misaligned"]) == (1, 1)
    assert list(entities["labels"]) == ["Site", "Disease", "Part"]
    assert entities["labels"]["Disease"] == {
        "count": 2,
        "documents": 1,
        "characters": {"mean": 20.5, "median": 20.5, "max": 27},
        "tokens": {"mean": 2.5, "median": 2.5, "max": 4},
    }
    assert entities["labels"]["Site"]["count"] == 4  # left lung, lung, left ... mass, Lung
    assert entities["labels"]["Site"]["documents"] == 2
    assert entities["labels"]["Site"]["tokens"] == {"mean": 1.5, "median": 1.5, "max": 2}
    assert report["mention_lengths"] == {
        "characters": {"4": 2, "5": 1, "8": 1, "9": 1, "14": 1, "27": 1},
        "tokens": {"1": 4, "2": 2, "4": 1},
    }


def test_overlaps(report):
    # same: T1-T2, T3-T4, and the outer extent of T7 (18 to 36) over T3 and T4.
    # different: T1 over T3, T4 and T6, T2 over T6, T1 and T7 cross.
    assert report["overlaps"] == {
        "same_label": {"same_extent": 0, "nested": 4, "crossing": 0},
        "different_label": {"same_extent": 0, "nested": 4, "crossing": 1},
        "mentions": 6,
    }


def test_ceilings(report):
    assert set(report["ceiling"]) == {"flat", "per_label"}
    assert report["policy"] == {"overlap": "longest", "misaligned": "split", "discontinuous": "outer"}
    # Per label: Disease T1 (hides T2), Site T7's outer extent (wrong; hides T3 and T4), Part T6 in a token; b's Lung.
    micro = report["ceiling"]["per_label"]["strict"]["micro"]
    assert (micro["tp"], micro["fp"], micro["fn"]) == (2, 1, 5)
    micro = report["ceiling"]["flat"]["strict"]["micro"]
    assert (micro["tp"], micro["fp"], micro["fn"]) == (2, 0, 5)


def test_the_report_is_json_without_note_text(report):
    written = json.dumps(report)
    for word in ("denocarcinoma", "lung", "Plan", "ocarc", "seen"):
        assert word not in written


def test_a_folder_without_documents_is_an_error(nlp):
    with pytest.raises(ClinicalNerError, match="no gold document"):
        corpus_report(nlp, [])


def mention(label, *fragments):
    return Mention(label, fragments)


def test_overlap_kinds():
    pairs = [mention("A", (0, 5)), mention("B", (0, 5)), mention("A", (3, 8)), mention("A", (8, 9))]
    assert count_overlaps(pairs) == {
        ("different_label", "same_extent"): 1,
        ("same_label", "crossing"): 1,
        ("different_label", "crossing"): 1,
        ("mentions", ""): 3,
    }
    assert count_overlaps([mention("A", (0, 2), (6, 8)), mention("A", (3, 5))])["same_label", "nested"] == 1
    assert count_overlaps([mention("A", (0, 3)), mention("A", (0, 5))])["same_label", "nested"] == 1
    assert count_overlaps([mention("A", (2, 5)), mention("A", (0, 5))])["same_label", "nested"] == 1


def test_sentence_lengths_leave_out_units_of_signs_and_white_space(nlp):
    assert sentence_lengths(nlp.tokenizer("One two... \n\n - \nThree?")) == [3, 2]
    assert sentence_lengths(nlp.tokenizer("")) == []


def test_token_lengths_count_touched_tokens_once(nlp):
    doc = nlp.tokenizer("alpha beta\ngamma")
    mentions = [mention("A", (2, 7)), mention("A", (6, 16)), mention("A", (0, 2), (3, 5)), mention("A", (5, 6))]
    assert token_lengths(doc, mentions) == [2, 2, 1, 0]
