"""A pool of taggers is one CRF: its distribution is the product of those of its members."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import spacy
import torch
from spacy.language import Language

from spacy_clinical_ner.errors import ClinicalNerError
from spacy_clinical_ner.layers.crf import LinearChainCRF
from spacy_clinical_ner.layers.crf.tag_scheme import TagScheme
from spacy_clinical_ner.tagging.pool import decoder, pooled_crf
from spacy_clinical_ner.tagging.pooled_pipelines import pool_pipelines
from spacy_clinical_ner.tagging.tagger_architectures import network
from spacy_clinical_ner.tagging.tagger_component import CrfEntityRecognizer
from tests.cli.commands import run_command
from tests.layers.crf.enumeration import enumerate_paths
from tests.tagging.pipelines import (
    crf_pipeline,
    ents,
    label_attention_config,
    make_docs,
    make_examples,
    model_config,
    pool_config,
    softmax_config,
    train,
)
from tests.tagging.test_listeners import listening_pipeline


def random_crf(tags: int, generator: torch.Generator, constraints: Any = None) -> LinearChainCRF:
    crf = LinearChainCRF(tags, batch_first=True, constraints=constraints).double()
    with torch.no_grad():
        for parameter in crf.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator, dtype=torch.float64))
    return crf


@pytest.mark.parametrize("constrained", [False, True])
@pytest.mark.parametrize("length", [1, 2, 3, 4, 5])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_the_pool_is_the_normalised_product_of_its_members(length: int, constrained: bool, seed: int) -> None:
    generator = torch.Generator().manual_seed(100 * length + seed)
    scheme = TagScheme("BIOES")
    constraints = scheme.constraints(1) if constrained else None
    tags = scheme.num_tags(1) if constrained else 3
    weights = torch.rand(3, generator=generator, dtype=torch.float64)
    weights = (weights / weights.sum()).tolist()
    crfs = [random_crf(tags, generator, constraints) for _ in weights]
    emissions = [torch.randn((length, tags), generator=generator, dtype=torch.float64) for _ in weights]
    members = [enumerate_paths(crf, each, constraints) for crf, each in zip(crfs, emissions)]
    product = sum(w * member.scores.log_softmax(0) for w, member in zip(weights, members))
    expected = product - product.logsumexp(0)

    pooled = pooled_crf(crfs, weights)
    scores = torch.stack([w * each for w, each in zip(weights, emissions)]).sum(0)
    found = enumerate_paths(pooled, scores, constraints).scores.log_softmax(0)
    torch.testing.assert_close(found, expected.detach(), check_dtype=False)
    for crf in crfs:
        assert all(parameter.grad is None for parameter in crf.parameters())


def test_each_member_learns_its_share_of_the_transitions() -> None:
    generator = torch.Generator().manual_seed(3)
    crfs, weights = [random_crf(3, generator) for _ in range(2)], [0.25, 0.75]
    emissions = torch.randn((2, 4, 3), generator=generator, dtype=torch.float64)
    tags = torch.randint(3, (2, 4), generator=generator)
    pooled = pooled_crf(crfs, weights)
    for _ in range(2):  # gradients of two groups of notes add up
        pooled(emissions, tags).backward()
    for name, parameter in pooled.named_parameters():
        assert parameter.grad is not None and parameter.grad.abs().max() > 0
        for weight, crf in zip(weights, crfs):
            torch.testing.assert_close(crf.get_parameter(name).grad, weight * parameter.grad)


def test_a_weight_of_zero_is_no_member() -> None:
    nlp = crf_pipeline(model=pool_config(weights=[2.0, 0.0]))
    train(nlp, make_examples(nlp, make_docs(nlp)), steps=30)
    model = nlp.get_pipe("crf_ner").model  # type: ignore[attr-defined]
    docs = make_docs(nlp, 3, seed=4)
    for one, other in zip(model.predict(docs), model.layers[0].predict(docs)):
        np.testing.assert_array_equal(one, other)
    pooled, alone = (decoder(each).crf for each in (model, model.layers[0]))
    assert pooled is not None and alone is not None
    for parameter, other in zip(pooled.parameters(), alone.parameters()):
        torch.testing.assert_close(parameter, other)


def test_what_cannot_be_a_pool() -> None:
    config = pool_config()
    for change, reason in (
        ({"*": {}}, "one member at least"),
        ({"weights": [1.0]}, "2 numbers"),
        ({"weights": [0.0, 0.0]}, "not all of them 0"),
        ({"*": {"a": model_config(), "b": model_config(scheme="BIO")}}, "not BIO and BIOES"),
    ):
        with pytest.raises(ValueError, match=reason):
            crf_pipeline(model={**config, **change})
    listener = {"@architectures": "spacy.Tok2VecListener.v1", "width": 32, "upstream": "*"}
    with pytest.raises(ValueError, match="one member of a pool may listen"):
        crf_pipeline(model={**config, "*": {name: model_config(tok2vec=listener) for name in "ab"}})
    mixed = crf_pipeline(model={**config, "*": {"a": model_config(), "b": softmax_config()}})
    with pytest.raises(ValueError, match="all decode with a CRF, or all without"):
        train(mixed, make_examples(mixed, make_docs(mixed)), steps=1)


def test_softmax_taggers_and_label_attention_make_pools() -> None:
    members = {"a": softmax_config(), "b": label_attention_config()}
    nlp = crf_pipeline(model={**pool_config(), "*": members})
    examples = make_examples(nlp, make_docs(nlp))
    train(nlp, examples, steps=60)
    assert nlp.evaluate(examples)["ents_f"] == 1.0


def test_a_pool_has_no_attention_to_store() -> None:
    nlp = crf_pipeline(factory="label_attention_ner", store_attention=True, model=pool_config())
    train(nlp, make_examples(nlp, make_docs(nlp)), steps=1)
    with pytest.raises(ValueError, match="attention can be stored only"):
        nlp("dolor")
    with pytest.raises(ValueError, match="no network of its own"):
        network(nlp.get_pipe("label_attention_ner").model)  # type: ignore[attr-defined]


def trained(seed: int = 0, **settings: Any) -> Language:
    nlp = crf_pipeline(seed, **settings)
    train(nlp, make_examples(nlp, make_docs(nlp, seed=seed)), steps=15)
    return nlp


def listening() -> Language:
    nlp = listening_pipeline()
    train(nlp, make_examples(nlp, make_docs(nlp)), steps=15)
    return nlp


def tagger(nlp: Language) -> CrfEntityRecognizer:
    pipe = nlp.get_pipe("crf_ner")
    assert isinstance(pipe, CrfEntityRecognizer)
    return pipe


@pytest.mark.parametrize("listener_first", [False, True])
def test_pipelines_trained_apart_become_one(tmp_path: Path, listener_first: bool) -> None:
    pipelines = [trained(1), listening(), trained(2, model=model_config(encoder=None))]
    if listener_first:
        pipelines[:2] = pipelines[1::-1]
    docs = [nlp.make_doc(doc.text) for nlp in pipelines[:1] for doc in make_docs(nlp, 6, seed=7)]
    weights = [1.0, 2.0, 1.0]
    emissions = []
    for nlp in pipelines:
        own = [nlp.make_doc(doc.text) for doc in docs]
        if "tok2vec" in nlp.pipe_names:
            own = list(nlp.get_pipe("tok2vec").pipe(iter(own)))  # type: ignore[attr-defined]
        emissions.append(tagger(nlp).model.predict(own))
    expected = [sum(w * array / 4 for w, array in zip(weights, arrays)) for arrays in zip(*emissions)]
    tagger(pipelines[0]).temperature = 3.0
    nlp = pool_pipelines(pipelines, weights=weights)
    assert nlp.pipe_names == ["crf_ner"]
    assert tagger(nlp).temperature == 1.0
    nlp.to_disk(tmp_path)
    for loaded in (nlp, spacy.load(tmp_path)):
        for array, other in zip(tagger(loaded).model.predict(docs), expected):
            np.testing.assert_allclose(array, other, atol=1e-5)
        assert [ents(loaded(doc.text)) for doc in docs] == [
            [(*mention[:2], tagger(loaded).labels[mention[2]]) for mention in mentions]
            for mentions in tagger(loaded).decode([array.astype("float32") for array in expected])
        ]


def test_the_same_word_vectors_beside_other_strings() -> None:
    pipelines = [trained(seed) for seed in range(2)]
    for nlp, read in zip(pipelines, ("leído", "oído")):
        nlp.vocab.set_vector("dolor", np.ones(4, dtype="float32"))
        nlp.vocab.vectors.strings.add(read)
    assert pipelines[0].vocab.vectors.to_bytes() != pipelines[1].vocab.vectors.to_bytes()
    assert pool_pipelines(pipelines).vocab["dolor"].vector.tolist() == [1.0] * 4


def test_pipelines_that_do_not_match() -> None:
    first = trained()
    other_labels = crf_pipeline()
    docs = make_docs(other_labels)
    for doc in docs:
        doc.set_ents([span for span in doc.ents if span.label_ == "SITE"])
    train(other_labels, make_examples(other_labels, docs), steps=1)
    for other, reason in (
        (other_labels, "pipeline 2 has labels SITE, the first SITE, TUMOUR"),
        (trained(model=model_config(scheme="BIO")), "scheme BIO, the first BIOES"),
        (trained(model=softmax_config()), "decoder softmax, the first crf"),
        (spacy.blank("es"), "no component 'crf_ner'"),
    ):
        with pytest.raises(ClinicalNerError, match=reason):
            pool_pipelines([first, other])
    with pytest.raises(ClinicalNerError, match="two pipelines at least"):
        pool_pipelines([first])
    with pytest.raises(ClinicalNerError, match="3 weights for 2 pipelines"):
        pool_pipelines([first, trained(1)], weights=[1, 1, 1])
    with pytest.raises(ClinicalNerError, match="above 0"):
        pool_pipelines([first, trained(1)], weights=[0.0, 0.0])
    with_vectors = [trained(seed) for seed in range(2)]
    for seed, nlp in enumerate(with_vectors):
        nlp.vocab.set_vector("dolor", np.full(4, seed, dtype="float32"))
    with pytest.raises(ClinicalNerError, match="different word vectors"):
        pool_pipelines(with_vectors)


run = partial(run_command, "pool")


def test_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture) -> None:
    for seed in range(2):
        trained(seed).to_disk(tmp_path / str(seed))
    arguments = (tmp_path / "0", tmp_path / "1", tmp_path / "pool")
    assert run(monkeypatch, *arguments, "--weight", 3, "--weight", 1) == 0
    assert tagger(spacy.load(tmp_path / "pool")).model.attrs["weights"] == [0.75, 0.25]
    capsys.readouterr()
    assert run(monkeypatch, *arguments) == 2
    error = capsys.readouterr().err
    assert "--overwrite" in error and error.count("\n") == 1
    assert run(monkeypatch, tmp_path / "0", tmp_path / "other") == 2
    assert "two pipelines at least" in capsys.readouterr().err
