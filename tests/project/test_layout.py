from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Dict, Iterable

import pytest

from spacy_clinical_ner.errors import InputError
from spacy_clinical_ner.project.layout import Member, PreparedCorpus, find_parts, hash_share, prepare_corpus, split_off

ANN = "T1\tSYMPTOM 0 5\tFever\n"


def write_part(folder: Path, names: Iterable[str], annotated: bool = True) -> Path:
    for name in names:
        path = folder / f"{name}.txt"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(f"Fever in {name}.\r\n".encode())
        if annotated:
            path.with_name(path.name[:-4] + ".ann").write_text(ANN, encoding="utf8")
    return folder


def names_of(folder: Path, suffix: str = ".txt") -> list:
    return sorted(
        path.relative_to(folder).as_posix()[: -len(suffix)] for path in folder.rglob("*") if path.suffix == suffix
    )


def contents(folder: Path) -> Dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def numbered(stem: str, count: int) -> list:
    return [f"{stem}{number:03}" for number in range(count)]


def test_complete_corpus_is_copied_byte_for_byte(tmp_path: Path) -> None:
    source = tmp_path / "my corpus"
    for part in ("train", "dev", "test"):
        write_part(source / part, numbered(part, 3))
    prepared = prepare_corpus(source, tmp_path / "out")
    assert prepared == PreparedCorpus.read(tmp_path / "out")
    assert prepared.corpus == "my corpus"
    assert prepared.documents == {"train": 3, "dev": 3, "test": 3, "raw": 3}
    assert prepared.remarks == []
    for part in ("train", "dev", "test"):
        assert contents(tmp_path / "out" / part) == contents(source / part)


def test_kept_record_holds_no_path(tmp_path: Path) -> None:
    write_part(tmp_path / "private" / "clinic" / "train", numbered("n", 30))
    prepare_corpus(tmp_path / "private" / "clinic", tmp_path / "out")
    record = (tmp_path / "out" / "corpus.json").read_text(encoding="utf8")
    assert "clinic" in record
    assert "private" not in record
    assert str(tmp_path) not in record


def test_missing_parts_are_split_off_by_name_only(tmp_path: Path) -> None:
    write_part(tmp_path / "one" / "train", numbered("n", 200))
    write_part(tmp_path / "two" / "train", numbered("n", 300))
    first = prepare_corpus(tmp_path / "one", tmp_path / "out1")
    second = prepare_corpus(tmp_path / "two", tmp_path / "out2")
    assert len(first.remarks) == 2
    for part in ("train", "dev", "test"):
        smaller, larger = names_of(tmp_path / "out1" / part), names_of(tmp_path / "out2" / part)
        assert set(smaller) == set(larger) & set(numbered("n", 200))
        assert names_of(tmp_path / "out1" / part, ".ann") == smaller
        assert first.documents[part] == len(smaller)
    # Ten percent each, within three standard deviations of a binomial of 300.
    for part in ("dev", "test"):
        assert abs(second.documents[part] - 30) < 16
    assert sum(second.documents[part] for part in ("train", "dev", "test")) == 300


def test_hash_of_a_name_never_changes() -> None:
    # printf cc_onco1 | sha256sum | cut -c1-16
    assert hash_share("cc_onco1") == 0x10013DD95706DD25 / 2**64
    assert 0 <= hash_share("") < 1


@pytest.mark.parametrize("part", ["dev", "test"])
def test_small_corpus_still_gives_a_document(part: str) -> None:
    members = [Member(Path(f"{name}.txt"), name) for name in "abc"]
    taken, rest = split_off(members, part)
    assert len(taken) == 1
    assert sorted([*taken, *rest]) == members


def test_two_development_sets_without_test(tmp_path: Path) -> None:
    for part in ("train", "dev1", "dev2"):
        write_part(tmp_path / "c" / part, numbered(part, 2))
    prepared = prepare_corpus(tmp_path / "c", tmp_path / "out")
    assert names_of(tmp_path / "out" / "dev") == numbered("dev1", 2)
    assert names_of(tmp_path / "out" / "test") == numbered("dev2", 2)
    assert prepared.origin["test"] == "dev2/"
    assert any("dev2/" in remark for remark in prepared.remarks)


def test_two_development_sets_with_test(tmp_path: Path) -> None:
    for part in ("train", "dev1", "dev2", "test"):
        # The same names in both: neither may overwrite the other.
        write_part(tmp_path / "c" / part, numbered("n", 2))
    prepared = prepare_corpus(tmp_path / "c", tmp_path / "out")
    assert names_of(tmp_path / "out" / "dev") == ["dev1/n000", "dev1/n001", "dev2/n000", "dev2/n001"]
    assert prepared.documents["test"] == 2
    assert prepared.remarks == []


