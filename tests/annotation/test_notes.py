from __future__ import annotations

from pathlib import Path

import pytest
from spacy.language import Language
from spacy.tokens import Doc, Span

from spacy_clinical_ner.annotation import AnnotationSummary, Task, annotate
from spacy_clinical_ner.annotation.local import Settings
from spacy_clinical_ner.annotation.notes import check_folder
from spacy_clinical_ner.brat import read_document
from spacy_clinical_ner.errors import InputError
from spacy_clinical_ner.extensions import Relation, set_confidence
from spacy_clinical_ner.files import read_text
from spacy_clinical_ner.tokenization import blank_pipeline

NOTES = {
    "a": "Carcinoma de mama.\n",
    "b/c": "\ufeffSin carcinoma.\r\nMide 8mg|carcinoma\r\n",
    "b/empty": "",
    "d.1": "Nada que decir \u2028 aquí\u00a0.",
}


@Language.component("test_fails_on_secret")
def fails_on_secret(doc: Doc) -> Doc:
    if "secreto" in doc.text:
        raise ValueError(f"[E999] cannot digest {doc.text}")
    return doc


@Language.component("test_confident")
def confident(doc: Doc) -> Doc:
    for ent in doc.ents:
        set_confidence(ent, 0.75)
    return doc


@Language.component("test_relates")
def relates(doc: Doc) -> Doc:
    spans = [Span(doc, 0, 1, label="FIRST"), *doc.ents] if len(doc) else []
    doc.spans["overlapping"] = spans
    doc._.relations = [Relation(spans[0], span, "NEAR") for span in spans[1:]]
    return doc


@Language.component("test_unwritable_label")
def unwritable_label(doc: Doc) -> Doc:
    if "secreto" in doc.text:
        doc.ents = [Span(doc, 0, 1, label="two words")]
    return doc


@Language.component("test_other_text")
def other_text(doc: Doc) -> Doc:
    return Doc(doc.vocab, words=["other"]) if "secreto" in doc.text else doc


def pipeline(*components: str) -> Language:
    nlp = blank_pipeline("es")
    ruler = nlp.add_pipe("entity_ruler", config={"phrase_matcher_attr": "LOWER"})
    ruler.add_patterns([{"label": "MORPH", "pattern": "carcinoma"}])
    for component in components:
        nlp.add_pipe(component)
    return nlp


def write(folder: Path, notes: dict) -> Path:
    for name, text in notes.items():
        path = folder / f"{name}.txt"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text.encode("utf8"))
    return folder


@pytest.fixture()
def notes(tmp_path: Path) -> Path:
    return write(tmp_path / "notes", NOTES)


def run(nlp: Language, source: Path, out: Path, *, n_process: int = 1, overwrite: bool = False, **settings):
    """The summary of `clinical-ner annotate`; settings: of Settings."""
    task = Task("test", str(source), str(out), settings=Settings(**settings), n_process=n_process, overwrite=overwrite)
    return annotate(task, nlp).summary


def files(folder: Path) -> set:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("n_process", [1, 2])
def test_writes_every_note_with_what_the_pipeline_found(notes: Path, tmp_path: Path, n_process: int) -> None:
    out = tmp_path / "out"
    before = {path: path.read_bytes() for path in notes.rglob("*.txt")}
    summary = run(pipeline(), notes, out, n_process=n_process, batch_size=2)
    assert files(out) == {f"{name}.{suffix}" for name in NOTES for suffix in ("txt", "ann")}
    for name, text in NOTES.items():
        assert (out / f"{name}.txt").read_bytes() == text.encode("utf8")
        document = read_document(out / f"{name}.txt", text_mismatch="error")
        found = [(e.label, text[e.start : e.end]) for e in document.entities]
        assert found == [("MORPH", word) for word in ("Carcinoma", "carcinoma") for _ in range(text.count(word))]
    assert (out / "b/c.ann").read_text("utf8") == "T1\tMORPH 5 14\tcarcinoma\nT2\tMORPH 26 35\tcarcinoma\n"
    assert (summary.notes, summary.failures, summary.mentions) == (4, [], {"MORPH": 3})
    # "Carcinoma de mama ." + "BOM Sin carcinoma . Mide 8 mg | carcinoma" + "Nada que decir aquí ."
    assert summary.words == 4 + 9 + 5
    assert summary.words_per_second > 0
    assert {path: path.read_bytes() for path in notes.rglob("*") if path.is_file()} == before


