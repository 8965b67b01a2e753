"""Annotating many notes full of new words: the vocabulary of the pipeline stays as it was."""

from __future__ import annotations

import os

import pytest

from spacy_clinical_ner.annotation import words
from spacy_clinical_ner.annotation.local import Annotator
from spacy_clinical_ner.tokenization import blank_pipeline
from tests.annotation.test_notes import run, write


@pytest.mark.parametrize("limit, at_most", [(30, 3 * 20), (10_000, 8 * 20)])
def test_the_vocabulary_stays_flat(limit, at_most, tmp_path, monkeypatch):
    nlp = blank_pipeline("es")
    if not hasattr(nlp, "memory_zone"):
        pytest.skip("spaCy before 3.8 has no memory zones")
    monkeypatch.setattr(words, "_NEW_WORDS", limit)
    texts = {f"{n}": " ".join(f"new{n}word{chr(97 + i)}" for i in range(20)) for n in range(8)}
    write(tmp_path / "in", texts)
    before, during = set(nlp.vocab.strings), []
    shard = Annotator.shard

    def watched(annotator, *args):
        made = shard(annotator, *args)
        during.append(len({each for each in nlp.vocab.strings if each.startswith("new")}))
        return made

    monkeypatch.setattr(Annotator, "shard", watched)
    summary = run(nlp, tmp_path / "in", tmp_path / "out", shard_notes=1)
    assert set(nlp.vocab.strings) == before
    assert during[0] < during[1] and len(during) == 8, "words are kept from one part to the next"
    assert max(during) <= at_most
    nlp("newone")  # outside of a run, words are kept
    assert "newone" in set(nlp.vocab.strings) - before
    assert (summary.notes, summary.words) == (8, 8 * 20 * 2)
    assert len(list((tmp_path / "out").glob("*.txt"))) == 8


@pytest.mark.parametrize("given, kept", [(None, "8"), ("64", "64")])
def test_onednn_keeps_code_for_few_shapes(given, kept, tmp_path, monkeypatch):
    monkeypatch.setenv("ONEDNN_PRIMITIVE_CACHE_CAPACITY", given or "")
    if given is None:
        monkeypatch.delenv("ONEDNN_PRIMITIVE_CACHE_CAPACITY")
    write(tmp_path / "in", {"1": "Sin cambios ."})
    run(blank_pipeline("es"), tmp_path / "in", tmp_path / "out")
    assert os.environ["ONEDNN_PRIMITIVE_CACHE_CAPACITY"] == kept