def test_test_set_without_annotations_is_not_evaluated_on(tmp_path: Path) -> None:
    write_part(tmp_path / "c" / "train", numbered("n", 50))
    write_part(tmp_path / "c" / "dev", numbered("d", 3))
    write_part(tmp_path / "c" / "test", numbered("t", 3), annotated=False)
    prepared = prepare_corpus(tmp_path / "c", tmp_path / "out")
    assert set(names_of(tmp_path / "out" / "test")) < set(numbered("n", 50))
    assert len(prepared.remarks) == 2


def test_raw_notes_are_train_and_background_without_annotations(tmp_path: Path) -> None:
    for part in ("train", "dev", "test"):
        write_part(tmp_path / "c" / part, numbered(part, 2))
    write_part(tmp_path / "c" / "background", ["deep/b1", "b2"])
    prepared = prepare_corpus(tmp_path / "c", tmp_path / "out", raw=tmp_path / "not used")
    assert names_of(tmp_path / "out" / "raw") == [
        "background/b2", "background/deep/b1", "train/train000", "train/train001",
    ]  # fmt: skip
    assert names_of(tmp_path / "out" / "raw", ".ann") == []
    assert prepared.documents["raw"] == 4


def test_raw_notes_from_elsewhere(tmp_path: Path) -> None:
    for part in ("train", "dev", "test"):
        write_part(tmp_path / "c" / part, numbered(part, 1))
    write_part(tmp_path / "elsewhere", ["r1", "r2"], annotated=False)
    assert prepare_corpus(tmp_path / "c", tmp_path / "out", raw=tmp_path / "elsewhere").documents["raw"] == 3


def test_published_archive_of_cantemist(tmp_path: Path) -> None:
    root = tmp_path / "unpacked" / "cantemist"
    for part in ("train-set", "dev-set1", "dev-set2", "test-set"):
        write_part(root / part / "cantemist-ner", [f"{part}1"])
        write_part(root / part / "cantemist-norm", [f"{part}1"])
    write_part(root / "background-set", ["b1"], annotated=False)
    archive = tmp_path / "cantemist.zip"
    with zipfile.ZipFile(archive, "w") as file:
        for path in sorted((tmp_path / "unpacked").rglob("*")):
            file.write(path, path.relative_to(tmp_path / "unpacked"))
        file.writestr("__MACOSX/._junk", "")
    prepared = prepare_corpus(archive, tmp_path / "out")
    assert prepared.corpus == "cantemist"
    assert prepared.documents == {"train": 1, "dev": 2, "test": 1, "raw": 2}
    assert names_of(tmp_path / "out" / "test") == ["test-set1"]


def test_published_archive_of_maccrobat(tmp_path: Path) -> None:
    archive = tmp_path / "maccrobat.zip"
    with zipfile.ZipFile(archive, "w") as outer:
        for year, count in (("2018", 20), ("2020", 30)):
            write_part(tmp_path / year, numbered("n", count))
            with zipfile.ZipFile(tmp_path / f"{year}.zip", "w") as inner:
                for path in sorted((tmp_path / year).iterdir()):
                    inner.write(path, path.name)
            outer.write(tmp_path / f"{year}.zip", f"MACCROBAT{year}.zip")
    prepared = prepare_corpus(archive, tmp_path / "out")
    assert sum(prepared.documents[part] for part in ("train", "dev", "test")) == 30


def test_flat_folder_of_notes_is_split(tmp_path: Path) -> None:
    write_part(tmp_path / "flat", numbered("n", 100))
    prepared = prepare_corpus(tmp_path / "flat", tmp_path / "out")
    assert sum(prepared.documents[part] for part in ("train", "dev", "test")) == 100
    assert min(prepared.documents.values()) > 0


def test_name_with_a_full_stop(tmp_path: Path) -> None:
    for part in ("train", "dev", "test"):
        write_part(tmp_path / "c" / part, ["note.v2.final"])
    prepare_corpus(tmp_path / "c", tmp_path / "out")
    assert contents(tmp_path / "out" / "test") == contents(tmp_path / "c" / "test")


def test_second_run_replaces_the_first(tmp_path: Path) -> None:
    for corpus in ("one", "two"):
        for part in ("train", "dev", "test"):
            write_part(tmp_path / corpus / part, [f"{corpus}-{part}"])
        prepare_corpus(tmp_path / corpus, tmp_path / "out" / "brat")
    assert names_of(tmp_path / "out" / "brat" / "train") == ["two-train"]
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["brat"]


def empty(folder: Path) -> None:
    folder.mkdir()


def no_train(folder: Path) -> None:
    write_part(folder / "dev", ["a"])


