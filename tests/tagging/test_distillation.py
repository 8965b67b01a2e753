from __future__ import annotations

from typing import Any, List, Tuple

import numpy as np
import pytest
from spacy.language import Language
from spacy.tokens import Doc, Span
from spacy.training import Example
from thinc.api import SGD, Config

from spacy_clinical_ner.errors import ClinicalNerError
from spacy_clinical_ner.tagging.distillation import (
    Distillation,
    DistillationSettings,
    find_tagger,
    make_student,
    planned_steps,
)
from spacy_clinical_ner.tagging.pool import decoder
from spacy_clinical_ner.tokenization import blank_pipeline
from tests.tagging.pipelines import (
    crf_pipeline,
    ents,
    label_attention_config,
    make_docs,
    make_examples,
    model_config,
    softmax_config,
    spans,
    train,
)

OPTIMIZER = {"@optimizers": "Adam.v1", "learn_rate": 0.01}
SETTINGS = DistillationSettings(epochs=6, evaluations=3, batch_tokens=300, dropout=0.0)
NOTES: List[Tuple[str, str]] = [
    (f"n{number}", doc.text) for number, doc in enumerate(make_docs(blank_pipeline("es"), 60, seed=5))
]


def make_teacher(**config) -> Language:
    nlp = crf_pipeline(**config)
    train(nlp, make_examples(nlp, make_docs(nlp, 20, spans_key=config.get("spans_key"))), steps=40)
    return nlp


@pytest.fixture(scope="module")
def teacher() -> Language:
    return make_teacher()


def student_config(**settings) -> Config:
    settings.setdefault("model", model_config(encoder=None))
    nlp = crf_pipeline(**settings)
    config = nlp.config.copy()
    config["training"]["optimizer"] = OPTIMIZER
    return config


def student_of(nlp: Language, config: Config, seed: int = 0) -> Language:
    return make_student(config, find_tagger(nlp, "crf_ner", "the teacher"), "crf_ner", [NOTES[0][1]], seed)


def test_student_learns_to_find_what_the_teacher_finds(teacher: Language) -> None:
    student = student_of(teacher, student_config())
    assert student.get_pipe("crf_ner").labels == teacher.get_pipe("crf_ner").labels
    seen: list = []
    found = Distillation(teacher, student, "crf_ner", NOTES[:50], NOTES[50:], SETTINGS).run(report=seen.append)
    assert seen == found
    assert len(found) == 4
    assert found[-1].divergence < 0.1 * found[0].divergence
    assert found[-1].f > 0.95 > found[0].f
    texts = [text for _, text in NOTES[50:]]
    expected = [ents(doc) for doc in teacher.pipe(texts)]
    same = sum(ents(doc) == gold for doc, gold in zip(student.pipe(texts), expected))
    assert any(expected) and same >= 8


def test_confidence_is_learnt_too(teacher: Language) -> None:
    student = student_of(teacher, student_config(model=model_config()))
    settings = DistillationSettings(epochs=6, batch_tokens=200, dropout=0.0, temperature=1.0)
    Distillation(teacher, student, "crf_ner", NOTES[:50], NOTES[50:], settings).run()
    differences = []
    for _, text in NOTES[50:]:
        ours, theirs = ({(s.start, s.end): s._.confidence for s in nlp(text).ents} for nlp in (student, teacher))
        differences += [abs(ours[key] - theirs[key]) for key in ours.keys() & theirs.keys()]
    assert len(differences) > 10
    assert sum(differences) / len(differences) < 0.05


def test_same_seed_same_student(teacher: Language) -> None:
    settings = DistillationSettings(epochs=1, batch_tokens=300)
    weights = []
    for seed in (0, 0, 1):
        student = student_of(teacher, student_config(), seed)
        Distillation(teacher, student, "crf_ner", NOTES[:10], NOTES[50:], settings).run()
        weights.append(student.get_pipe("crf_ner").model.to_bytes())
    assert weights[0] == weights[1] != weights[2]


