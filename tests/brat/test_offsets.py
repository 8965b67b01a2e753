"""Offsets that other tools count differently: named, read right when told, and never taken for other words."""

from __future__ import annotations

import json
import os
from itertools import islice
from pathlib import Path

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from spacy_clinical_ner.brat import from_doc, parse_standoff, read_document, read_folder, to_doc
from spacy_clinical_ner.brat.offsets import OFFSETS, OffsetsError, counting, mention_part
from spacy_clinical_ner.brat.reader import create_brat_corpus
from spacy_clinical_ner.errors import InputError
from spacy_clinical_ner.evaluation import evaluate_folders
from spacy_clinical_ner.tokenization import blank_pipeline
from tests.brat.strategies import notes
from tests.cli.commands import run_command

DATA = os.environ.get("CLINICAL_NER_DATA", "")
CRLF = "Pain in left knee.\r\nNo fever today.\r\nGiven ibuprofen 400 mg.\r\nRash after penicillin.\r\n"
EMOJI = "😀 Patient reports pain. 💊💊 Took ibuprofen; later fever."
NLP = blank_pipeline("en")


def counted(text, name):
    """The number that a tool counting so gives to each character of the text, and to its end. By plain counting."""
    if name == "crlf-as-one":
        return [len(text[:i].replace("\r\n", "\n")) for i in range(len(text) + 1)]
    if name == "utf-16":
        return [len(text[:i].encode("utf-16-le")) // 2 for i in range(len(text) + 1)]
    if name == "bytes":
        return [len(text[:i].encode("utf8")) for i in range(len(text) + 1)]
    if name == "no-bom":
        return [len(text[:i].removeprefix("\ufeff")) for i in range(len(text) + 1)]
    return list(range(len(text) + 1))


def lines(text, spans, numbers, shift=0):
    """T lines for spans of characters, with the offsets that `numbers` gives them."""
    rows = []
    for index, (start, end) in enumerate(spans, 1):
        column = text[start:end].replace("\r", " ").replace("\n", " ")
        rows.append(f"T{index}\tX {numbers[start] + shift} {numbers[end] + shift}\t{column}\n")
    return "".join(rows)


def words(text, *found):
    return [(text.index(word), text.index(word) + len(word)) for word in found]


def shown(document):
    return [(entity.fragments, entity.text) for entity in document.entities]


CASES = {
    "crlf-as-one": (CRLF, words(CRLF, "Pain", "fever", "ibuprofen", "Rash", "penicillin")),
    "utf-16": (EMOJI, words(EMOJI, "pain", "ibuprofen", "fever")),
    "bytes": ("Tos y fiebre; náusea, vómito.", words("Tos y fiebre; náusea, vómito.", "fiebre", "náusea", "vómito")),
    "no-bom": ("\ufeffDolor y fiebre.", words("\ufeffDolor y fiebre.", "Dolor", "fiebre")),
}


@pytest.mark.parametrize("name", CASES)
def test_named_with_the_option_that_reads_it(name):
    text, spans = CASES[name]
    ann = lines(text, spans, counted(text, name))
    right = [(((start, end),), text[start:end]) for start, end in spans]
    for on_error in ("raise", "drop"):
        with pytest.raises(
            OffsetsError, match=rf"^n\.ann:\d+: the offsets of this note count .*--offsets {name}, or auto"
        ):
            parse_standoff("n", text, ann, path="n.ann", on_error=on_error)
    for option in (name, "auto"):
        document = parse_standoff("n", text, ann, offsets=option)
        assert shown(document) == right
        assert document.audit.counts() == {"kept": 0, "repaired": len(spans), "dropped": 0}
        [reason] = {state.reason for state in document.audit.states}
        assert reason.startswith("offsets counted anew: they count ")
        # What comes out counts characters, and needs no option any more.
        again = parse_standoff("n", text, from_doc(to_doc(NLP, document)).standoff())
        assert shown(again) == right and again.audit.counts()["kept"] == len(spans)
    plain = lines(text, spans, counted(text, "characters"))
    with pytest.raises(OffsetsError, match="count the characters of the file: read them with --offsets characters"):
        parse_standoff("n", text, plain, offsets=name)
    assert parse_standoff("n", text, plain, offsets="auto").audit.counts()["kept"] == len(spans)


def test_a_constant_shift():
    text, spans = CASES["crlf-as-one"]
    for shift in (-3, 4, 60):
        moved = [(start, end) for start, end in spans if start + shift >= 0]
        ann = lines(text, moved, counted(text, "characters"), shift)
        with pytest.raises(OffsetsError, match=rf"are all off by {shift}: read them with --offsets auto"):
            parse_standoff("n", text, ann)
        document = parse_standoff("n", text, ann, offsets="auto")
        assert shown(document) == [(((start, end),), text[start:end]) for start, end in moved]
        assert document.audit.counts()["repaired"] == len(moved)


@pytest.mark.parametrize(
    "text, ann",
    [
        ("no pain, no fever", "T1\tX 4 8\tpain\n"),  # one mention is no pattern
        ("pain pain pain pain", "T1\tX 1 5\tpain\nT2\tX 6 10\tpain\n"),  # several shifts would do
        ("no pain, no fever", "T1\tX 4 8\tpain\nT2\tX 11 16\tfever\n"),  # no way makes both agree
        ("no pain, no fever", "T1\tX 4 8\tpain\nT2\tX 12 17\tfever\n"),  # a typing error in one
    ],
)
@pytest.mark.parametrize("offsets", OFFSETS)
def test_what_fits_no_way_is_malformed(text, ann, offsets):
    with pytest.raises(InputError, match=r":1: mention text differs from the document at its offsets") as caught:
        parse_standoff("n", text, ann, path="n.ann", offsets=offsets)
    assert not isinstance(caught.value, OffsetsError)
    document = parse_standoff("n", text, ann, offsets=offsets, on_error="drop")
    assert {entity.text for entity in document.entities} <= {"fever"}
    assert all(text[entity.start : entity.end] == entity.text for entity in document.entities)


def test_a_column_that_agrees_whole_comes_before_one_that_agrees_up_to_its_tab():
    text = "x\r\n\r\n\ty"
    counted_as_one = "T1\tX 0 5\tx    \ty\n"  # in characters x and two line ends, and a second column
    with pytest.raises(OffsetsError, match="--offsets crlf-as-one"):
        parse_standoff("n", text, counted_as_one)
    for option in ("auto", "crlf-as-one"):
        assert shown(parse_standoff("n", text, counted_as_one, offsets=option)) == [(((0, 7),), "x    \ty")]
    # Where no way makes the column agree whole, what stands behind the tab is a column of its own.
    [entity] = parse_standoff("n", text, "T1\tX 0 1\tx\ty\n").entities
    assert (entity.text, entity.trailing) == ("x", "\ty")


def test_a_tab_inside_a_mention_parts_no_column():
    assert mention_part("a\tb\tsure", "a\tb", ((0, 3),)) == "a\tb"
    assert mention_part("a  b", "a\tb", ((0, 3),)) == "a  b"
    assert mention_part("b\tb", "a\tb", ((1, 3),)) is None
    assert mention_part("\tb", "a ", ((1, 2),)) is None


def test_offsets_inside_a_character_are_malformed():
    text = "é 😀 x"
    for offsets, ann in (("bytes", "T1\tX 1 3\té\n"), ("utf-16", "T1\tX 3 5\t😀\n"), ("bytes", "T1\tX 0 99\té\n")):
        with pytest.raises(InputError, match="lie beyond the text or inside a character"):
            parse_standoff("n", text, ann, offsets=offsets)


def test_counting_equals_plain_counting():
    text = "\ufeffa\r\n\né😀\r\r\n\ufeff\u2028中"
    for name in OFFSETS[1:]:
        way, numbers = counting(name, text), counted(text, name)
        for start in range(len(text)):
            [(first, last)] = way.fragments([(numbers[start], numbers[len(text)])], len(text))
            assert numbers[first] == numbers[start] and first >= start and last == len(text)
    with pytest.raises(ValueError, match="offsets is one of auto, characters"):
        counting("ebcdic", text)


@st.composite
def note_and_spans(draw):
    text = draw(notes())
    assume(text.strip())
    spans = []
    for _ in range(draw(st.integers(1, 6))):
        start = draw(st.integers(0, len(text) - 1))
        spans.append((start, draw(st.integers(start + 1, len(text)))))
    return text, [(start, end) for start, end in spans if text[start:end].strip()]


@settings(max_examples=600, deadline=None)
@given(note=note_and_spans(), name=st.sampled_from(OFFSETS[1:]), shift=st.integers(-9, 9), data=st.data())
def test_whatever_the_counting_no_other_words_are_read(note, name, shift, data):
    """Read rightly, or refused; and where it is refused by name, the option named reads it rightly."""
    text, spans = note
    numbers = counted(text, name)
    # A tool that does not see a sign can neither point between it and its neighbour nor write it into its column.
    spans = [(a, b) for a, b in spans if numbers[a] < numbers[b] and not (name == "no-bom" and a == 0 < numbers[-1])]
    shift = shift if name == "characters" else 0
    assume(spans and all(numbers[a] + shift >= 0 for a, _ in spans))
    ann = lines(text, spans, numbers, shift)
    dense = ["".join(text[a:b].split()) for a, b in spans]

    def check(document):
        assert ["".join(text[e.start : e.end].split()) for e in document.entities] == dense
        assert all(state.state != "dropped" for state in document.audit.states)

    try:
        check(parse_standoff("n", text, ann))
    except OffsetsError as error:
        check(parse_standoff("n", text, ann, offsets=error.reason.split("--offsets ")[1].split(",")[0]))
    except InputError:
        assert shift, "only a shift may stay without a name: of one mention, or one of several that would do"
    if not shift:
        document = parse_standoff("n", text, ann, offsets=name)
        check(document)
        for (a, b), entity in zip(spans, document.entities):
            assert (numbers[entity.start], numbers[entity.end]) == (numbers[a], numbers[b])
    lenient = data.draw(st.sampled_from(OFFSETS))
    try:
        document = parse_standoff("n", text, ann, offsets=lenient, on_error="drop")
    except OffsetsError:
        return
    for entity in document.entities:
        assert "".join(text[entity.start : entity.end].split()) == "".join(entity.text.split())


@pytest.fixture
def shifted(tmp_path):
    text, spans = CASES["crlf-as-one"]
    folder = tmp_path / "notes"
    folder.mkdir()
    (folder / "a.txt").write_bytes(text.encode("utf8"))
    (folder / "a.ann").write_text(lines(text, spans, counted(text, "crlf-as-one")))
    return folder


def test_every_reader_names_it_and_takes_the_option(shifted, tmp_path):
    gold = tmp_path / "gold"
    gold.mkdir()
    text, spans = CASES["crlf-as-one"]
    (gold / "a.txt").write_bytes(text.encode("utf8"))
    (gold / "a.ann").write_text(lines(text, spans, counted(text, "characters")))
    readers = {
        "read_document": lambda **options: read_document(shifted / "a.txt", **options),
        "read_folder": lambda **options: list(read_folder(shifted, **options)),
        "BratCorpus": lambda **options: list(create_brat_corpus(shifted, **options)(NLP)),
        "evaluate": lambda **options: evaluate_folders(gold, shifted, samples=0, **options),
    }
    for read in readers.values():
        with pytest.raises(InputError, match=r"a\.ann:2: .*--offsets crlf-as-one"):
            read()
    [example] = readers["BratCorpus"](offsets="crlf-as-one")
    assert [entity.text for entity in example.reference.ents] == [text[a:b] for a, b in spans]
    assert readers["evaluate"](offsets="auto")["entities"]["strict"]["micro"]["f"] == 1.0
    with pytest.raises(ValueError, match="offsets is one of"):
        create_brat_corpus(shifted, offsets="lines")


def test_the_command_line(shifted, tmp_path, monkeypatch, capsys):
    for command in (["convert", shifted, tmp_path / "a.spacy", "--lang", "en"], ["stats", shifted]):
        assert run_command(*command[:1], monkeypatch, *command[1:]) == 2
        [line] = capsys.readouterr().err.splitlines()
        assert line.startswith(f"clinical-ner: {shifted}/a.ann:2: ") and "--offsets crlf-as-one" in line
        assert "fever" not in line
        assert run_command(*command[:1], monkeypatch, *command[1:], "--offsets", "crlf-as-one") == 0
        capsys.readouterr()
    audit = tmp_path / "audit.json"
    arguments = [shifted, tmp_path / "a.spacy", "--lang", "en", "--offsets", "auto", "--audit", audit]
    assert run_command("convert", monkeypatch, *arguments) == 0
    assert json.loads(audit.read_text())["lines"]["repaired"] == 5
    assert run_command("evaluate", monkeypatch, shifted, shifted, "--offsets", "crlf-as-one", "--fail-under", "1") == 0


@pytest.mark.parametrize("unit", ["utf-16", "bytes"])
@pytest.mark.parametrize("bom", ["", "\ufeff"])
def test_ways_that_come_together_are_named_and_read_by_auto(unit, bom):
    """CRLF as one line end, UTF-16 units or bytes, and perhaps no byte order mark: none of them fits alone."""
    text = bom + "Niña 🩺 años\r\nfiebre\r\ny tos\r\n"
    spans = [(text.index(word), text.index(word) + len(word)) for word in ("Niña", "fiebre", "tos")]
    units = {"utf-16": lambda part: len(part.encode("utf-16-le")) // 2, "bytes": lambda part: len(part.encode())}

    def count(place):
        return units[unit](text[:place].replace("\r\n", "\n").removeprefix("\ufeff"))

    ann = "".join(f"T{i}\tX {count(start)} {count(end)}\t{text[start:end]}\n" for i, (start, end) in enumerate(spans))
    with pytest.raises(OffsetsError) as caught:
        parse_standoff("n", text, ann)
    assert "each CRLF as one character, " in caught.value.reason and "--offsets auto" in caught.value.reason
    document = parse_standoff("n", text, ann, offsets="auto")
    assert [entity.fragments for entity in document.entities] == [(span,) for span in spans]
    assert document.audit.counts()["repaired"] == 3


@pytest.mark.data
@pytest.mark.skipif(not DATA, reason="CLINICAL_NER_DATA names no folder of real corpora")
def test_variants_of_real_notes_are_all_detected(tmp_path):
    """100 notes of CANTEMIST, each counted in every other way: named, read right, and nothing else trained on."""
    documents = list(islice((d for d in read_folder(Path(DATA) / "cantemist" / "train") if d.entities), 100))
    made = found = wrong = mentions = 0
    for name in (*OFFSETS[2:], "shift"):
        for document in documents:
            folder = tmp_path / f"{name}-{document.name}"
            folder.mkdir()
            text = document.text.replace("\r\n", "\n").replace("\n", "\r\n")
            position = [len(document.text[:i].replace("\n", "\r\n")) for i in range(len(document.text) + 1)]
            if name != "crlf-as-one":
                text, position = document.text, list(range(len(document.text) + 1))
            if name == "utf-16":  # a sign of two units where Spanish notes have none
                text = "🩺" + text[1:]
            elif name == "no-bom":
                text, position = "\ufeff" + text, [index + 1 for index in position]
            spans = [(position[e.start], position[e.end]) for e in document.entities]
            numbers, shift = counted(text, name), 7 if name == "shift" else 0
            right = {(start, end, text[start:end]) for start, end in spans}
            shifts = sum(numbers[start] + shift != start for start, _ in spans)
            (folder / "n.txt").write_bytes(text.encode("utf8"))
            (folder / "n.ann").write_bytes(lines(text, spans, numbers, shift).encode("utf8"))
            made += bool(shifts)
            try:
                trained = list(create_brat_corpus(folder)(NLP))
            except OffsetsError as error:
                found += 1
                option = "auto" if name == "shift" else name
                assert f"--offsets {option}" in error.reason
                trained = list(create_brat_corpus(folder, offsets=option)(NLP))
            for example in trained:
                seen = {(s.start_char, s.end_char, s.text) for s in example.reference.spans["sc"]}
                mentions += len(seen)
                wrong += len(seen - right)
    print(f"{made} variants of {len(documents)} notes, {found} detected; {mentions} mentions trained on, {wrong} wrong")
    assert found == made > 0 and wrong == 0
