from __future__ import annotations

import pytest

from spacy_clinical_ner.brat import BratDocument, Entity, list_notes, read_document, read_folder, write_document
from spacy_clinical_ner.errors import InputError


def put(folder, **files):
    for name, content in files.items():
        path = folder / name.replace("__", "/").replace("_", ".")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode("utf8"))


def test_reads_bytes_without_translating(tmp_path):
    put(tmp_path, a_txt=b"\xef\xbb\xbfuno\r\ndos\r", a_ann=b"\xef\xbb\xbfT1\tX 6 9\tdos\r\n")
    document = read_document(tmp_path / "a.txt")
    assert document.name == "a"
    assert document.text == "\ufeffuno\r\ndos\r"
    assert document.entities == [Entity("T1", "X", ((6, 9),), "dos")]
    write_document(document, tmp_path / "out" / "b.txt")
    assert (tmp_path / "out" / "b.txt").read_bytes() == (tmp_path / "a.txt").read_bytes()
    assert (tmp_path / "out" / "b.ann").read_bytes() == (tmp_path / "a.ann").read_bytes()


def test_missing_and_empty_ann(tmp_path):
    put(tmp_path, a_txt="uno", b_txt="dos", b_ann="")
    without, empty = read_folder(tmp_path)
    assert (without.audit.has_ann, without.audit.read, without.entities) == (False, 0, [])
    assert (empty.audit.has_ann, empty.audit.read, empty.entities) == (True, 0, [])
    write_document(without, tmp_path / "out" / "a.txt")
    assert (tmp_path / "out" / "a.ann").read_bytes() == b""


def test_folder_is_read_recursively_in_order_without_hidden_files(tmp_path):
    put(tmp_path, b_txt="1", a__z_txt="2", a__b_txt="3", _x_txt="4", _git__y_txt="5", notes_md="6")
    (tmp_path / "1.2.txt").write_text("7")
    (tmp_path / "1.2.ann").write_text("T1\tX 0 1\t7\n")
    documents = list(read_folder(tmp_path))
    assert [document.name for document in documents] == ["1.2", "a/b", "a/z", "b"]
    assert len(documents[0].entities) == 1
    assert list_notes(tmp_path / "a") == [tmp_path / "a" / "b.txt", tmp_path / "a" / "z.txt"]


@pytest.mark.parametrize(
    "files, where, reason",
    [
        ({}, "", "no .txt file in this folder"),
        ({"a_txt": "x", "b_ann": ""}, "/b.ann", "no .txt beside this .ann"),
    ],
)
def test_bad_folder(tmp_path, files, where, reason):
    put(tmp_path, **files)
    with pytest.raises(InputError) as caught:
        read_folder(tmp_path)  # at once, before anything is iterated
    assert str(caught.value) == f"{tmp_path}{where}: {reason}"


def test_missing_folder_and_file(tmp_path):
    with pytest.raises(InputError, match="no such folder"):
        read_folder(tmp_path / "nowhere")
    put(tmp_path, a_txt="x")
    with pytest.raises(InputError, match="no such folder"):
        read_folder(tmp_path / "a.txt")
    with pytest.raises(InputError, match=r"nowhere\.txt: No such file"):
        read_document(tmp_path / "nowhere.txt")


@pytest.mark.parametrize("suffix", ["txt", "ann"])
def test_not_utf8(tmp_path, suffix):
    put(tmp_path, a_txt="uno\ndos\n", a_ann="")
    (tmp_path / f"a.{suffix}").write_bytes("uno\ntumoraci\xf3n\n".encode("latin1"))
    with pytest.raises(InputError) as caught:
        read_document(tmp_path / "a.txt")
    assert str(caught.value).startswith(f"{tmp_path}/a.{suffix}:2: not UTF-8")
    assert "tumor" not in str(caught.value)


def test_lenient_reading_passes_through_the_folder(tmp_path):
    put(tmp_path, a_txt="uno", a_ann="T1\tX 0 9\tuno\nT2\tX 0 3\tuno \n")
    with pytest.raises(InputError, match=r"a\.ann:1: offset 9"):
        list(read_folder(tmp_path))
    [document] = read_folder(tmp_path, on_error="drop")
    assert document.audit.counts() == {"kept": 0, "repaired": 1, "dropped": 1}
    [document] = read_folder(tmp_path, on_error="drop", text_mismatch="error")
    assert document.audit.counts() == {"kept": 0, "repaired": 0, "dropped": 2}


