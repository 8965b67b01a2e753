"""The text of a Doc is what is compared with the note: put together in another way than spaCy does it."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from spacy.tokens import Doc

from spacy_clinical_ner.annotation.piping import Intake, Job, annotated
from spacy_clinical_ner.annotation.words import Spelling
from tests.annotation.tasks import pipeline

text = st.text(st.characters(blacklist_categories=["Cs"]), max_size=60)


@settings(max_examples=100, deadline=None)
@given(text, st.lists(st.tuples(st.text(min_size=1, max_size=4), st.booleans()), max_size=12))
def test_text_of_a_doc(note, words):
    nlp, spelling = pipeline(), Spelling()
    for doc in (nlp.make_doc(note), Doc(nlp.vocab, [word for word, _ in words], [space for _, space in words])):
        assert spelling.text(doc) == doc.text


@settings(max_examples=20, deadline=None)
@given(st.lists(text, max_size=20), st.integers(1, 30))
def test_batches_by_tokens_lose_no_note(notes, tokens):
    jobs = [Job(str(number), text=note) for number, note in enumerate(notes)]
    found = list(annotated(Intake(pipeline()), iter(jobs), batch_tokens=tokens))
    assert [(job.id, doc.text) for job, _, doc in found] == [(job.id, job.text) for job in jobs]