def test_one_file(notes: Path, tmp_path: Path) -> None:
    summary = run(pipeline(), notes / "b/c.txt", tmp_path / "out")
    assert summary.notes == 1
    assert files(tmp_path / "out") == {"c.txt", "c.ann"}


def test_annotations_beside_the_notes_do_not_matter(notes: Path, tmp_path: Path) -> None:
    (notes / "a.ann").write_text("T1\tOLD 0 9\tCarcinoma\nbroken line\n")
    run(pipeline(), notes, tmp_path / "out")
    assert (tmp_path / "out/a.ann").read_text() == "T1\tMORPH 0 9\tCarcinoma\n"


def test_overlapping_spans_relations_and_confidence(notes: Path, tmp_path: Path) -> None:
    nlp = pipeline("test_confident", "test_relates")
    summary = run(nlp, notes, tmp_path / "out", spans_key="overlapping", confidence=True)
    assert (tmp_path / "out/a.ann").read_text().splitlines() == [
        "T1\tFIRST 0 9\tCarcinoma",
        "T2\tMORPH 0 9\tCarcinoma",
        "R1\tNEAR Arg1:T1 Arg2:T2\t",
        "#1\tAnnotatorNotes T2\tconfidence=0.7500",
        "#2\tAnnotatorNotes R1\tconfidence=1.0000",
    ]
    assert summary.mentions == {"MORPH": 3, "FIRST": 3}
    assert summary.relations == {"NEAR": 3}


def test_without_confidence_no_notes(notes: Path, tmp_path: Path) -> None:
    run(pipeline("test_confident"), notes, tmp_path / "out")
    assert not any("#" in path.read_text("utf8") for path in (tmp_path / "out").rglob("*.ann"))


@pytest.mark.parametrize("n_process", [1, 2])
def test_a_note_that_fails_costs_no_other(tmp_path: Path, n_process: int) -> None:
    names = [f"n{number}" for number in range(12)]
    bad = {"n3", "n4", "n9"}
    source = write(tmp_path / "notes", {n: f"carcinoma {'secreto' if n in bad else n}" for n in names})
    summary = run(pipeline("test_fails_on_secret"), source, tmp_path / "out", n_process=n_process, batch_size=4)
    assert {error.path.stem for error in summary.failures} == bad
    assert files(tmp_path / "out") == {f"{n}.{suffix}" for n in names if n not in bad for suffix in ("txt", "ann")}
    assert summary.notes == summary.mentions["MORPH"] == 9
    for error in summary.failures:
        assert error.reason.endswith("ValueError [E999] in test_fails_on_secret")
        assert "secreto" not in str(error)


def test_notes_that_cannot_be_read_are_named(notes: Path, tmp_path: Path) -> None:
    (notes / "latin.txt").write_bytes("uno\ncáncer".encode("latin1"))
    summary = run(pipeline(), notes, tmp_path / "out")
    assert [(error.path.name, error.line) for error in summary.failures] == [("latin.txt", 2)]
    assert summary.notes == len(NOTES)


def test_a_note_longer_than_the_pipeline_takes(notes: Path, tmp_path: Path) -> None:
    nlp = pipeline()
    nlp.max_length = 30
    summary = run(nlp, notes, tmp_path / "out")
    assert [error.path.name for error in summary.failures] == ["c.txt"]
    assert "E088" in summary.failures[0].reason


def test_a_changed_text_is_an_error(notes: Path, tmp_path: Path) -> None:
    write(notes, {"z": "carcinoma secreto"})
    summary = run(pipeline("test_other_text"), notes, tmp_path / "out")
    assert [error.path.name for error in summary.failures] == ["z.txt"]
    assert not (tmp_path / "out/z.ann").exists()


