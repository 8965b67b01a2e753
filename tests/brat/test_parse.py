from __future__ import annotations

from dataclasses import replace

import pytest

from spacy_clinical_ner.brat import (
    Attribute,
    Entity,
    Equivalence,
    Event,
    Normalization,
    Note,
    RelationLine,
    parse_standoff,
)
from spacy_clinical_ner.errors import InputError
from tests.brat.malformed import MALFORMED, SECRETS, TEXT

EVERY_KIND = """\
#1\tAnnotatorNotes T1\tdudoso:\tver informe
T1\tX 9 18\tcarcinoma
T2\tY 27 32\tDolor
T3\tX 19 25;0 7\tductal Secreto
E1\tX:T1 Theme:T2 Cause2:E2\x20
E2\tY:T2
R1\tCAUSE Arg1:E1 Arg2:T2\t
R2\tCAUSE Arg2:T1 Arg1:T2\t
A1\tNegation E1
M2\tCertainty R1 muy probable
*\tEquiv T1 T2 E2
*\tEquiv T1 T3
N1\tReference T1 CIE-O:8010/3:x\tCarcinoma
#2\tNormalizer N1
"""


def parse(ann, text=TEXT, **options):
    return parse_standoff("note", text, ann, path="note.ann", **options)


def test_every_kind_of_line():
    document = parse(EVERY_KIND)
    assert document.entities == [
        Entity("T1", "X", ((9, 18),), "carcinoma"),
        Entity("T2", "Y", ((27, 32),), "Dolor"),
        Entity("T3", "X", ((19, 25), (0, 7)), "ductal Secreto"),
    ]
    assert document.events == [
        Event("E1", "X", "T1", (("Theme", "T2"), ("Cause2", "E2"))),
        Event("E2", "Y", "T2"),
    ]
    assert document.relations == [
        RelationLine("R1", "CAUSE", (("Arg1", "E1"), ("Arg2", "T2"))),
        RelationLine("R2", "CAUSE", (("Arg2", "T1"), ("Arg1", "T2"))),
    ]
    assert [(relation.head, relation.tail) for relation in document.relations] == [("E1", "T2"), ("T2", "T1")]
    assert document.attributes == [
        Attribute("A1", "Negation", "E1"),
        Attribute("M2", "Certainty", "R1", "muy probable"),
    ]
    assert document.equivalences == [Equivalence("Equiv", ("T1", "T2", "E2")), Equivalence("Equiv", ("T1", "T3"))]
    assert document.normalizations == [Normalization("N1", "Reference", "T1", "CIE-O:8010/3:x", "Carcinoma")]
    assert document.notes == [
        Note("#1", "AnnotatorNotes", "T1", "dudoso:\tver informe"),
        Note("#2", "Normalizer", "N1"),
    ]
    assert document.mentions()["E1"].id == "T1"
    assert document.audit.counts() == {"kept": 14, "repaired": 0, "dropped": 0}
    assert [state.line for state in document.audit.states] == list(range(1, 15))
    assert document.standoff() == EVERY_KIND


def test_bom_blank_lines_and_no_final_newline():
    document = parse("\ufeffT1\tX 9 18\tcarcinoma\r\n\r\n  \nT2\tY 27 32\tDolor")
    assert [entity.id for entity in document.entities] == ["T1", "T2"]
    assert document.audit.read == 2
    assert [state.line for state in document.audit.states] == [1, 4]
    assert document.standoff() == "\ufeffT1\tX 9 18\tcarcinoma\r\n\r\n  \nT2\tY 27 32\tDolor"


@pytest.mark.parametrize("separator", ["\u2028", "\x85", "\x0b", "\x0c", "\x1c", "\r"])
def test_only_a_line_feed_ends_a_line(separator):
    text = f"a{separator}b"
    document = parse(f"T1\tX 0 3\t{text}\n", text)
    assert document.entities[0].text == text
    assert document.audit.counts()["kept"] == 1


def test_offsets_count_characters_of_the_file_as_it_is():
    text = "\ufeff😷\r\nfin"
    document = parse("T1\tX 0 1\t\ufeff\nT2\tX 1 2\t😷\nT3\tX 4 7\tfin\n", text)
    assert document.audit.counts()["kept"] == 3


@pytest.mark.parametrize("column", ["a  b", "a b", "a\r b"])
def test_a_line_break_in_a_mention(column):
    document = parse(f"T1\tX 0 4\t{column}\n", "a\r\nb")
    assert document.entities[0].text == column
    assert document.audit.counts()["kept"] == 1


@pytest.mark.parametrize(
    "text, fragments, pieces, discontinuous",
    [
        ("uno\ndos", "0 3;4 7", ((0, 7),), False),
        ("uno \r\n dos", "0 3;7 10", ((0, 10),), False),
        ("uno dos", "0 3;4 7", ((0, 3), (4, 7)), True),
        ("uno, dos", "5 8;0 3", ((0, 3), (5, 8)), True),
        ("uno.\ndos", "0 3;5 8", ((0, 3), (5, 8)), True),
        ("unodos", "3 6;0 3", ((0, 6),), False),
        ("unodos", "0 4;2 6", ((0, 6),), False),
        ("uno\ndos tres", "0 3;4 7;8 12", ((0, 7), (8, 12)), True),
    ],
)
def test_fragments(text, fragments, pieces, discontinuous):
    offsets = [tuple(map(int, part.split())) for part in fragments.split(";")]
    column = " ".join(text[start:end] for start, end in offsets)
    [entity] = parse(f"T1\tX {fragments}\t{column}\n", text).entities
    assert entity.fragments == tuple(offsets)
    assert entity.pieces == pieces
    assert (entity.start, entity.end) == (pieces[0][0], pieces[-1][1])
    assert entity.is_discontinuous == discontinuous


