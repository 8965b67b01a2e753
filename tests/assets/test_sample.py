"""The committed sample: what the generator writes, well formed, and with all the hard things in it."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections import Counter
from itertools import combinations
from pathlib import Path
from typing import Dict, Iterator, List, Tuple

import pytest

from spacy_clinical_ner.brat import BratDocument, Entity, read_document, read_folder
from spacy_clinical_ner.brat.ccks import read_records
from spacy_clinical_ner.tokenization import blank_pipeline

ASSETS = Path(__file__).resolve().parents[2] / "assets"
SAMPLE = ASSETS / "sample"
SPLITS = ("train", "dev", "test")
LABELS = {
    "cantemist": {"MORFOLOGIA_NEOPLASIA"},
    "maccrobat": {
        *("Age", "Biological_structure", "Clinical_event", "Coreference", "Date", "Diagnostic_procedure"),
        *("Disease_disorder", "Dosage", "History", "Lab_value", "Medication", "Severity", "Sex", "Sign_symptom"),
        "Therapeutic_procedure",
    },
    "diabetes": {
        *("Amount", "Anatomy", "Disease", "Drug", "Duration", "Frequency", "Level", "Method", "Operation"),
        *("Reason", "SideEff", "Symptom", "Test", "Test_Value", "Treatment"),
    },
    "coronary": {"Negation", "Body_Part", "Degree", "Quantifier", "Location"},
}
RELATIONS = {
    "cantemist": set(),
    "maccrobat": {"MODIFY", "BEFORE", "AFTER", "IDENTICAL", "SUB_PROCEDURE", "CAUSE"},
    "diabetes": set(),
    "coronary": {"Negative", "Modifier", "Position", "Percentage"},
}
SIZES = {"cantemist": (60, 20, 20), "maccrobat": (40, 12, 12), "diabetes": (40, 12, 12), "coronary": (40, 12, 12)}


@pytest.fixture(scope="module")
def corpora() -> Dict[Tuple[str, str], List[BratDocument]]:
    """Read strictly: a mention text that is not the slice of the note at its offsets is an error."""
    return {
        (name, split): list(read_folder(SAMPLE / name / split, text_mismatch="error"))
        for name in LABELS
        for split in SPLITS
    }


@pytest.fixture(scope="module")
def generator() -> Iterator[object]:
    sys.path.insert(0, str(ASSETS))
    try:
        from generator import corpora, derive, drafts, grammar, records

        yield {"corpora": corpora, "derive": derive, "drafts": drafts, "grammar": grammar, "records": records}
    finally:
        sys.path.remove(str(ASSETS))


def contents(folder: Path) -> Dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_the_seed_gives_the_committed_files(tmp_path: Path) -> None:
    command = [sys.executable, "-B", str(ASSETS / "generate.py"), "--output", str(tmp_path)]
    subprocess.run([*command, "--seed", "2020"], check=True, capture_output=True)
    assert contents(tmp_path / "sample") == contents(SAMPLE)


def test_another_seed_gives_other_notes(tmp_path: Path) -> None:
    command = [sys.executable, "-B", str(ASSETS / "generate.py"), "--output", str(tmp_path)]
    subprocess.run([*command, "--seed", "1"], check=True, capture_output=True)
    ours, theirs = contents(SAMPLE), contents(tmp_path / "sample")
    assert ours.keys() == theirs.keys()
    assert sum(ours[name] == theirs[name] for name in ours) < 20


@pytest.mark.parametrize("name, notes, characters", [("diabetes", 20, 2000), ("ccks2019", 30, 0)])
def test_a_corpus_of_another_size(tmp_path: Path, name: str, notes: int, characters: int) -> None:
    command = [sys.executable, "-B", str(ASSETS / "generate.py"), "--corpus", name, "--output", str(tmp_path)]
    subprocess.run([*command, "--notes", str(notes), "--characters", str(characters)], check=True, capture_output=True)
    parts = {split: list(read_folder(tmp_path / split, text_mismatch="error")) for split in SPLITS}
    assert {split: len(part) for split, part in parts.items()} == {
        "train": notes - 2 * max(2, notes // 10),
        "dev": max(2, notes // 10),
        "test": max(2, notes // 10),
    }
    texts = [document.text for part in parts.values() for document in part]
    assert len(set(texts)) > 0.9 * notes  # the notes without mentions are much alike
    assert min(map(len, texts)) >= characters
    assert sum(len(document.entities) for document in parts["train"]) > len(parts["train"])


def test_size() -> None:
    sizes = {name: len(data) for name, data in contents(SAMPLE).items()}
    assert sum(sizes.values()) < 1_500_000
    assert sum(size for name, size in sizes.items() if name.startswith("raw/")) < 500_000
    for name, expected in SIZES.items():
        for split, count in zip(SPLITS, expected):
            assert len(list((SAMPLE / name / split).glob("*.ann"))) == count


@pytest.mark.parametrize("name", LABELS)
@pytest.mark.parametrize("split", SPLITS)
def test_every_line_is_kept_and_every_label_is_there(corpora, name: str, split: str) -> None:
    documents = corpora[name, split]
    assert sum(document.audit.counts()["kept"] for document in documents) > 250
    assert all(document.audit.counts()["kept"] == document.audit.read for document in documents)
    assert {entity.label for document in documents for entity in document.entities} == LABELS[name]
    assert {relation.label for document in documents for relation in document.relations} == RELATIONS[name]


def test_mentions_are_the_slices_at_their_offsets(corpora) -> None:
    for documents in corpora.values():
        for document in documents:
            for entity in document.entities:
                assert entity.text == " ".join(document.text[start:end] for start, end in entity.fragments)
                assert "\n" not in entity.text and "\r" not in entity.text


def test_no_mention_stands_there_twice(corpora) -> None:
    for documents in corpora.values():
        for document in documents:
            assert max(Counter((e.label, e.fragments) for e in document.entities).values(), default=1) == 1


def overlaps(document: BratDocument) -> Tuple[int, int]:
    """Pairs of overlapping mentions of one label: nested, crossing."""
    nested = crossing = 0
    for a, b in combinations(sorted(document.entities, key=lambda e: (e.start, -e.end)), 2):
        if a.label == b.label and b.start < a.end:
            nested += b.end <= a.end
            crossing += b.end > a.end
    return nested, crossing


@pytest.mark.parametrize("name", LABELS)
def test_overlaps_and_discontinuous_mentions(corpora, name: str) -> None:
    for split in ("train", "dev"):
        documents = corpora[name, split]
        assert sum(overlaps(document)[0] for document in documents) > 0
        assert sum(e.is_discontinuous for document in documents for e in document.entities) > 0
    if name in ("cantemist", "maccrobat"):
        assert sum(overlaps(document)[1] for split in SPLITS for document in corpora[name, split]) > 0


@pytest.mark.parametrize("name", LABELS)
@pytest.mark.parametrize("split", SPLITS)
def test_line_ends_and_byte_order_marks(corpora, name: str, split: str) -> None:
    texts = [document.text for document in corpora[name, split]]
    assert 0 < sum("\r\n" in text for text in texts) < len(texts) / 4
    assert not any(re.search(r"(?<!\r)\n", text) for text in texts if "\r\n" in text)
    assert 0 < sum(text.startswith("\ufeff") for text in texts) < len(texts) / 4
    assert any("\r\n" in text and text.startswith("\ufeff") for text in texts)
    assert any(not text.endswith("\n") for text in texts)


@pytest.mark.parametrize("name", LABELS)
def test_odd_spaces_and_tables(corpora, name: str) -> None:
    texts = [document.text for split in SPLITS for document in corpora[name, split]]
    if name != "coronary":  # it has no spaces before its units
        assert any("\u00a0" in text for text in texts)
        assert any("\u2009" in text for text in texts)
    assert any(re.search(r"\S\t\S+\t\S", text) for text in texts)


@pytest.mark.parametrize("name", ["diabetes", "coronary"])
def test_hard_line_breaks_inside_mentions(corpora, name: str) -> None:
    def broken(entity: Entity) -> bool:
        return len(entity.fragments) > len(entity.pieces)

    for split in SPLITS:
        counts = [sum(map(broken, document.entities)) for document in corpora[name, split]]
        assert sum(counts) > 5
        crlf = [n for n, document in zip(counts, corpora[name, split]) if "\r\n" in document.text]
        assert sum(crlf) > 0


def test_full_width_beside_half_width(corpora) -> None:
    values = "".join(
        e.text for split in SPLITS for d in corpora["diabetes", split] for e in d.entities if e.label == "Test_Value"
    )
    assert "％" in values and "%" in values
    assert "．" in values and "／" in values
    drugs = {e.text for split in SPLITS for d in corpora["diabetes", split] for e in d.entities if e.label == "Drug"}
    assert any(re.search(r"[A-Z0-9]", drug) for drug in drugs)


@pytest.mark.parametrize("name", ["cantemist", "maccrobat"])
def test_mentions_that_end_inside_a_token(corpora, name: str) -> None:
    glued = [
        entity
        for split in SPLITS
        for document in corpora[name, split]
        for entity in document.entities
        for around in [document.text[entity.end - 1 : entity.end + 1]]
        if len(around) == 2 and not re.search(r"[\s.,;:()]", around)
    ]
    assert len(glued) > 5


def test_clinical_tokens_do_not_cut_everything(corpora) -> None:
    """At least one mention ends inside a token even of the clinical tokenizer: run-together words."""
    nlp = blank_pipeline("es")
    ends = []
    for document in corpora["cantemist", "train"]:
        tokens = {token.idx + len(token) for token in nlp(document.text)}
        ends += [end not in tokens for entity in document.entities for _, end in entity.pieces]
    assert 0 < sum(ends) < 10


def test_white_space_at_the_edge_of_mentions(corpora) -> None:
    assert any(e.text != e.text.strip() for d in corpora["maccrobat", "train"] for e in d.entities)


@pytest.mark.parametrize("name", LABELS)
@pytest.mark.parametrize("split", SPLITS)
def test_one_note_has_no_mentions(corpora, name: str, split: str) -> None:
    empty = [document.name for document in corpora[name, split] if not document.entities]
    assert len(empty) == 1
    assert (SAMPLE / name / split / f"{empty[0]}.ann").read_bytes() == b""


def test_events_attributes_equivalences_and_remarks(corpora) -> None:
    for split in SPLITS:
        documents = corpora["maccrobat", split]
        assert sum(len(document.equivalences) for document in documents) > 0
        assert sum(len(document.notes) for document in documents) > 0
        assert {a.label for document in documents for a in document.attributes} == {"POLARITY", "TREND"}
        ends = [end[0] for d in documents for r in d.relations for _, end in r.arguments]
        assert set(ends) == {"E", "T"}
        assert any(len(document.equivalences) > 1 for document in documents)


def test_relations_join_the_types_that_they_are_for(corpora) -> None:
    expected = {
        "Negative": ("Negation", "Degree"),
        "Modifier": ("Degree", "Body_Part"),
        "Position": ("Location", "Body_Part"),
        "Percentage": ("Quantifier", "Degree"),
    }
    for split in SPLITS:
        for document in corpora["coronary", split]:
            mentions = document.mentions()
            for relation in document.relations:
                labels = (mentions[relation.head].label, mentions[relation.tail].label)
                assert labels == expected[relation.label]


def test_raw_notes_have_no_annotations() -> None:
    notes = sorted((SAMPLE / "raw/es").iterdir())
    assert len(notes) == 150
    assert {note.suffix for note in notes} == {".txt"}
    assert read_document(notes[0]).audit.has_ann is False
    annotated = {document.text for split in SPLITS for document in read_folder(SAMPLE / "cantemist" / split)}
    assert not annotated & {note.read_bytes().decode("utf8") for note in notes}


@pytest.mark.parametrize("word", ["tumoral", "tumorales", "lesión hepática", "LH", "Tumores"])
def test_words_are_mentions_in_one_context_only(corpora, word: str) -> None:
    inside = outside = 0
    for split in SPLITS:
        for document in corpora["cantemist", split]:
            covered = {i for entity in document.entities for a, b in entity.fragments for i in range(a, b)}
            for found in re.finditer(rf"(?<!\w){word}(?!\w)", document.text):
                if found.start() in covered:
                    inside += 1
                else:
                    outside += 1
    assert outside > 0
    assert inside > 0 or word == "Tumores"


@pytest.mark.parametrize("name", LABELS)
def test_dev_and_test_have_terms_and_templates_that_train_lacks(corpora, generator, name: str) -> None:
    known = {e.text.lower() for document in corpora[name, "train"] for e in document.entities}
    corpus = next(corpus for corpus in generator["corpora"].CORPORA if corpus.name == name)
    templates = {
        split: set().union(*(draft.templates for _, draft in corpus.drafts(split, seed=2020))) for split in SPLITS
    }
    grammar = corpus.grammar()
    held_out = {(slot, a.number) for slot, each in grammar.slots.items() for a in each if a.held_out}
    assert not templates["train"] & held_out
    for split in ("dev", "test"):
        mentions = [e.text.lower() for document in corpora[name, split] for e in document.entities]
        unseen = sum(mention not in known for mention in mentions) / len(mentions)
        assert 0.2 < unseen < 0.7
        assert len(templates[split] & held_out) > 40
        assert templates[split] & templates["train"]


RECORD_FILES = {"training_part1.txt": 30, "training_part2.txt": 30, "dev.json": 16, "test_set_with_answer.json": 16}
RECORD_LABELS = {"疾病和诊断", "影像检查", "实验室检验", "手术", "药物", "解剖部位"}


@pytest.mark.parametrize("name", RECORD_FILES)
def test_records_are_as_ccks2019_publishes_them(name: str) -> None:
    data = (SAMPLE / "ccks2019" / name).read_bytes()
    windows = name == "training_part1.txt"
    assert data.startswith(b"\xef\xbb\xbf") is windows
    assert data.count(b"\r\n") == (data.count(b"\n") if windows else 0)
    documents = list(read_records(SAMPLE / "ccks2019" / name))
    assert len(documents) == RECORD_FILES[name] == data.count(b"\n")
    assert {entity.label for document in documents for entity in document.entities} == RECORD_LABELS
    assert sum(not document.entities for document in documents) == (name != "training_part1.txt")
    for record in map(json.loads, data.decode("utf-8-sig").splitlines()):
        assert set(record) == {"originalText", "entities"}
        for entity in record["entities"]:
            mention = record["originalText"][entity["start_pos"] : entity["end_pos"]]
            assert mention and mention == mention.strip() and "。" not in mention


def test_records_to_test_on_have_terms_that_training_lacks(generator) -> None:
    found = {
        name: [e.text for d in read_records(SAMPLE / "ccks2019" / name) for e in d.entities] for name in RECORD_FILES
    }
    known = {*found["training_part1.txt"], *found["training_part2.txt"]}
    for name in ("dev.json", "test_set_with_answer.json"):
        unseen = sum(mention not in known for mention in found[name]) / len(found[name])
        assert 0.2 < unseen < 0.7
    corpus = generator["corpora"].RECORDS
    held_out = {(slot, a.number) for slot, each in corpus.grammar().slots.items() for a in each if a.held_out}
    assert not held_out & set().union(*(draft.templates for _, draft in corpus.drafts("train", seed=2020)))


def test_a_look_up_in_train_does_not_solve_dev(corpora) -> None:
    known = {e.text for document in corpora["cantemist", "train"] for e in document.entities}
    pattern = re.compile(r"(?<!\w)(?:" + "|".join(map(re.escape, sorted(known, key=len, reverse=True))) + r")(?!\w)")
    hits = found = wanted = 0
    for document in corpora["cantemist", "dev"]:
        gold = {(entity.start, entity.end) for entity in document.entities}
        predicted = {match.span() for match in pattern.finditer(document.text)}
        hits, found, wanted = hits + len(gold & predicted), found + len(predicted), wanted + len(gold)
    assert 0.4 < 2 * hits / (found + wanted) < 0.8


@pytest.mark.parametrize(
    ("lines", "reason"),
    [
        (["@note", "[A|{nowhere}]"], "no slot nowhere"),
        (["@note", "[A:a|x] ## R a b"], "R in note is not declared"),
        (["%relations R", "@note", "[A:a|x] ## R a b"], "no mention b"),
        (["%relations R", "@note", "{inner:x} [A:a|x] ## R a x.z", "@inner", "[A:b|x]"], "no mention x.z"),
        (["@note", "[A x]"], "a mention is"),
        (["@note", "[A|x"], "missing ]"),
        (["@note", "{a|b"], "missing }"),
        (["@note", "x]y{1 2}"], "neither slot nor number"),
        (["@note", "x", "@note", "y"], "twice"),
    ],
)
def test_mistakes_in_a_grammar_are_named(generator, tmp_path: Path, lines: List[str], reason: str) -> None:
    path = tmp_path / "bad.grammar"
    path.write_text("\n".join(lines), encoding="utf8")
    module = generator["grammar"]
    with pytest.raises(module.GrammarError, match=re.escape(reason)):
        module.load_grammar(path)


def test_a_grammar_says_what_it_means(generator, tmp_path: Path) -> None:
    path = tmp_path / "tiny.grammar"
    path.write_text(
        "%relations R\n%events B\n%decimal ,\n@note\n{!f}{part:p}; [A:a|x{#1.5-1.5}] \\[\\|\\] [+a|y] {s*2-2/-}"
        " {$t}{$t} ## R p.b a\n@part\nwrong\n@part.f\n[B:b|o[A|u]]\n@s\n1\n2\n@t\n3\n4\n~ 5\n",
        encoding="utf8",
    )
    from random import Random

    draft = generator["derive"].derive(generator["grammar"].load_grammar(path), Random(0), held_out=0.0)
    assert re.fullmatch(r"ou; x1,5 \[\|\] y (1-2|2-1) (33|44)", draft.text)
    assert draft.standoff(["B"]) == (
        "T1\tB 0 2\tou\nE1\tB:T1 \nT2\tA 1 2\tu\nT3\tA 4 8;13 14\tx1,5 y\nR1\tR Arg1:E1 Arg2:T3\t\n"
    )
    draft.edit([(0, 0, "\ufeff"), (2, 2, "--"), (5, 6, "")])
    assert draft.standoff(["B"]).splitlines()[0] == "T1\tB 1 3\tou"
    assert draft.text.startswith("\ufeffou--; x,5")