def test_writing_replaces_both_files_and_leaves_nothing_else(tmp_path):
    put(tmp_path, a_txt="old", a_ann="old")
    write_document(BratDocument("a", "nuevo", [Entity("T1", "X", ((0, 5),), "nuevo")]), tmp_path / "a.txt")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.ann", "a.txt"]
    assert (tmp_path / "a.ann").read_bytes() == b"T1\tX 0 5\tnuevo\n"


@pytest.mark.parametrize(
    "entity",
    [
        Entity("T1", "two words", ((0, 5),), "nuevo"),
        Entity("T1", "", ((0, 5),), "nuevo"),
        Entity("T1", "X", ((0, 9),), "nuevo"),
        Entity("T1", "X", ((0, 5),), "viejo"),
        Entity("1", "X", ((0, 5),), "nuevo"),
    ],
)
def test_writing_refuses_what_could_not_be_read_again(tmp_path, entity):
    with pytest.raises(InputError, match=r"a\.ann:1: cannot be written as BRAT: "):
        write_document(BratDocument("a", "nuevo", [entity]), tmp_path / "a.txt")
    assert list(tmp_path.iterdir()) == []


def test_writing_needs_a_txt_path(tmp_path):
    with pytest.raises(ValueError, match=r"ends in \.txt"):
        write_document(BratDocument("a", "x"), tmp_path / "a.ann")


def test_bionlp_standoff_is_read_as_one(tmp_path):
    put(
        tmp_path,
        a_txt="Pain and fever.\n",
        a_a1="T1\tSign 0 4\tPain",
        a_a2="T2\tSign 9 14\tfever\nE1\tSign:T2 With:T1\n",
    )
    [document] = read_folder(tmp_path)
    assert [entity.text for entity in document.entities] == ["Pain", "fever"]
    assert document.events[0].arguments == (("With", "T1"),)
    assert document.audit.counts() == {"kept": 3, "repaired": 0, "dropped": 0}
    put(tmp_path, a_a2="T2\tSign 9 14\tfever\nR1\tX Arg1:T2 Arg2:T9\n")
    with pytest.raises(InputError, match=r"a\.a2:2: relation R1 points to T9, .*; mend or delete"):
        read_document(tmp_path / "a.txt")
    put(tmp_path, a_ann="T1\tSign 0 4\tPain\n")
    with pytest.raises(InputError, match=r"a\.ann: an \.a1 or \.a2 stands beside"):
        read_document(tmp_path / "a.txt")
    put(tmp_path, b_a1="")
    with pytest.raises(InputError, match=r"b\.a1: no \.txt beside this \.a1"):
        read_folder(tmp_path)


def test_endings_in_capitals_and_linked_folders_are_read(tmp_path):
    put(tmp_path, notes__a_txt="1", elsewhere__b_TXT="2", elsewhere__b_ANN="T1\tX 0 1\t2\n")
    (tmp_path / "notes" / "more").symlink_to(tmp_path / "elsewhere")
    documents = list(read_folder(tmp_path / "notes"))
    assert [(document.name, len(document.entities)) for document in documents] == [("a", 0), ("more/b", 1)]


@pytest.mark.parametrize(
    "name, target, says",
    [
        ("b.ann", "nowhere", "leads nowhere"),
        ("b.txt", "nowhere", "leads nowhere"),
        ("sub", "nowhere", "leads nowhere"),
        ("sub", ".", "a folder that holds it"),
        ("b.ann", ".", "a folder"),
    ],
)
def test_links_that_cannot_be_read_are_named(tmp_path, name, target, says):
    put(tmp_path, a_txt="1", b_md="2")
    (tmp_path / name).symlink_to(tmp_path / target)
    with pytest.raises(InputError, match=f"{name}: .*{says}"):
        read_folder(tmp_path)


def test_two_notes_of_one_name_and_an_ann_that_is_a_folder(tmp_path):
    put(tmp_path, a_txt="1", a_TXT="2")
    with pytest.raises(InputError, match=r"a\.(txt|TXT): .*the two have one name"):
        read_folder(tmp_path)
    put(tmp_path / "other", a_txt="1")
    (tmp_path / "other" / "a.ann").mkdir()
    with pytest.raises(InputError, match=r"a\.ann: a folder with the ending"):
        read_folder(tmp_path / "other")


def test_without_annotations_a_broken_ann_is_no_matter(tmp_path):
    put(tmp_path, a_txt="uno", a_ann=b"\xff\xfe")
    assert read_document(tmp_path / "a.txt", annotations=False).text == "uno"