def test_a_label_that_brat_cannot_hold_costs_no_other_note(notes: Path, tmp_path: Path) -> None:
    write(notes, {"z": "carcinoma secreto"})
    summary = run(pipeline("test_unwritable_label"), notes, tmp_path / "out")
    assert [error.path.name for error in summary.failures] == ["z.txt"]
    assert "see its labels" in summary.failures[0].reason
    assert summary.notes == len(NOTES)
    assert not (tmp_path / "out/z.ann").exists()


def test_output_that_is_a_file(notes: Path, tmp_path: Path) -> None:
    (tmp_path / "out").write_text("a file")
    with pytest.raises(InputError, match="out"):
        run(pipeline(), notes, tmp_path / "out")


def test_few_notes_are_in_memory_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = write(tmp_path / "notes", {f"n{number:02}": "carcinoma" for number in range(30)})
    read: list = []
    ahead = []
    monkeypatch.setattr(
        "spacy_clinical_ner.brat.files.read_text",
        lambda path: read.append(path) or read_text(path),
    )
    nlp = pipeline()
    original = nlp.pipe

    def watched(*args, **kwargs):
        for number, doc in enumerate(original(*args, **kwargs)):
            ahead.append(len(read) - number)
            yield doc

    monkeypatch.setattr(nlp, "pipe", watched)
    run(nlp, source, tmp_path / "out", batch_size=5)
    assert len(read) == 30
    assert max(ahead) <= 6


@pytest.mark.parametrize("suffix", ["txt", "ann"])
def test_existing_files_are_not_replaced_by_mistake(notes: Path, tmp_path: Path, suffix: str) -> None:
    existing = tmp_path / f"out/a.{suffix}"
    existing.parent.mkdir()
    existing.write_text("mine")
    with pytest.raises(InputError, match="overwrite"):
        check_folder(notes, tmp_path / "out")
    assert existing.read_text() == "mine"
    run(pipeline(), notes, tmp_path / "out", overwrite=True)
    assert existing.read_text() != "mine"


@pytest.mark.parametrize("output", [".", "sub", "../notes/sub", ".."])
def test_never_writes_into_the_input(notes: Path, output: str) -> None:
    if output == "..":
        # The input is a folder whose notes would come to lie in the input once more.
        write(notes, {"notes/a": "uno"})
    with pytest.raises(InputError, match="never written into the input"):
        check_folder(notes, notes / output, overwrite=True)


def test_never_replaces_the_one_note(notes: Path) -> None:
    with pytest.raises(InputError, match="never written into the input"):
        check_folder(notes / "a.txt", notes, overwrite=True)


def test_input_without_notes(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "note.md").write_text("")
    for source, reason in (("empty", "no .txt"), ("missing", "no such folder"), ("note.md", "not a .txt")):
        with pytest.raises(InputError, match=reason):
            check_folder(tmp_path / source, tmp_path / "out")


def test_no_words_no_speed() -> None:
    assert AnnotationSummary().words_per_second == 0.0


@Language.component("test_relates_given")
def relates_given(doc: Doc) -> Doc:
    first, *others = doc.spans["sc"]
    doc._.relations = [Relation(first, other, "NEAR", 0.5) for other in others]
    return doc


GIVEN = """T1\tMORPH 4 13\tcarcinoma
T2\tSIGN 24 33\tcarcinoma
T3\tSIZE 20 23\t8mg
E1\tMORPH:T1
R1\tMODIFY Arg1:T3 Arg2:E1
R2\tNEAR Arg1:T1 Arg2:T3
A1\tCertain E1
A2\tOld R1
#1\tAnnotatorNotes R1\twhy
#2\tAnnotatorNotes T3\tsize
"""


def given_notes(folder: Path) -> Path:
    write(folder, {"a": "Sin carcinoma. Mide 8mg|carcinoma\n", "b": "Nada."})
    (folder / "a.ann").write_text(GIVEN, encoding="utf8")
    (folder / "b.ann").write_text("T1\tMORPH 0 4\tNada\n", encoding="utf8")
    return folder


