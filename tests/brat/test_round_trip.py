from __future__ import annotations

import os
from pathlib import Path

import pytest
import spacy
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from spacy.tokens import DocBin

from spacy_clinical_ner.brat import from_doc, read_document, read_folder, to_doc, write_document
from spacy_clinical_ner.brat.offsets import TEXT_DIFFERS
from spacy_clinical_ner.tokenization import blank_pipeline
from tests.brat.strategies import brat_files

DATA = os.environ.get("CLINICAL_NER_DATA", "")
POLICIES = st.fixed_dictionaries(
    {
        "overlap": st.sampled_from(["longest", "first", "shortest"]),
        "misaligned": st.sampled_from(["split", "expand", "contract", "drop"]),
        "discontinuous": st.sampled_from(["outer", "first", "longest", "skip"]),
        "trim_whitespace": st.booleans(),
        "spans_key": st.sampled_from(["sc", "other"]),
    }
)
WRITERS = {"clinical": blank_pipeline("es"), "spacy": spacy.blank("en")}
READER = blank_pipeline("es")
# Mentions whose text is not what stands at their offsets: one sign of the note was changed after annotation.
MALFORMED_LINES = {"diabetes/train": [("138_7", 247), ("152_16", 370), ("25_1", 365), ("28", 106)]}


def through_docbin(docs):
    """The Docs as another process would see them: other vocab, only what the bytes hold."""
    data = DocBin(docs=docs, store_user_data=True).to_bytes()
    return list(DocBin().from_bytes(data).get_docs(blank_pipeline("es").vocab))


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(files=brat_files(), tokenizer=st.sampled_from(sorted(WRITERS)), policy=POLICIES)
def test_everything_comes_back(tmp_path_factory, files, tokenizer, policy):
    folder = tmp_path_factory.mktemp("brat")
    note = folder / "note.txt"
    note.write_bytes(files.text.encode("utf8"))
    if files.ann is not None:
        note.with_suffix(".ann").write_bytes(files.ann.encode("utf8"))

    document = read_document(note)
    assert document.audit.counts() == {"kept": files.n_lines, "repaired": 0, "dropped": 0}
    assert document.audit.read == files.n_lines
    assert document.audit.has_ann == (files.ann is not None)

    doc = to_doc(WRITERS[tokenizer], document, **policy)
    assert doc.text == files.text
    [loaded] = through_docbin([doc])
    returned = from_doc(loaded, spans_key=policy["spans_key"])
    assert returned == document

    write_document(returned, folder / "out" / "note.txt")
    assert (folder / "out" / "note.txt").read_bytes() == note.read_bytes()
    assert (folder / "out" / "note.ann").read_bytes() == (files.ann or "").encode("utf8")


@settings(max_examples=100, deadline=None)
@given(files=brat_files(), keep=st.randoms(use_true_random=False))
def test_editing_never_leaves_dangling_lines(tmp_path_factory, files, keep):
    """Whatever mentions are deleted, the rest is a valid .ann whose lines were all there before."""
    folder = tmp_path_factory.mktemp("brat")
    note = folder / "note.txt"
    note.write_bytes(files.text.encode("utf8"))
    note.with_suffix(".ann").write_bytes((files.ann or "").encode("utf8"))
    document = read_document(note)
    doc = to_doc(READER, document)
    group = doc.spans["sc"]
    doc.ents = [span for span in doc.ents if keep.random() < 0.7]
    doc.spans["sc"] = [span for span in group if keep.random() < 0.7]
    edited = from_doc(doc)
    write_document(edited, folder / "out.txt")  # verifies what it writes
    assert read_document(folder / "out.txt").audit.counts()["dropped"] == 0
    assert {line.id for line in edited.annotations()} <= {line.id for line in document.annotations()}
    # Another trip changes nothing more.
    assert from_doc(to_doc(READER, edited)) == edited


@pytest.mark.data
@pytest.mark.skipif(not DATA, reason="CLINICAL_NER_DATA names no folder of real corpora")
@pytest.mark.parametrize(
    "part",
    [
        *("cantemist/train", "cantemist/dev1", "cantemist/dev2", "maccrobat/train", "maccrobat/dev"),
        *("ccks2019/train", "ccks2019/dev", "diabetes/train", "diabetes/dev"),
    ],
)
def test_real_corpora_come_back_byte_for_byte(part, tmp_path):
    """Lines that are malformed, too, of which there are but the known ones."""
    folder = Path(DATA) / part
    documents = list(read_folder(folder, on_error="drop"))
    n_lines = sum(
        1 for path in folder.rglob("*.ann") for line in path.read_bytes().split(b"\n") if line.strip(b" \t\r")
    )
    counts = [document.audit.counts() for document in documents]
    assert sum(sum(count.values()) for count in counts) == n_lines > 0
    dropped = {(d.name, s.line): s.reason for d in documents for s in d.audit.states if s.state == "dropped"}
    assert dropped == dict.fromkeys(MALFORMED_LINES.get(part, []), TEXT_DIFFERS)

    docs = through_docbin([to_doc(READER, document) for document in documents])
    n_returned = 0
    for document, doc in zip(documents, docs):
        write_document(from_doc(doc), tmp_path / f"{document.name}.txt")
        for suffix in (".txt", ".ann"):
            written = (tmp_path / document.name).with_suffix(suffix).read_bytes()
            assert written == (folder / document.name).with_suffix(suffix).read_bytes()
        n_returned += sum(1 for line in written.split(b"\n") if line.strip(b" \t\r"))
    assert n_returned == n_lines
    print(
        f"{part}: {len(documents)} notes, {n_lines} annotation lines read, {n_returned / n_lines:.2%} given back, "
        f"of which malformed: {', '.join(f'{name}.ann:{line}' for name, line in dropped) or 'none'}"
    )