def annotated(nlp: Language, notes: List[Tuple[str, str]], teacher: Language) -> List[Example]:
    """Notes with the teacher's mentions in place of annotations, all of another label."""
    examples = []
    for _, text in notes:
        reference = nlp.make_doc(text)
        reference.set_ents([Span(reference, s.start, s.end, "SITE") for s in teacher(text).ents])
        examples.append(Example(nlp.make_doc(text), reference))
    return examples


def test_annotated_notes_teach_what_the_teacher_does_not(teacher: Language) -> None:
    """Annotations that call every mention SITE, beside raw notes on which the teacher tells SITE from TUMOUR."""
    student = student_of(teacher, student_config(model=model_config()))
    gold = annotated(student, NOTES[50:], teacher)
    settings = DistillationSettings(epochs=6, batch_tokens=100, dropout=0.0, gold_passes=8)
    found = Distillation(teacher, student, "crf_ner", NOTES[:30], NOTES[30:50], settings, gold).run()
    scores = student.evaluate(annotated(student, NOTES[50:], teacher))
    assert scores["ents_f"] > teacher.evaluate(annotated(teacher, NOTES[50:], teacher))["ents_f"] + 0.4
    assert found[-1].divergence < found[0].divergence
    assert found[-1].step == planned_steps(NOTES[:30], settings, gold) > planned_steps(NOTES[:30], settings)


def test_annotations_alone_are_learnt_as_by_update(teacher: Language) -> None:
    """Without raw notes a step is that of `nlp.update`: the same gradients, so the same emissions."""
    emissions, transitions = [], []
    for distils in (True, False):
        student = student_of(teacher, student_config())
        gold = annotated(student, NOTES[50:54], teacher)
        if distils:
            settings = DistillationSettings(epochs=1, batch_tokens=10_000, dropout=0.0, seed=3)
            Distillation(teacher, student, "crf_ner", [], NOTES[54:], settings, gold).run(
                SGD(0.01, grad_clip=0.0, use_averages=False)
            )
        else:
            order = np.random.default_rng([3, 0]).permutation(len(gold))
            student.update([gold[i] for i in order], sgd=SGD(0.01, grad_clip=0.0, use_averages=False), drop=0.0)
        tagger: Any = student.get_pipe("crf_ner")
        emissions.append(np.concatenate(tagger.model.predict([student.make_doc(text) for _, text in NOTES[:5]])))
        transitions.append(decoder(tagger.model).crf.transitions.detach().numpy())
    np.testing.assert_allclose(emissions[0], emissions[1], atol=1e-5)
    np.testing.assert_allclose(transitions[0], transitions[1], atol=1e-6)


def test_annotations_with_other_labels_are_refused(teacher: Language) -> None:
    student = student_of(teacher, student_config())
    doc = student.make_doc(NOTES[0][1])
    doc.set_ents([Span(doc, 0, 1, "DRUG")])
    with pytest.raises(ValueError, match="cannot train on the label"):
        Distillation(
            teacher, student, "crf_ner", NOTES[:5], NOTES[5:9], SETTINGS, [Example(student.make_doc(doc.text), doc)]
        )


@pytest.mark.parametrize("cache_gb", [1.0, 0.0])
def test_the_teacher_reads_each_note_once(teacher: Language, cache_gb: float, monkeypatch: pytest.MonkeyPatch) -> None:
    student = student_of(teacher, student_config())
    read: List[int] = []
    ask = Distillation._ask
    monkeypatch.setattr(
        Distillation, "_ask", lambda self, names, docs: read.append(len(docs)) or ask(self, names, docs)
    )
    settings = DistillationSettings(epochs=3, batch_tokens=300, dropout=0.0, cache_gb=cache_gb)
    found = Distillation(teacher, student, "crf_ner", NOTES[:20], NOTES[50:], settings).run()
    once = 20 + len(NOTES[50:])
    assert sum(read) == (once if cache_gb else 3 * 20 + len(found) * len(NOTES[50:]))
    assert found[-1].f > 0.5


