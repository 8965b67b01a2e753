"""Both losses reach the gradient with their weight."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from thinc.api import Optimizer

from spacy_clinical_ner.joint.joint_architectures import network
from tests.joint.pipelines import joint_pipeline
from tests.relations.pipelines import make_docs, make_examples


class Remember(Optimizer):
    """Moves nothing; gradients by the name of their parameter."""

    def __init__(self):
        super().__init__(0.1, grad_clip=0.0, use_averages=False)
        self.gradients = {}

    def __call__(self, key, weights, gradient, *, lr_scale=1.0):
        self.gradients[key[1]] = np.array(gradient, dtype="float64")
        return weights, gradient


def one_step(entity_weight, relation_weight):
    """The loss and all gradients of one update; the same weights at every call."""
    nlp = joint_pipeline(entity_weight=entity_weight, relation_weight=relation_weight)
    docs = make_docs(nlp, 4)
    nlp.initialize(lambda: make_examples(docs, mentions=False))
    optimizer = Remember()
    losses = nlp.update(make_examples(docs, mentions=False), sgd=optimizer)
    return losses["joint_extractor"], optimizer.gradients


@pytest.mark.parametrize("entity_weight, relation_weight", [(1.0, 3.0), (0.5, 1.0)])
def test_loss_and_gradient_are_the_weighted_sum(entity_weight, relation_weight):
    entities, relations = one_step(1.0, 0.0), one_step(0.0, 1.0)
    loss, gradients = one_step(entity_weight, relation_weight)
    assert loss == pytest.approx(entity_weight * entities[0] + relation_weight * relations[0], rel=1e-5)
    shared = 0
    for name, found in gradients.items():
        one, other = (each[1].get(name, np.zeros_like(found)) for each in (entities, relations))
        np.testing.assert_allclose(found, entity_weight * one + relation_weight * other, atol=2e-6, err_msg=name)
        shared += bool(one.any() and other.any())
    assert shared > 10


def test_the_loss_of_entities_is_in_nats_a_token():
    nlp = joint_pipeline(relation_weight=0.0)
    examples = make_examples(make_docs(nlp, 3), mentions=False)
    nlp.initialize(lambda: examples)
    pipe = nlp.get_pipe("joint_extractor")
    lesson = pipe.lesson(examples)
    output = pipe.model.predict(lesson.reads)
    loss, _ = pipe.loss(output, lesson.targets)
    decoder, total = network(pipe.model).decoder, 0.0
    for emissions, tags in zip(output.emissions, lesson.targets.tags):
        total += float(decoder.loss(torch.tensor(emissions)[None], torch.tensor(tags), torch.ones(tags.shape).bool()))
    assert loss == pytest.approx(total / sum(len(example.predicted) for example in examples), rel=1e-4)