def test_entity_made_by_hand_finds_its_extent():
    entity = Entity("T1", "X", ((5, 8), (0, 3), (2, 4)), "")
    assert (entity.pieces, entity.start, entity.end) == (((0, 4), (5, 8)), 0, 8)


@pytest.mark.parametrize(
    "line, reason, written",
    [
        ("T1\tX 9 18\tcarcinoma ", "mention text differed", "T1\tX 9 18\tcarcinoma "),
        ("T1\tX 9 25\tcarcinomaductal", "in white space", "T1\tX 9 25\tcarcinomaductal"),
        ("T1\tX 9 25\tcarcinoma\xa0 ductal\r", "in white space", "T1\tX 9 25\tcarcinoma\xa0 ductal\r"),
        ("T1\tX 9 25\tcarcinoma  ductal\tx", "in white space", "T1\tX 9 25\tcarcinoma  ductal\tx"),
        ("T1\tX 9 18\tcarcinoma\tx", "columns after the mention text", "T1\tX 9 18\tcarcinoma\tx"),
        ("T1\tX  009 18\tcarcinoma", "spacing or number format", "T1\tX 9 18\tcarcinoma"),
        (
            "T1\tX 9 18\tcarcinoma\n*\tE  T1 T2\nT2\tX 0 1\tS",
            "spacing",
            "T1\tX 9 18\tcarcinoma\n*\tE T1 T2\nT2\tX 0 1\tS",
        ),
    ],
)
def test_repairs(line, reason, written):
    document = parse(line)
    assert document.audit.counts()["repaired"] == 1
    [repaired] = [state for state in document.audit.states if state.state == "repaired"]
    assert reason in repaired.reason
    assert document.standoff() == written
    assert parse(written).audit.counts()["dropped"] == 0


def test_a_repaired_line_is_counted_as_such_even_if_two_things_were_wrong():
    assert parse("T1\tX  9 18\tcarcinoma \n").audit.counts() == {"kept": 0, "repaired": 1, "dropped": 0}


def test_differing_text_is_an_error_by_option():
    with pytest.raises(InputError, match=r"note.ann:1: mention text differs"):
        parse("T1\tX 9 18\tcarcinoma ", text_mismatch="error")
    document = parse("T1\tX 9 18\tcarcinoma \n#1\tN T1\tx", text_mismatch="error", on_error="drop")
    assert document.audit.counts() == {"kept": 0, "repaired": 0, "dropped": 2}
    # Further columns are no other text.
    assert parse("T1\tX 9 18\tcarcinoma\tx", text_mismatch="error").audit.counts()["repaired"] == 1


@pytest.mark.parametrize("options", [{"on_error": "ignore"}, {"text_mismatch": "ignore"}])
def test_unknown_option(options):
    with pytest.raises(ValueError, match="not 'ignore'"):
        parse("", **options)


@pytest.mark.parametrize("kind", sorted(MALFORMED))
def test_malformed_line(kind):
    case = MALFORMED[kind]
    with pytest.raises(InputError) as caught:
        parse(case.ann)
    assert str(caught.value).startswith(f"note.ann:{case.line}: ")
    assert case.says in caught.value.reason
    assert not any(secret in str(caught.value) for secret in SECRETS)


@pytest.mark.parametrize("kind", sorted(MALFORMED))
def test_malformed_line_is_dropped_and_counted(kind):
    case = MALFORMED[kind]
    document = parse(case.ann, on_error="drop")
    counts = document.audit.counts()
    assert counts["dropped"] == case.dropped
    assert sum(counts.values()) == document.audit.read == len(case.lines)
    dropped = [state for state in document.audit.states if state.state == "dropped"]
    assert dropped[0].line == case.line
    for state in dropped:
        assert state.reason
        assert not any(secret in f"{state.reason} {state.label}" for secret in SECRETS)
    # What is left is a valid .ann, and what was dropped is given back where it stood.
    again = parse(document.standoff(readable=True))
    assert again == replace(document, other_lines=again.other_lines)
    assert document.standoff() == case.ann
    assert again.audit.counts() == {"kept": len(case.lines) - case.dropped, "repaired": 0, "dropped": 0}


def test_at_least_twenty_malformed_kinds():
    assert len(MALFORMED) >= 20


def test_a_long_chain_of_broken_references_is_linear():
    n = 20_000
    lines = ["#0\tN T9\t"] + [f"#{i}\tN #{i - 1}\t" for i in range(1, n)]
    document = parse("\n".join(reversed(lines)), on_error="drop")
    assert document.audit.counts() == {"kept": 0, "repaired": 0, "dropped": n}
    assert document.notes == []
