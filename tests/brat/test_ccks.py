"""CCKS-2019 records: what is read, what is refused, and that a refusal leaves nothing behind."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from spacy_clinical_ner.brat import read_folder
from spacy_clinical_ner.brat.ccks import holds_records, import_records, read_records
from spacy_clinical_ner.errors import InputError

TEXT = "患者行直肠癌根治术，查CEA正常。"
OPERATION = {"label_type": "手术", "start_pos": 3, "end_pos": 9, "overlap": 0}
TEST = {"label_type": "实验室检验", "start_pos": 11, "end_pos": 14, "overlap": 1, "other": [1]}


def line(text: Any = TEXT, entities: Any = (OPERATION, TEST), **other: Any) -> str:
    return json.dumps({"originalText": text, "entities": entities, **other}, ensure_ascii=False)


def write(path: Path, *lines: str, ending: str = "\n", start: str = "") -> Path:
    path.write_bytes((start + "".join(each + ending for each in lines)).encode("utf8"))
    return path


@pytest.mark.parametrize("start", ["", "\ufeff"])
@pytest.mark.parametrize("ending", ["\n", "\r\n", "\n\n", " \r\n\t\r\n"])
def test_records_become_notes(tmp_path: Path, start: str, ending: str) -> None:
    path = write(tmp_path / "part.txt", line(), line("", [], id=3), line("无。", []), ending=ending, start=start)
    assert holds_records(path)
    documents = list(read_records(path))
    gap = ending.count("\n")
    assert [document.name for document in documents] == [f"part-{1 + gap * n:04}" for n in range(3)]
    assert [document.text for document in documents] == [TEXT, "", "无。"]
    assert documents[0].standoff() == "T1\t手术 3 9\t直肠癌根治术\nT2\t实验室检验 11 14\tCEA\n"


def test_last_line_without_its_end_and_marks_within(tmp_path: Path) -> None:
    """Two files put together with `cat` have a byte order mark in the middle."""
    path = tmp_path / "all.json"
    path.write_bytes(f"\ufeff{line()}\r\n\ufeff{line('甲', [])}".encode())
    assert [document.text for document in read_records(path)] == [TEXT, "甲"]


def test_texts_with_all_kinds_of_characters_come_back(tmp_path: Path) -> None:
    text = "\ufeff𠮷\u2028CT\r\n见\t结节\u3000\x0b（＋）\n糖尿\r\n病 "
    at = text.index("糖尿")
    broken = {"label_type": "疾病 和诊断", "start_pos": at, "end_pos": at + 5}
    nested = {"label_type": "疾病 和诊断", "start_pos": at, "end_pos": at + 2}
    twice = [broken, nested, broken]
    raw = line(text, twice)
    path = write(tmp_path / "a.jsonl", raw, raw.replace("\\t", "\t"))
    summary = import_records([path], tmp_path / "out")
    assert summary.records == {"a.jsonl": 2}
    assert summary.labels == {"疾病_和诊断": 6}
    first, second = read_folder(tmp_path / "out", text_mismatch="error")
    assert first.text == second.text == text
    assert [(e.label, e.start, e.end) for e in first.entities] == [
        ("疾病_和诊断", at, at + 5), ("疾病_和诊断", at, at + 2), ("疾病_和诊断", at, at + 5)
    ]  # fmt: skip
    assert [e.is_discontinuous for e in first.entities] == [False] * 3
    assert {state.state for state in first.audit.states} == {"kept"}


def entity(**changes: Any) -> dict:
    return {key: value for key, value in {**OPERATION, **changes}.items() if value is not ...}


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        ("{", "not JSON"),
        (line() + line(), "not JSON: Extra data"),
        ("[1]", "not a record"),
        ("3", "not a record"),
        ("[" * 100_000, "nested too deeply"),
        ('{"originalText": ' + "1" * 5000 + "}", "nested too deeply, or a number"),
        (line(None), "no string 'originalText'"),
        (json.dumps({"entities": []}), "no string 'originalText'"),
        (json.dumps({"originalText": TEXT}), "no list 'entities'"),
        (line(TEXT, {}), "no list 'entities'"),
        ('{"originalText": "\\ud842", "entities": []}', "half a surrogate"),
        (line(TEXT, [OPERATION, "x"]), "entity 2: not an object"),
        (line(TEXT, [entity(label_type=...)]), "entity 1: no 'label_type'"),
        (line(TEXT, [entity(label_type=" ")]), "no 'label_type'"),
        (line(TEXT, [entity(label_type=3)]), "no 'label_type'"),
        (line(TEXT, [entity(end_pos=...)]), "whole numbers"),
        (line(TEXT, [entity(start_pos="3")]), "whole numbers"),
        (line(TEXT, [entity(start_pos=3.0)]), "whole numbers"),
        (line(TEXT, [entity(start_pos=True)]), "whole numbers"),
        (line(TEXT, [entity(start_pos=-1)]), "offsets -1 to 9"),
        (line(TEXT, [entity(start_pos=9)]), "offsets 9 to 9"),
        (line(TEXT, [entity(end_pos=18)]), "offsets 3 to 18 do not lie in a text of 17"),
    ],
)
def test_malformed_record_is_named_and_nothing_is_written(tmp_path: Path, bad: str, reason: str) -> None:
    good = write(tmp_path / "good.txt", line())
    path = write(tmp_path / "bad.txt", line(), "", bad, line(), start="\ufeff", ending="\r\n")
    with pytest.raises(InputError, match=reason) as error:
        import_records([good, path], tmp_path / "out")
    assert (error.value.path, error.value.line) == (path, 3)
    assert "\n" not in str(error.value)
    assert TEXT[:4] not in str(error.value), "no note text in errors"
    assert sorted(each.name for each in tmp_path.iterdir()) == ["bad.txt", "good.txt"]


def test_other_encodings_are_named(tmp_path: Path) -> None:
    path = tmp_path / "old.json"
    path.write_bytes(f"{line('a', [])}\n{line()}\n".encode("gb18030"))
    with pytest.raises(InputError, match=r"old\.json:2: not UTF-8; looks like GB18030: convert .* iconv"):
        list(read_records(path))
    path.write_bytes(b'{"originalText": "\xff\xff"}')
    with pytest.raises(InputError, match=r"old\.json:1: not UTF-8 \(byte 18\)"):
        list(read_records(path))


def test_files_that_cannot_be_imported(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="No such file"):
        import_records([tmp_path / "none.json"], tmp_path / "out")
    with pytest.raises(InputError, match="no records"):
        import_records([write(tmp_path / "empty.json", "", " ")], tmp_path / "out")
    (tmp_path / "other").mkdir()
    twins = [write(tmp_path / "a.json", line()), write(tmp_path / "other" / "a.txt", line())]
    with pytest.raises(InputError, match="rename one"):
        import_records(twins, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_folder_with_something_in_it_is_left_alone(tmp_path: Path) -> None:
    path = write(tmp_path / "a.json", line())
    with pytest.raises(InputError, match="holds the input"):
        import_records([path], tmp_path)
    (tmp_path / "other").mkdir()
    write(tmp_path / "other/mine.txt", "mine")
    with pytest.raises(InputError, match="not empty"):
        import_records([path], tmp_path / "other")
    assert path.exists()
    (tmp_path / "new").mkdir()
    import_records([path], tmp_path / "new")
    assert sorted(each.name for each in (tmp_path / "new").iterdir()) == ["a-0001.ann", "a-0001.txt"]


@pytest.mark.parametrize("content", [b"", b"Readme", b"\xef\xbb\xbf", b"[{"])
def test_files_that_hold_no_records(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.txt").write_bytes(content)
    assert not holds_records(tmp_path / "a.txt")
    assert not holds_records(tmp_path / "none.txt")
