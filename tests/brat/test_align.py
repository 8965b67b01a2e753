from __future__ import annotations

import pytest
import spacy
from spacy.tokens import Doc
from spacy.training import Example

from spacy_clinical_ner.brat import BratDocument, Policy, align, parse_standoff, to_doc
from spacy_clinical_ner.tokenization import blank_pipeline


@pytest.fixture(scope="module")
def nlp():
    """A tokenizer that cuts at white space only, so that boundaries inside tokens are easy to see."""
    nlp = spacy.blank("es")
    nlp.tokenizer = spacy.tokenizer.Tokenizer(nlp.vocab)
    return nlp


def brat(text, *mentions):
    """A document from (label, fragments) pairs."""
    lines = []
    for number, (label, *fragments) in enumerate(mentions, start=1):
        offsets = ";".join(f"{start} {end}" for start, end in fragments)
        column = " ".join(text[start:end] for start, end in fragments).replace("\n", " ")
        lines.append(f"T{number}\t{label} {offsets}\t{column}")
    return parse_standoff("note", text, "\n".join(lines))


def shown(spans):
    return [(span.label_, span.start_char, span.end_char) for span in spans]


def test_split_cuts_exactly_at_the_mention(nlp):
    document = brat("el G3|pT2 de 8mg.", ("G", (3, 5)), ("T", (6, 9)), ("D", (13, 16)))
    doc = to_doc(nlp, document)
    assert [token.text for token in doc] == ["el", "G3", "|", "pT2", "de", "8mg", "."]
    assert [token.whitespace_ for token in doc] == [" ", "", "", " ", " ", "", ""]
    assert doc.text == document.text
    assert shown(doc.ents) == [("G", 3, 5), ("T", 6, 9), ("D", 13, 16)]
    alignment = align(nlp, document)
    assert [outcome.misaligned for outcome in alignment.mentions] == [True, True, True]
    assert alignment.counts() == {"kept": 3, "repaired": 0, "dropped": 0}


@pytest.mark.parametrize(
    "policy, expected, state, reason",
    [
        ("expand", [("T", 3, 9)], "repaired", "expanded to whole tokens"),
        ("contract", [], "dropped", "no whole token inside"),
        ("drop", [], "dropped", "begins or ends inside a token"),
    ],
)
def test_misaligned(nlp, policy, expected, state, reason):
    document = brat("el G3|pT2 de", ("T", (6, 9)))
    doc = to_doc(nlp, document, misaligned=policy)
    assert [token.text for token in doc] == ["el", "G3|pT2", "de"]
    assert shown(doc.ents) == shown(doc.spans["sc"]) == expected
    [outcome] = align(nlp, document, Policy(misaligned=policy)).mentions
    assert (outcome.state, outcome.reason, outcome.misaligned) == (state, reason, True)


def test_contract_to_the_tokens_inside(nlp):
    document = brat("xuno dos tresx", ("M", (1, 13)))
    assert shown(to_doc(nlp, document, misaligned="contract").ents) == [("M", 5, 8)]
    assert shown(to_doc(nlp, document, misaligned="expand").ents) == [("M", 0, 14)]


@pytest.mark.parametrize("make", [blank_pipeline, spacy.blank])
@pytest.mark.parametrize(
    "start, end", [(0, 4), (3, 7), (3, 4), (7, 9), (7, 12), (8, 9), (12, 16), (15, 16), (15, 17), (0, 17), (16, 17)]
)
def test_white_space_at_mention_edges_needs_no_trimming(make, start, end):
    text = "uno dos \n tres  \t"
    nlp = make("es")
    document = brat(text, ("X", (start, end)))
    doc = to_doc(nlp, document)
    assert doc.text == text
    assert shown(doc.ents) == shown(doc.spans["sc"]) == [("X", start, end)]
    example = Example(Doc(nlp.vocab, [t.text for t in doc], [bool(t.whitespace_) for t in doc]), doc)
    assert "X" in str(example.get_aligned_ner())


def test_trimming_white_space(nlp):
    document = brat("uno dos \n tres", ("X", (3, 10)), ("Y", (7, 10)), ("Z", (0, 3)))
    doc = to_doc(nlp, document, trim_whitespace=True)
    assert shown(doc.ents) == [("Z", 0, 3), ("X", 4, 7)]
    outcomes = align(nlp, document, Policy(trim_whitespace=True)).mentions
    assert [(outcome.state, outcome.reason) for outcome in outcomes] == [
        ("repaired", "white space trimmed from the edges"),
        ("dropped", "nothing but white space"),
        ("kept", ""),
    ]


def test_expanding_to_nothing(nlp):
    [outcome] = align(nlp, brat("uno dos", ("X", (3, 4))), Policy(misaligned="expand")).mentions
    assert (outcome.state, outcome.reason) == ("dropped", "no token to expand to")


