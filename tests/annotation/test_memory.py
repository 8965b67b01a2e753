"""Annotating many notes full of new words: the vocabulary of the pipeline stays as it was."""

from __future__ import annotations

import pytest

from spacy_clinical_ner.annotation import annotate_notes, plan_jobs
from spacy_clinical_ner.annotation import notes as module
from spacy_clinical_ner.tokenization import blank_pipeline


def test_the_vocabulary_stays_flat(tmp_path, monkeypatch):
    nlp = blank_pipeline("es")
    if not hasattr(nlp, "memory_zone"):
        pytest.skip("spaCy before 3.8 has no memory zones")
    monkeypatch.setattr(module, "_NOTES_OF_ZONE", 3)
    (tmp_path / "in").mkdir()
    for number in range(8):
        words = " ".join(f"new{number}word{chr(97 + i)}" for i in range(20))
        (tmp_path / "in" / f"{number}.txt").write_text(words, encoding="utf8")
    before = set(nlp.vocab.strings)
    summary = annotate_notes(nlp, plan_jobs(tmp_path / "in", tmp_path / "out"))
    assert set(nlp.vocab.strings) == before
    nlp("newone")  # outside of a zone, words are kept
    assert "newone" in set(nlp.vocab.strings) - before
    assert (summary.notes, summary.words) == (8, 8 * 20 * 2)
    assert len(list((tmp_path / "out").glob("*.txt"))) == 8
