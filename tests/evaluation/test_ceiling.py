"""What a model without mistakes would score, by hand."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from spacy_clinical_ner.brat import Policy, align, parse_standoff, read_folder
from spacy_clinical_ner.evaluation.ceiling import FLAT, PER_LABEL, Ceiling
from spacy_clinical_ner.evaluation.pairs import mentions_of
from spacy_clinical_ner.tokenization import blank_pipeline

TEXT = "adenocarcinoma of the left lung and breast\nseen"
LINES = {
    "whole": "T1\tA 0 14\tadenocarcinoma\n",
    "inner": "T2\tA 5 14\tcarcinoma\n",  # begins inside a token
    "long": "T3\tA 22 42\tleft lung and breast\n",
    "nested": "T4\tA 27 31\tlung\n",
    "other label": "T5\tB 27 31\tlung\n",
    "broken": "T6\tB 0 14;36 42\tadenocarcinoma breast\n",
    "two lines": "T7\tC 36 42;43 47\tbreast seen\n",
    "twice": "T8\tA 0 14\tadenocarcinoma\n",
}


@pytest.fixture(scope="module")
def nlp():
    return blank_pipeline("en")


def ceiling(nlp, view, *names, **policy):
    policy = Policy(**policy)
    document = parse_standoff("n", TEXT, "".join(LINES[name] for name in names))
    result = Ceiling(nlp, policy, view)
    predicted = result.add(document, align(nlp, document, policy))
    return result.result(), predicted


def counts(report):
    return tuple(report["strict"]["micro"][key] for key in ("tp", "fp", "fn"))


def reasons(report):
    return report["lost"]["reasons"]


@pytest.mark.parametrize("view", [FLAT, PER_LABEL])
def test_what_fits_the_tokens_is_reached(nlp, view):
    report, predicted = ceiling(nlp, view, "whole", "long", "twice")
    assert report["view"] == view
    assert report["strict"]["micro"]["f"] == 1.0
    assert report["lost"] == {"total": 0, "reasons": {}, "mentions": []}
    assert [(e.label, e.start, e.end, e.text) for e in predicted.entities] == [
        ("A", 0, 14, "adenocarcinoma"),
        ("A", 22, 42, "left lung and breast"),
    ]


@pytest.mark.parametrize("view", [FLAT, PER_LABEL])
def test_a_boundary_inside_a_token_is_lost_although_training_splits_it(nlp, view):
    report, _ = ceiling(nlp, view, "inner")
    assert counts(report) == (0, 0, 1)
    assert report["lost"]["mentions"] == [
        {"document": "n", "id": "T2", "label": "A", "reason": "begins or ends inside a token"}
    ]


def test_expanding_predicts_the_whole_token_wrongly(nlp):
    report, predicted = ceiling(nlp, FLAT, "inner", misaligned="expand")
    assert counts(report) == (0, 1, 1)
    assert [(e.start, e.end) for e in predicted.entities] == [(0, 14)]
    assert reasons(report) == {"expanded to whole tokens": 1}


def test_flat_shows_one_of_overlapping_mentions(nlp):
    report, _ = ceiling(nlp, FLAT, "long", "nested", "other label")
    assert counts(report) == (1, 0, 2)
    assert reasons(report) == {"overlaps another mention": 2}
    report, predicted = ceiling(nlp, FLAT, "long", "nested", overlap="shortest")
    assert [(e.start, e.end) for e in predicted.entities] == [(27, 31)]
    assert counts(report) == (1, 0, 1)


def test_chains_per_label_lose_only_overlaps_of_one_label(nlp):
    report, _ = ceiling(nlp, PER_LABEL, "long", "nested", "other label")
    assert counts(report) == (2, 0, 1)
    assert reasons(report) == {"overlaps another mention of its label": 1}


def test_a_misaligned_mention_still_takes_the_place_of_what_it_hides(nlp):
    # Training splits the token, so the longer mention wins there; at prediction it cannot be made.
    text, ann = "adenocarcinoma mixto", "T1\tA 5 20\tcarcinoma mixto\nT2\tA 15 20\tmixto\n"
    document = parse_standoff("n", text, ann)
    for view in (FLAT, PER_LABEL):
        result = Ceiling(nlp, Policy(), view)
        assert not result.add(document, align(nlp, document)).entities
        assert counts(result.result()) == (0, 0, 2)


@pytest.mark.parametrize("view", [FLAT, PER_LABEL])
def test_the_outer_extent_of_a_discontinuous_mention_is_wrong(nlp, view):
    assert counts(ceiling(nlp, view, "broken")[0]) == (0, 1, 1)
    report, _ = ceiling(nlp, view, "broken", discontinuous="skip")
    assert counts(report) == (0, 0, 1)
    assert reasons(report) == {"discontinuous": 1}


@pytest.mark.parametrize("view", [FLAT, PER_LABEL])
def test_a_mention_over_a_line_break_is_reached(nlp, view):
    report, predicted = ceiling(nlp, view, "two lines")
    assert counts(report) == (1, 0, 0)
    assert {mention.fragments for mention in mentions_of(predicted)} == {((36, 47),)}


def test_documents_add_up(nlp):
    result = Ceiling(nlp, Policy(), FLAT)
    for name, kinds in (("a", ("whole",)), ("b", ("whole", "inner"))):
        document = parse_standoff(name, TEXT, "".join(LINES[kind] for kind in kinds))
        result.add(document, align(nlp, document))
    report = result.result()
    assert counts(report) == (2, 0, 1)
    assert report["lost"]["mentions"][0]["document"] == "b"


def test_unknown_views_are_refused(nlp):
    with pytest.raises(ValueError, match="flat, per_label"):
        Ceiling(nlp, Policy(), "both")


@pytest.mark.data
@pytest.mark.skipif(not os.environ.get("CLINICAL_NER_DATA"), reason="CLINICAL_NER_DATA is not set: no real corpora")
@pytest.mark.parametrize("corpus, view", [("cantemist/dev2", FLAT), ("maccrobat/dev", PER_LABEL)])
def test_the_ceiling_of_the_real_corpora(nlp, corpus, view):
    result = Ceiling(nlp, Policy(), view)
    for document in read_folder(Path(os.environ["CLINICAL_NER_DATA"]) / corpus):
        result.add(document, align(nlp, document))
    assert 0.985 <= result.result()["strict"]["micro"]["f"] < 1