@pytest.mark.parametrize(
    "overlap, expected", [("longest", "ACE"), ("first", "BDE"), ("shortest", "ADE")], ids=lambda value: value
)
def test_overlap(nlp, overlap, expected):
    text = "uno dos tre cuatro c cinco."
    document = brat(text, ("A", (0, 3)), ("B", (0, 11)), ("C", (8, 20)), ("D", (12, 20)), ("E", (21, 27)))
    doc = to_doc(nlp, document, overlap=overlap)
    assert "".join(span.label_ for span in doc.ents) == expected
    assert len(doc.spans["sc"]) == 5
    outcomes = align(nlp, document, Policy(overlap=overlap)).mentions
    assert "".join(outcome.entity.label for outcome in outcomes if outcome.in_ents) == expected
    assert {outcome.hidden for outcome in outcomes if not outcome.in_ents} == {"overlaps another mention"}


def test_ties_go_to_the_earlier_line(nlp):
    for labels in ("AB", "BA"):
        document = brat("uno dos", *((label, (0, 3)) for label in labels))
        for overlap in ("longest", "first", "shortest"):
            assert to_doc(nlp, document, overlap=overlap).ents[0].label_ == labels[0]


def test_same_label_and_offsets_collapse_but_are_counted(nlp):
    document = brat("uno dos", ("A", (0, 3)), ("A", (0, 3)), ("B", (0, 3)))
    doc = to_doc(nlp, document)
    assert [(span.label_, span.id_) for span in doc.spans["sc"]] == [("A", "T1"), ("B", "T3")]
    hidden = [outcome.hidden for outcome in align(nlp, document).mentions]
    assert hidden == ["", "same label and offsets as another mention", "overlaps another mention"]


@pytest.mark.parametrize(
    "policy, expected, reason",
    [
        ("outer", [("X", 0, 13)], "discontinuous: outer extent"),
        ("first", [("X", 0, 3)], "discontinuous: first piece"),
        ("longest", [("X", 8, 13)], "discontinuous: longest piece"),
        ("skip", [], "discontinuous: skipped"),
    ],
)
def test_discontinuous(nlp, policy, expected, reason):
    document = brat("uno dos cinco", ("X", (8, 13), (0, 3)))
    doc = to_doc(nlp, document, discontinuous=policy)
    assert shown(doc.ents) == shown(doc.spans["sc"]) == expected
    [outcome] = align(nlp, document, Policy(discontinuous=policy)).mentions
    assert outcome.reason == reason
    assert outcome.state == ("dropped" if policy == "skip" else "repaired")
    fragments = doc.spans["sc"].attrs["fragments"]
    assert fragments == ({} if policy == "skip" else {"T1": [[8, 13], [0, 3]]})


def test_fragments_parted_by_a_line_break_are_one_mention(nlp):
    document = brat("uno\ndos", ("X", (0, 3), (4, 7)))
    [outcome] = align(nlp, document, Policy(discontinuous="skip")).mentions
    assert (outcome.state, outcome.extent) == ("kept", (0, 7))


def test_splitting_keeps_the_norms_of_other_tokens():
    nlp = spacy.blank("en")
    document = brat("don't take 8mgx", ("X", (11, 14)))
    doc = to_doc(nlp, document)
    assert [token.text for token in doc] == ["do", "n't", "take", "8mg", "x"]
    assert doc[1].norm_ == nlp.make_doc("don't")[1].norm_ == "not"


@pytest.mark.parametrize("name", ["overlap", "misaligned", "discontinuous"])
def test_unknown_policy(nlp, name):
    with pytest.raises(ValueError, match=f"{name} is one of"):
        to_doc(nlp, brat("uno"), **{name: "best"})


def test_a_tokenizer_that_changes_the_text_is_refused():
    nlp = spacy.blank("es")
    nlp.tokenizer = lambda text: Doc(nlp.vocab, words=text.split())
    with pytest.raises(ValueError, match="the tokenizer changed the text of note"):
        align(nlp, brat("uno  dos"))


def test_notes_longer_than_the_pipeline_allows():
    nlp = blank_pipeline("es")
    nlp.max_length = 10
    text = "carcinoma 8mg " * 5000
    document = brat(text, *(("X", (14 * i + 10, 14 * i + 12)) for i in range(5000)))
    doc = to_doc(nlp, document)
    assert len(doc.ents) == 5000
    assert doc.text == text


def test_empty_note(nlp):
    doc = to_doc(nlp, BratDocument("note", ""))
    assert (doc.text, len(doc.ents), len(doc.spans["sc"]), doc._.relations) == ("", 0, 0, [])
