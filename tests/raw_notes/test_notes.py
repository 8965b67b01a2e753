from __future__ import annotations

from pathlib import Path

import pytest

from spacy_clinical_ner.errors import InputError
from spacy_clinical_ner.raw_notes.notes import RawNote, read_notes, split_held_out


def test_reads_folders_and_json_lines_in_a_fixed_order(tmp_path: Path) -> None:
    (tmp_path / "raw" / "deep").mkdir(parents=True)
    (tmp_path / "raw" / "b.txt").write_text("be", encoding="utf8")
    (tmp_path / "raw" / "deep" / "a.txt").write_bytes(b"\xef\xbb\xbfa\xc3\xad")
    (tmp_path / "raw" / "b.ann").write_text("T1\tX 0 2\tbe\n", encoding="utf8")
    lines = '{"text": "uno\u2028dos", "id": 7}\n\n{"text": "", "name": "n"}\n{"text": "x"}'
    (tmp_path / "more.jsonl").write_text(lines, encoding="utf8")
    assert read_notes([tmp_path / "more.jsonl", tmp_path / "raw"]) == [
        RawNote("7", "uno\u2028dos"),
        RawNote("n", ""),
        RawNote("more.jsonl:4", "x"),
        RawNote("b.txt", "be"),
        RawNote("deep/a.txt", "aí"),
    ]


@pytest.mark.parametrize(
    ("data", "line", "reason"),
    [
        (b'{"text": "secret"}\n{"text": secret}', 2, "not JSON"),
        (b'{"text": "secret"}\n\n{"texts": "secret"}', 3, 'no string "text"'),
        (b'["secret"]', 1, 'no string "text"'),
        (b'{"text": 3}', 1, 'no string "text"'),
        (b'{"text": "secret \xf3"}', 1, "not UTF-8"),
        (b"\n\n", None, "no note"),
    ],
)
def test_bad_lines_are_named_without_their_text(tmp_path: Path, data: bytes, line, reason: str) -> None:
    path = tmp_path / "notes.jsonl"
    path.write_bytes(data)
    with pytest.raises(InputError, match=reason) as error:
        read_notes([path])
    assert (error.value.path, error.value.line) == (path, line)
    assert "secret" not in str(error.value)


@pytest.mark.parametrize("name", ["nowhere", "notes.csv", "empty"])
def test_unusable_source_is_named(tmp_path: Path, name: str) -> None:
    (tmp_path / "notes.csv").write_text("a,b", encoding="utf8")
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match=name):
        read_notes([tmp_path / name])


def test_held_out_notes_depend_on_their_names_alone() -> None:
    notes = [RawNote(f"n{number}", str(number)) for number in range(400)]
    train, held_out = split_held_out(notes, 0.1)
    assert [*sorted(train + held_out, key=notes.index)] == notes
    assert abs(len(held_out) - 40) < 20  # three standard deviations of a binomial
    fewer = [RawNote(note.name, "other") for note in notes[::3]]
    _, held_out_of_fewer = split_held_out(fewer, 0.1)
    assert {note.name for note in held_out_of_fewer} == {note.name for note in held_out} & {n.name for n in fewer}
    # sha256("n0") begins with 0x7d...: the hash must never change, or notes would move between the parts.
    assert "n0" not in {note.name for note in split_held_out(notes, 0.4)[1]}
    assert "n0" in {note.name for note in split_held_out(notes, 0.6)[1]}


@pytest.mark.parametrize("share", [0.0, 1e-9, 1.0])
def test_each_part_gets_a_note(share: float) -> None:
    train, held_out = split_held_out([RawNote("a", "a"), RawNote("b", "b"), RawNote("c", "c")], share)
    assert train and len(held_out) == 1


def test_one_note_is_too_few() -> None:
    with pytest.raises(ValueError, match="two notes"):
        split_held_out([RawNote("a", "a")], 0.5)
