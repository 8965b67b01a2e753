"""What is trained on a GPU is there on the GPU, learns, and predicts the same on a CPU, and the other way round."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Callable, Iterator, NamedTuple

import numpy as np
import pytest
import spacy
import torch
from spacy.language import Language
from spacy.tokens import Doc
from spacy.training import Example
from thinc.api import require_cpu, require_gpu
from thinc.compat import has_cupy_gpu

from tests.joint import pipelines as joint
from tests.relations import pipelines as related
from tests.tagging import pipelines as tagging
from tests.transformers import encoders as transformers

pytestmark = pytest.mark.skipif(not (has_cupy_gpu and torch.cuda.is_available()), reason="needs a GPU with cupy")

CHARACTERS = {"@architectures": "spacy-clinical-ner.CharCNN.v1", "filters": 8}
BESIDE_WORDS = {**tagging.EMBED, "embed": {**CHARACTERS, "embed": tagging.EMBED["embed"]}}
CONCATENATED = {
    "@architectures": "spacy-clinical-ner.Concatenate.v1",
    "*": {"words": tagging.EMBED, "characters": {**tagging.EMBED, "embed": CHARACTERS}},
}
TAGGERS: dict[str, tuple[str, dict]] = {
    **{name: (factory, make()) for name, (factory, make) in tagging.TAGGERS.items()},
    "CRF": ("crf_ner", tagging.model_config()),
    "CRF, BIO": ("crf_ner", tagging.model_config(scheme="BIO")),
    "BiGRU": ("crf_ner", tagging.model_config(tagging.BIGRU)),
    "IDCNN": ("crf_ner", tagging.model_config(tagging.IDCNN)),
    "IDCNN and attention": ("crf_ner", tagging.model_config(tagging.STACK)),
    "no encoder": ("crf_ner", tagging.model_config(None)),
    "characters": ("crf_ner", tagging.model_config(tok2vec=BESIDE_WORDS)),
    "concatenated": ("crf_ner", tagging.model_config(tok2vec=CONCATENATED)),
}
Found = tuple[list, list[float]]  # what is found, and how sure


class Case(NamedTuple):
    """A pipeline, what it is to learn by heart and how, and what of its Docs is compared."""

    nlp: Language
    examples: Callable[[Language], list[Example]]
    steps: int
    learn_rate: float
    found: Callable[[Doc], Found]


def entities(doc: Doc) -> Found:
    return tagging.ents(doc), [span._.confidence for span in doc.ents]


def overlapping(doc: Doc) -> Found:
    found = sorted(doc.spans["sc"], key=lambda span: (span.start, span.end, span.label_))
    return [(span.start, span.end, span.label_) for span in found], [span._.confidence for span in found]


def relations(doc: Doc) -> Found:
    """The entities too; those that were given have no confidence."""
    found, confidences = entities(doc)
    pairs = sorted(doc._.relations, key=lambda r: (r.head.start, r.tail.start, r.label))
    found += [(r.label, r.head.start, r.head.end, r.tail.start, r.tail.end) for r in pairs]
    return found, [*(c for c in confidences if c is not None), *(r.score for r in pairs)]


def tagger(factory: str, model: dict) -> Case:
    def examples(nlp: Language) -> list[Example]:
        return tagging.make_examples(nlp, tagging.make_docs(nlp))

    return Case(tagging.crf_pipeline(0, factory, model=model), examples, 120, 0.01, entities)


def overlapping_tagger() -> Case:
    def examples(nlp: Language) -> list[Example]:
        return tagging.make_examples(nlp, tagging.make_docs(nlp, spans_key="sc"))

    scorer = {"@scorers": "spacy-clinical-ner.EntityScorer.v1", "spans_key": "sc"}
    return Case(tagging.crf_pipeline(spans_key="sc", scorer=scorer), examples, 80, 0.01, overlapping)


def transformer(kind: str, folder: Path, **settings: Any) -> Case:
    nlp = transformers.tagging_pipeline(transformers.make_encoder(kind, folder / "encoder"), **settings)
    return tagger("crf_ner", tagging.model_config())._replace(nlp=nlp, steps=60)


def relation_classifier() -> Case:
    def examples(nlp: Language) -> list[Example]:
        return related.make_examples(related.make_docs(nlp))

    return Case(related.relation_pipeline(), examples, 50, 0.02, relations)


def joint_extractor() -> Case:
    def examples(nlp: Language) -> list[Example]:
        return related.make_examples(related.make_docs(nlp), mentions=False)

    return Case(joint.joint_pipeline(), examples, 80, 0.005, relations)


CASES: dict[str, Callable[[Path], Case]] = {
    **{name: lambda _, case=case: tagger(*case) for name, case in TAGGERS.items()},  # type: ignore[misc]
    **{f"transformer, {k}": lambda folder, k=k: transformer(k, folder) for k in transformers.KINDS},  # type: ignore[misc]
    "transformer in bfloat16": lambda folder: transformer("wordpiece", folder, mixed_precision=True),
    "overlapping": lambda _: overlapping_tagger(),
    "relations": lambda _: relation_classifier(),
    "joint": lambda _: joint_extractor(),
}


@pytest.fixture
def gpu() -> Iterator[None]:
    require_gpu()
    yield
    require_cpu()


def devices(nlp: Language) -> set[str]:
    """Kinds of device on which the torch parameters of a pipeline are."""
    models = [pipe.model for _, pipe in nlp.pipeline if hasattr(pipe, "model")]
    modules = (getattr(shim, "module", None) for model in models for node in model.walk() for shim in node.shims)
    return {parameter.device.type for module in modules if module is not None for parameter in module.parameters()}


def found_by(nlp: Language, case: Case) -> list[Found]:
    return [case.found(nlp(example.predicted)) for example in case.examples(nlp)]


def check_equal(found: list[Found], wanted: list[Found], atol: float) -> None:
    for (mentions, sure), (others, as_sure) in zip(found, wanted):
        assert mentions and mentions == others
        np.testing.assert_allclose(sure, as_sure, atol=atol)


@pytest.mark.parametrize("name", CASES)
def test_learns_on_the_gpu_and_predicts_the_same_on_the_cpu(gpu: None, name: str, tmp_path: Path) -> None:
    case = CASES[name](tmp_path)
    nlp, atol = case.nlp, 0.05 if "bfloat16" in name else 1e-3
    tagging.train(nlp, case.examples(nlp), case.steps, case.learn_rate)
    assert devices(nlp) == {"cuda"}
    scores = nlp.evaluate(case.examples(nlp))
    key = {entities: "ents_f", overlapping: "spans_sc_f", relations: "rel_micro_f"}[case.found]
    assert scores[key] == 1.0
    wanted = found_by(nlp, case)
    nlp.to_disk(tmp_path / "gpu")
    require_cpu()
    on_cpu = spacy.load(tmp_path / "gpu")
    assert devices(on_cpu) == {"cpu"}
    check_equal(found_by(on_cpu, case), wanted, atol)
    require_gpu()
    again = spacy.load(tmp_path / "gpu").from_bytes(on_cpu.to_bytes())
    assert devices(again) == {"cuda"}
    check_equal(found_by(again, case), wanted, atol)
