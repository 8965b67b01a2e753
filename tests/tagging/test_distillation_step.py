"""One step of distillation: how far it goes, measured by the divergence itself."""

from __future__ import annotations

import numpy as np
import pytest
from thinc.api import Optimizer

from spacy_clinical_ner.tagging.distillation import Distillation, DistillationSettings, find_tagger, make_student
from tests.tagging.pipelines import crf_pipeline, make_docs, make_examples, model_config, train


class PlainDescent(Optimizer):
    """Steps of exactly learning rate times gradient, of which it remembers the squared length."""

    def __init__(self, rate):
        super().__init__(rate, grad_clip=0.0, use_averages=False)
        self.squares = 0.0

    def __call__(self, key, weights, gradient, *, lr_scale=1.0):
        self.squares += float((np.asarray(gradient, dtype="float64") ** 2).sum())
        weights -= self.learn_rate * gradient
        return weights, gradient * 0


@pytest.mark.parametrize("temperature", [1.0, 3.0])
def test_the_gradient_is_that_of_the_divergence_times_the_squared_temperature(temperature):
    """Hinton et al. (2015), section 2: without the square, what the teacher says fades as the temperature rises."""
    teacher = crf_pipeline()
    train(teacher, make_examples(teacher, make_docs(teacher, 10)), steps=20)
    student = make_student(
        crf_pipeline(model=model_config(encoder=None)).config.copy(),
        find_tagger(teacher, "crf_ner", "the teacher"),
        "crf_ner",
        ["dolor"],
        seed=0,
    )
    notes = [(f"n{number}", doc.text) for number, doc in enumerate(make_docs(teacher, 5, seed=5))]
    tokens = sum(len(student.make_doc(text)) for _, text in notes)
    settings = DistillationSettings(temperature, epochs=1, max_steps=1, batch_tokens=10_000, dropout=0.0)
    optimizer = PlainDescent(0.0002 / temperature)
    before, after = Distillation(teacher, student, "crf_ner", notes, notes, settings).run(optimizer)
    fall = (before.divergence - after.divergence) * tokens
    # Along a gradient g' = g * T^2 / notes, a step of r * g' lowers the divergence by r * g * g' to first order.
    expected = optimizer.learn_rate * optimizer.squares * len(notes) / temperature**2
    assert fall == pytest.approx(expected, rel=0.05)