def too_small(folder: Path) -> None:
    write_part(folder / "train", ["a", "b"])


def orphan(folder: Path) -> None:
    for part in ("train", "dev", "test"):
        write_part(folder / part, ["a"])
    (folder / "dev" / "b.ann").write_text(ANN, encoding="utf8")


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda folder: None, "no such folder"),
        (empty, "neither train/"),
        (no_train, "no train/"),
        (too_small, "too few documents"),
        (orphan, "no .txt beside"),
    ],
)
def test_unusable_corpus_leaves_nothing(tmp_path: Path, make, reason: str) -> None:
    make(tmp_path / "c")
    with pytest.raises(InputError, match=reason):
        prepare_corpus(tmp_path / "c", tmp_path / "out" / "brat")
    assert not (tmp_path / "out").exists()


def test_broken_archive_is_named(tmp_path: Path) -> None:
    path = tmp_path / "cantemist.zip"
    path.write_bytes(b"<html>not found</html>")
    with pytest.raises(InputError, match=r"not a \.zip"):
        prepare_corpus(path, tmp_path / "out")


def test_own_names_come_before_published_ones(tmp_path: Path) -> None:
    for folder in ("train", "train-set"):
        write_part(tmp_path / folder, ["a"])
    assert find_parts(tmp_path) == {"train": tmp_path / "train"}


@pytest.mark.parametrize("content", [None, "{", "[]", '{"corpus": "x"}'])
def test_damaged_record_is_named(tmp_path: Path, content) -> None:
    if content is not None:
        (tmp_path / "corpus.json").write_text(content, encoding="utf8")
    with pytest.raises(InputError, match=r"corpus\.json"):
        PreparedCorpus.read(tmp_path)


def write_records(path: Path, count: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    record = '{"originalText": "查CT。", "entities": [{"label_type": "影像检查", "start_pos": 1, "end_pos": 3}]}\n'
    path.write_bytes(b"\xef\xbb\xbf" + (record * count).encode("utf8"))


def test_published_files_of_ccks2019(tmp_path: Path) -> None:
    source = tmp_path / "yidu"
    write_records(source / "subtask1_training_part1.txt", 40)
    write_records(source / "subtask1_training_part2.txt", 20)
    write_records(source / "subtask1_test_set_with_answer.json", 3)
    (source / "readme.txt").write_text("Read me", encoding="utf8")
    prepared = prepare_corpus(source, tmp_path / "out")
    assert prepared.corpus == "yidu"
    assert prepared.documents["test"] == 3
    assert prepared.documents["train"] + prepared.documents["dev"] == 60
    assert prepared.origin["test"] == "test/"
    assert prepared.remarks[0] == "1 .txt files hold no records and are left out, such as readme.txt"
    assert names_of(tmp_path / "out" / "test", ".ann") == [f"subtask1_test_set_with_answer-000{n}" for n in (1, 2, 3)]
    ann = (tmp_path / "out" / "test" / "subtask1_test_set_with_answer-0002.ann").read_text(encoding="utf8")
    assert ann == "T1\t影像检查 1 3\tCT\n"


def test_records_in_folders_of_parts_and_in_an_archive(tmp_path: Path) -> None:
    for part in ("train", "dev1", "dev2"):
        # A name that tells of another part does not count inside a folder.
        write_records(tmp_path / "c" / part / "test.jsonl", 2)
    with zipfile.ZipFile(tmp_path / "ccks2019.zip", "w") as archive:
        for path in sorted((tmp_path / "c").rglob("*.jsonl")):
            archive.write(path, path.relative_to(tmp_path))
    for source in (tmp_path / "c", tmp_path / "ccks2019.zip"):
        prepared = prepare_corpus(source, tmp_path / "out")
        assert prepared.documents == {"train": 2, "dev": 2, "test": 2, "raw": 2}
        assert prepared.origin["test"] == "dev2/"


def test_malformed_record_leaves_nothing(tmp_path: Path) -> None:
    write_records(tmp_path / "c" / "train.json", 3)
    with (tmp_path / "c" / "train.json").open("a", encoding="utf8") as file:
        file.write("{}\n")
    with pytest.raises(InputError, match=r"train\.json:4: no string"):
        prepare_corpus(tmp_path / "c", tmp_path / "out" / "brat")
    assert not (tmp_path / "out").exists()


def test_json_beside_brat_files_is_not_looked_at(tmp_path: Path) -> None:
    for part in ("train", "dev", "test"):
        write_part(tmp_path / "c" / part, ["a"])
    (tmp_path / "c" / "train" / "meta.json").write_text("{", encoding="utf8")
    assert prepare_corpus(tmp_path / "c", tmp_path / "out").documents["train"] == 1
