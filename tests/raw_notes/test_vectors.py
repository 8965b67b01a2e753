from __future__ import annotations

import sys
from pathlib import Path

import numpy
import pytest
import spacy
from spacy.training.initialize import load_vectors_into_model

from spacy_clinical_ner.errors import ClinicalNerError, InputError
from spacy_clinical_ner.raw_notes.vectors import FloretSettings, find_notes, read_note, spell_lines, train_vectors
from spacy_clinical_ner.tokenization import blank_pipeline

SMALL = FloretSettings(dim=8, epochs=2, min_count=2, buckets=200)
NOTE = "Carcinoma de mama pT2N1M0.\r\n\r\nEl carcinoma de mama mide 8mg.\n"


def has_floret() -> bool:
    try:
        import floret  # noqa: F401
    except ImportError:
        return False
    return True


needs_floret = pytest.mark.skipif(not has_floret(), reason="needs the extra 'vectors'")


@pytest.fixture()
def notes(tmp_path: Path) -> Path:
    folder = tmp_path / "notes"
    (folder / "deeper").mkdir(parents=True)
    for number in range(6):
        (folder / f"note{number}.txt").write_bytes(NOTE.encode("utf8"))
    (folder / "deeper" / "note.txt").write_bytes(b"\xef\xbb\xbfLes\xc3\xadone")
    (folder / "note0.ann").write_text("T1\tX 0 9\tCarcinoma\n", encoding="utf8")
    return folder


def files_of(folder: Path) -> dict:
    return {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_finds_text_files_at_every_depth_in_a_fixed_order(notes: Path) -> None:
    names = [path.relative_to(notes).as_posix() for path in find_notes([notes])]
    assert names == ["deeper/note.txt", *(f"note{number}.txt" for number in range(6))]


@pytest.mark.parametrize("made", [False, True])
def test_folder_without_notes_is_named(tmp_path: Path, made: bool) -> None:
    folder = tmp_path / "nothing"
    if made:
        folder.mkdir()
    with pytest.raises(InputError) as error:
        find_notes([folder])
    assert error.value.path == folder


def test_reads_without_byte_order_mark(notes: Path) -> None:
    assert read_note(notes / "deeper" / "note.txt") == "Lesíone"


def test_note_that_is_not_utf8_names_its_line(tmp_path: Path) -> None:
    path = tmp_path / "latin.txt"
    path.write_bytes("una\ndos\nlesión".encode("latin-1"))
    with pytest.raises(InputError) as error:
        read_note(path)
    assert (error.value.path, error.value.line) == (path, 3)
    assert "lesi" not in str(error.value)


@pytest.mark.parametrize(
    ("attr", "first"),
    [
        ("ORTH", ["Carcinoma", "de", "mama", "pT2", "N1", "M0", "."]),
        ("LOWER", ["carcinoma", "de", "mama", "pt2", "n1", "m0", "."]),
    ],
)
def test_words_are_those_of_the_tokenizer_line_by_line(attr: str, first: list) -> None:
    lines = list(spell_lines(blank_pipeline("es"), NOTE, attr))
    assert lines[0] == first
    assert len(lines) == 2
    assert lines[1][-3:] == ["8", "mg", "."]


@needs_floret
def test_pipeline_takes_the_vectors_and_finds_them_whatever_the_case(notes: Path, tmp_path: Path) -> None:
    train_vectors([notes], tmp_path / "vectors", "es", SMALL)
    nlp = spacy.blank("es")
    load_vectors_into_model(nlp, tmp_path / "vectors")
    assert nlp.vocab.vectors.shape == (200, 8)
    upper, lower, unseen = (nlp.vocab[word].vector for word in ("CARCINOMA", "carcinoma", "carcinomatosis"))
    assert numpy.array_equal(upper, lower)
    assert numpy.abs(lower).sum() > 0
    assert numpy.abs(unseen).sum() > 0
    assert not numpy.array_equal(lower, unseen)


@needs_floret
def test_same_notes_and_seed_give_the_same_bytes(notes: Path, tmp_path: Path) -> None:
    (notes / "other.txt").write_text("Dolor torácico. Dolor abdominal leve. Carcinoma y dolor.\n" * 50, encoding="utf8")
    for name, seed in (("one", 0), ("two", 0), ("three", 1)):
        settings = FloretSettings(dim=8, epochs=2, min_count=2, buckets=200, seed=seed)
        train_vectors([notes], tmp_path / name, "es", settings)
    assert files_of(tmp_path / "one") == files_of(tmp_path / "two")
    assert files_of(tmp_path / "one") != files_of(tmp_path / "three")


@needs_floret
def test_summary_counts_notes_tokens_and_coverage(notes: Path, tmp_path: Path) -> None:
    summary = train_vectors([notes], tmp_path / "vectors", "es", SMALL)
    # 7 words in the first line of NOTE and 8 in the second, six times; "Lesíone" once, below min_count.
    assert (summary.documents, summary.tokens) == (7, 6 * 15 + 1)
    assert summary.coverage == pytest.approx(90 / 91)
    assert summary.words == len({"carcinoma", "de", "mama", "pt2", "n1", "m0", ".", "el", "mide", "8", "mg"})
    assert summary.size == pytest.approx(200 * 8 * 4, abs=200)


@needs_floret
def test_several_folders_are_read(notes: Path, tmp_path: Path) -> None:
    assert train_vectors([notes, notes / "deeper"], tmp_path / "vectors", "es", SMALL).documents == 8


@needs_floret
def test_no_word_of_the_notes_is_left_on_disk(notes: Path, tmp_path: Path) -> None:
    train_vectors([notes], tmp_path / "out" / "vectors", "es", SMALL)
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["vectors"]
    assert not [name for name, data in files_of(tmp_path / "out").items() if b"carcinoma" in data.lower()]


@needs_floret
def test_failure_leaves_the_old_vectors_and_nothing_else(notes: Path, tmp_path: Path) -> None:
    output = tmp_path / "out" / "vectors"
    train_vectors([notes], output, "es", SMALL)
    before = files_of(tmp_path / "out")
    (notes / "broken.txt").write_bytes(b"\xff")
    with pytest.raises(InputError, match=r"broken\.txt:1"):
        train_vectors([notes], output, "es", SMALL)
    assert files_of(tmp_path / "out") == before


@needs_floret
def test_too_few_words(notes: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no word occurs 50 times"):
        train_vectors([notes], tmp_path / "vectors", "es", FloretSettings(min_count=50))


@needs_floret
@pytest.mark.parametrize(
    ("lang", "attr", "reason"), [("qq", "LOWER", "no language 'qq'"), ("es", "SHAPE", "attr must be")]
)
def test_unknown_language_or_attribute(notes: Path, tmp_path: Path, lang: str, attr: str, reason: str) -> None:
    with pytest.raises(ClinicalNerError, match=reason):
        train_vectors([notes], tmp_path / "vectors", lang, SMALL, attr=attr)


def test_missing_floret_names_the_extra(notes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "floret", None)
    with pytest.raises(ClinicalNerError, match=r"spacy-clinical-ner\[vectors\]"):
        train_vectors([notes], tmp_path / "vectors", "es", SMALL)
