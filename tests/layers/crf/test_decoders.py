"""Decoders: losses and probabilities against sums over numpy, and conlleval's reading of tags that break the scheme."""

from itertools import product

import numpy as np
import pytest
import torch

from spacy_clinical_ner.layers.crf.decoders import CrfDecoder, SoftmaxDecoder, make_decoder
from spacy_clinical_ner.layers.crf.tag_scheme import TagScheme
from tests.layers.crf.enumeration import enumerate_paths


def conlleval_spans(names):
    """Chunks (start, end, label) of tag names, by the rules of conlleval: what starts and what ends a chunk."""
    spans, start, before = [], None, ("O", None)
    for position, name in enumerate([*names, "O"]):
        prefix, _, label = name.partition("-")
        here = (prefix, label or None)
        differs = before[1] != here[1]
        ends = before[0] in "ES" or (before[0] in "BI" and prefix in "BSO") or (before[0] != "O" and differs)
        starts = prefix in "BS" or (prefix in "IE" and (before[0] in "ESO" or differs))
        if start is not None and ends:
            spans.append((start, position, before[1]))
            start = None
        if starts:
            start = position
        before = here
    return spans


@pytest.mark.parametrize("scheme, labels", [("BIO", "AB"), ("BIO", "A"), ("BIOES", "A"), ("BIOES", "AB")])
@pytest.mark.parametrize("length", [1, 2, 3, 4, 5])
def test_every_sequence_of_tags_is_read_as_conlleval_does(scheme, labels, length):
    tag_scheme = TagScheme(scheme)
    names = tag_scheme.tags(labels)
    paths = list(product(range(len(names)), repeat=length))
    found = [[] for _ in paths]
    for row, start, end, label in tag_scheme.spans(torch.tensor(paths)).tolist():
        found[row].append((start, end, labels[label]))
    assert found == [conlleval_spans([names[tag] for tag in path]) for path in paths]


def softmax(row):
    weights = np.exp(row - row.max())
    return weights / weights.sum()


@pytest.mark.parametrize("seed", range(10))
@pytest.mark.parametrize("scheme", ["BIO", "BIOES"])
def test_softmax_by_hand(scheme, seed):
    rng = np.random.default_rng(seed)
    tag_scheme = TagScheme(scheme)
    decoder = make_decoder("softmax", tag_scheme, 2)
    assert isinstance(decoder, SoftmaxDecoder) and decoder.crf is None
    lengths = [5, 1, 3]
    scores = rng.normal(size=(3, 5, decoder.num_tags)) * 3
    tags = rng.integers(decoder.num_tags, size=(3, 5))
    mask = torch.arange(5) < torch.tensor(lengths).unsqueeze(1)
    tensor = torch.tensor(scores)
    temperature = float(rng.uniform(0.3, 3))
    loss = -sum(np.log(softmax(scores[i, t])[tags[i, t]]) for i, n in enumerate(lengths) for t in range(n))
    assert float(decoder.loss(tensor, torch.tensor(tags), mask)) == pytest.approx(loss, rel=1e-5)
    paths = decoder.best(tensor, mask)
    assert paths.tolist() == [
        [int(scores[i, t].argmax()) if t < n else -1 for t in range(5)] for i, n in enumerate(lengths)
    ]
    spans = tag_scheme.spans(paths, mask)
    assert len(spans)
    found = decoder.span_log_probability(tensor, mask, paths, spans, temperature).exp()
    for (row, start, end, _), value in zip(spans.tolist(), found.tolist()):
        wanted = np.prod([softmax(scores[row, t] / temperature).max() for t in range(start, end)])
        assert value == pytest.approx(wanted, rel=1e-6)
        assert 0 < value <= 1


def test_crf_is_the_chain_it_wraps():
    torch.manual_seed(0)
    scheme = TagScheme("BIO")
    decoder = make_decoder("crf", scheme, 1)
    assert isinstance(decoder, CrfDecoder) and decoder.num_tags == 3
    scores, mask = torch.randn(1, 4, 3), torch.ones(1, 4, dtype=torch.bool)
    paths = enumerate_paths(decoder.crf, scores[0], scheme.constraints(1))
    best = max(range(len(paths.tags)), key=lambda i: paths.probabilities[i])
    assert decoder.best(scores, mask).tolist() == [list(paths.tags[best])]
    gold = torch.tensor([paths.tags[best]])
    assert decoder.loss(scores, gold, mask).item() == pytest.approx(-np.log(paths.probabilities[best]), rel=1e-5)
    for span in ([0, 0, 1, 0], [0, 1, 3, 0], [0, 2, 4, 0]):
        wanted = sum(p for tags, p in zip(paths.tags, paths.probabilities) if tuple(span[1:]) in scheme.decode(tags))
        found = decoder.span_log_probability(scores, mask, gold, torch.tensor([span])).exp()
        assert float(found) == pytest.approx(wanted, rel=1e-5)


def test_unknown_decoder():
    with pytest.raises(ValueError, match="crf, softmax"):
        make_decoder("viterbi", TagScheme("BIO"), 1)


@pytest.mark.parametrize("name", ["crf", "softmax"])
def test_temperature_must_be_above_zero(name):
    decoder = make_decoder(name, TagScheme("BIO"), 1)
    scores, mask = torch.zeros(1, 2, 3), torch.ones(1, 2, dtype=torch.bool)
    with pytest.raises(ValueError, match="temperature"):
        decoder.span_log_probability(scores, mask, torch.zeros(1, 2).long(), torch.tensor([[0, 0, 1, 0]]), 0.0)
