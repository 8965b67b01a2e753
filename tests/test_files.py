"""Files whole or not there: disks that fill up, runs that are killed, pipelines and archives that mean harm."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from spacy_clinical_ner import outputs
from spacy_clinical_ner.errors import InputError, OutputError
from spacy_clinical_ner.files import HOLDER, remove_leftovers, replacing
from spacy_clinical_ner.outputs import CORPUS, NEW_FOLDER, PICTURE, PIPELINE, check_output
from spacy_clinical_ner.project import layout
from spacy_clinical_ner.tokenization import blank_pipeline
from spacy_clinical_ner.transformers.loading import unpack_tokenizer


def test_a_full_disk_is_one_line_and_leaves_nothing(tmp_path):
    target = tmp_path / "new" / "out.txt"
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, before[1]))
    try:
        with pytest.raises(OutputError, match=r"out\.txt: File too large"), replacing(target) as temporary:
            temporary.write_bytes(bytes(5000))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert list(tmp_path.iterdir()) == []


def test_what_stood_there_comes_back_if_the_last_rename_fails(tmp_path, monkeypatch):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "old").write_text("old")

    def fail(*paths):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(OutputError, match="No space left"), replacing(tmp_path / "out") as temporary:
        temporary.mkdir()
    assert [path.read_text() for path in tmp_path.rglob("*") if path.is_file()] == ["old"]


def test_leftovers_of_a_killed_run_go_and_those_of_a_running_one_stay(tmp_path):
    code = (
        "import os, sys; from spacy_clinical_ner.files import replacing\n"
        "with replacing(sys.argv[1]) as path:\n    path.write_text('words'); os.kill(os.getpid(), 9)"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path / "out")], check=False)
    (left,) = tmp_path.iterdir()
    assert left.name.startswith(HOLDER) and left.stat().st_mode & 0o077 == 0
    with replacing(tmp_path / "other") as temporary:
        remove_leftovers(tmp_path)
        assert not left.exists()
        temporary.write_text("goes on")
    assert (tmp_path / "other").read_text() == "goes on"


def test_the_only_copy_of_what_was_to_be_replaced_stays(tmp_path):
    (tmp_path / f"{HOLDER}x" / "replaced").mkdir(parents=True)
    remove_leftovers(tmp_path)
    assert (tmp_path / f"{HOLDER}x" / "replaced").is_dir()


def test_a_pipeline_is_replaced_only_if_it_holds_nothing_else(tmp_path):
    blank_pipeline("es").to_disk(tmp_path / "out")
    check_output(tmp_path / "out", PIPELINE, overwrite=True)
    with pytest.raises(OutputError, match="--overwrite"):
        check_output(tmp_path / "out", PIPELINE)
    (tmp_path / "out" / "thesis.txt").write_text("years of work")
    with pytest.raises(OutputError, match="never replaced"):
        check_output(tmp_path / "out", PIPELINE, overwrite=True)


def test_two_outputs_in_one_place(tmp_path):
    with pytest.raises(OutputError, match="named twice"):
        check_output(tmp_path / "a", PICTURE, others=[tmp_path / "b" / ".." / "a"])


@pytest.mark.parametrize("kind", [CORPUS, NEW_FOLDER, PIPELINE])
def test_an_input_is_never_replaced(tmp_path, kind):
    (tmp_path / "in").mkdir()
    for place in (tmp_path / "in", tmp_path):
        with pytest.raises(OutputError, match="holds the input"):
            outputs.check_output(place, kind, inputs=[tmp_path / "in"], overwrite=True)


@pytest.mark.parametrize("name", ["/absolute", "../beside", "a/b", "a/../../b", ".."])
def test_a_hostile_pipeline_writes_no_file_by_its_tokenizer(tmp_path, name, monkeypatch):
    outside = tmp_path / "absolute"
    name = str(outside) if name == "/absolute" else name
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    with pytest.raises(ValueError, match="no plain name"):
        unpack_tokenizer({name: b"harm"}, {})
    assert list(tmp_path.iterdir()) == []


def _archive(path: Path, **files: bytes) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return path


@pytest.mark.parametrize("offset, value, reason", [(6, 1, "encrypted"), (8, 99, "Python cannot unpack")])
def test_archives_that_cannot_be_unpacked(tmp_path, offset, value, reason):
    path = _archive(tmp_path / "a.zip", note=b"text")
    data = bytearray(path.read_bytes())
    directory = data.index(b"PK\x01\x02")
    data[offset] = data[directory + offset + 2] = value
    path.write_bytes(data)
    with pytest.raises(InputError, match=reason):
        layout.prepare_corpus(path, tmp_path / "out")
    assert [each.name for each in tmp_path.iterdir()] == ["a.zip"]


def test_a_bomb_is_refused_before_it_is_unpacked(tmp_path, monkeypatch):
    monkeypatch.setattr(layout, "MAX_UNPACKED", 1_000_000)
    path = _archive(tmp_path / "a.zip", **{"train.txt": bytes(2_000_000)})
    with pytest.raises(InputError, match="GB when unpacked"):
        layout.prepare_corpus(path, tmp_path / "out")


def test_a_link_out_of_the_corpus_is_named(tmp_path):
    (tmp_path / "secret").write_text("root:x")
    for name in ("a", "b", "c"):
        (tmp_path / "in" / "train").mkdir(parents=True, exist_ok=True)
        (tmp_path / "in" / "train" / f"{name}.ann").write_text("")
    (tmp_path / "in" / "train" / "a.txt").symlink_to(tmp_path / "secret")
    for name in ("b", "c"):
        (tmp_path / "in" / "train" / f"{name}.txt").write_text("note")
    with pytest.raises(InputError, match=r"a\.txt: a link to a file outside"):
        layout.prepare_corpus(tmp_path / "in", tmp_path / "out")