def test_chains_for_each_label() -> None:
    teacher = make_teacher(spans_key="sc")
    student = student_of(teacher, student_config(spans_key="sc"))
    found = Distillation(teacher, student, "crf_ner", NOTES[:50], NOTES[50:], SETTINGS).run()
    assert found[-1].f > 0.9
    text = NOTES[50][1]
    assert spans(student(text), "sc") == spans(teacher(text), "sc")


def test_averaged_weights_are_those_that_stay(teacher: Language) -> None:
    config = student_config()
    config["training"]["optimizer"] = {**OPTIMIZER, "use_averages": True}
    student = student_of(teacher, config)
    distillation = Distillation(teacher, student, "crf_ner", NOTES[:30], NOTES[50:], SETTINGS)
    last = distillation.run()[-1]
    assert distillation.agreement(0).divergence == pytest.approx(last.divergence, rel=1e-5)
    assert last.f > 0.5


def test_steps_can_be_limited_and_empty_notes_are_passed_over(teacher: Language) -> None:
    student = student_of(teacher, student_config())
    settings = DistillationSettings(epochs=9, max_steps=3, batch_tokens=1)
    notes = [("empty", ""), *NOTES[:5]]
    found = Distillation(teacher, student, "crf_ner", notes, [("empty", ""), NOTES[50]], settings).run()
    assert [agreement.step for agreement in found] == [0, 3]


@pytest.mark.parametrize("settings", [{"epochs": 3}, {"epochs": 9, "max_steps": 7}, {"epochs": 1, "batch_tokens": 1}])
def test_steps_are_as_planned(teacher: Language, settings: dict) -> None:
    chosen = DistillationSettings(**{"batch_tokens": 60, "seed": 1, **settings})
    found = Distillation(
        teacher, student_of(teacher, student_config()), "crf_ner", NOTES[:20], NOTES[50:], chosen
    ).run()
    assert found[-1].step == planned_steps(NOTES[:20], chosen) > 0


def test_teacher_behind_other_components() -> None:
    tok2vec = {"@architectures": "spacy.Tok2VecListener.v1", "width": 32}
    nlp = blank_pipeline("es")
    nlp.add_pipe("tok2vec", config={"model": {
        "@architectures": "spacy.HashEmbedCNN.v2", "width": 32, "depth": 2, "embed_size": 500, "window_size": 1,
        "maxout_pieces": 3, "subword_features": True, "pretrained_vectors": None,
    }})  # fmt: skip
    nlp.add_pipe("crf_ner", config={"model": model_config(tok2vec=tok2vec)})
    train(nlp, make_examples(nlp, make_docs(nlp, 20)), steps=40)
    student = student_of(nlp, student_config())
    assert Distillation(nlp, student, "crf_ner", NOTES[:50], NOTES[50:], SETTINGS).run()[-1].f > 0.9
    with pytest.raises(ClinicalNerError, match="listens to another component"):
        student_of(nlp, nlp.config)


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"model": model_config(scheme="BIO")}, "scheme = BIO"),
        ({"spans_key": "sc"}, "spans_key = sc"),
        ({"model": softmax_config()}, "without a CRF"),
        ({"factory": "label_attention_ner", "model": label_attention_config()}, "no component 'crf_ner'"),
    ],
)
def test_student_that_does_not_fit(teacher: Language, settings: dict, reason: str) -> None:
    with pytest.raises(ClinicalNerError, match=reason):
        student_of(teacher, student_config(**settings))


def test_other_tokens_are_an_error_that_names_the_note(teacher: Language) -> None:
    student = student_of(teacher, student_config())
    student.tokenizer = lambda text: Doc(student.vocab, words=text.split())
    with pytest.raises(ClinicalNerError, match="note secret-free: teacher and student") as error:
        Distillation(teacher, student, "crf_ner", [], [("secret-free", "dolor,fiebre")], SETTINGS).run()
    assert "fiebre" not in str(error.value)