@pytest.mark.parametrize("n_process", [1, 2])
def test_given_entities_stay_and_relations_are_those_found(tmp_path: Path, n_process: int) -> None:
    notes = given_notes(tmp_path / "notes")
    nlp = pipeline("test_relates_given")
    summary = run(nlp, notes, tmp_path / "out", given_entities=True, confidence=True, n_process=n_process)
    assert not summary.failures
    assert summary.relations == {"NEAR": 2}
    written = read_document(tmp_path / "out" / "a.txt")
    given = read_document(notes / "a.txt")
    assert (written.entities, written.events) == (given.entities, given.events)
    assert [line.render() for line in written.attributes] == ["A1\tCertain E1"]
    # T1 is the first mention; what the annotators said of relations has gone, even where the pipeline agrees.
    assert [(line.label, line.head, line.tail) for line in written.relations] == [
        ("NEAR", "T1", "T3"), ("NEAR", "T1", "T2"),
    ]  # fmt: skip
    assert [(line.target, line.text) for line in written.notes] == [
        ("T3", "size"), *((line.id, "confidence=0.5000") for line in written.relations),
    ]  # fmt: skip
    assert nlp.pipe_names == ["entity_ruler", "test_relates_given"], "the pipeline is left as it was"


@pytest.mark.parametrize("n_process", [1, 2])
def test_what_finds_mentions_does_not_run_where_they_are_given(tmp_path: Path, n_process: int) -> None:
    notes = write(tmp_path / "notes", {"a": "uno carcinoma", "b": "uno carcinoma"})
    for name in "ab":
        (notes / f"{name}.ann").write_text("T1\tX 0 3\tuno\n", encoding="utf8")
    summary = run(pipeline(), notes, tmp_path / "out", given_entities=True, n_process=n_process, shard_notes=1)
    assert summary.mentions == {"X": 2}


def test_given_annotations_are_read_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    parsed: list = []
    monkeypatch.setattr("spacy_clinical_ner.brat.parts.parse_standoff", lambda *args, **kwargs: parsed.append(args))
    notes = given_notes(tmp_path / "notes")
    assert run(pipeline("test_relates_given"), notes, tmp_path / "out", given_entities=True).notes == 2
    assert not parsed


def test_annotations_beside_the_notes_are_not_even_decoded(notes: Path, tmp_path: Path) -> None:
    (notes / "a.ann").write_bytes("T1\tA 0 3\tñ\n".encode("latin-1"))
    assert run(pipeline(), notes, tmp_path / "out").notes == len(NOTES)


def test_given_entities_must_be_there_and_readable(tmp_path: Path) -> None:
    notes = given_notes(tmp_path / "notes")
    (notes / "a.ann").write_text("T1\tMORPH 4 secretword\n", encoding="utf8")
    (notes / "b.ann").unlink()
    write(notes, {"c": "Otra."})
    (notes / "c.ann").write_text("T1\tMORPH 0 4\tOtra\n", encoding="utf8")
    summary = run(pipeline("test_relates_given"), notes, tmp_path / "out", given_entities=True)
    assert summary.notes == 1
    assert sorted((failure.path.name, failure.line) for failure in summary.failures) == [("a.ann", 1), ("b.txt", None)]
    assert not any("secret" in str(failure) for failure in summary.failures)


def test_given_entities_of_a_note_on_which_the_pipeline_fails(tmp_path: Path) -> None:
    notes = write(tmp_path / "notes", {"a": "secreto", "b": "Mide carcinoma"})
    for name, end in (("a", 7), ("b", 4)):
        text = (notes / f"{name}.txt").read_text(encoding="utf8")
        (notes / f"{name}.ann").write_text(f"T1\tX 0 {end}\t{text[:end]}\n", encoding="utf8")
    nlp = pipeline("test_fails_on_secret", "test_relates_given")
    summary = run(nlp, notes, tmp_path / "out", given_entities=True)
    (failure,) = summary.failures
    assert (failure.path.name, summary.notes) == ("a.txt", 1)
    assert "in test_fails_on_secret" in failure.reason
    assert [entity.label for entity in read_document(tmp_path / "out" / "b.txt").entities] == ["X"]
