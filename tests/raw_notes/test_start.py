from __future__ import annotations

import random

import numpy
import pytest
import torch
from transformers import BertConfig, BertForMaskedLM

from spacy_clinical_ner.raw_notes.packing import EncodedNotes
from spacy_clinical_ner.raw_notes.pretrain import pretrain
from spacy_clinical_ner.raw_notes.settings import SIZES, PretrainingSettings
from spacy_clinical_ner.raw_notes.start import SMOOTHING, WINDOW, _association, informed_start, piece_vectors
from tests.raw_notes.corpora import TINIEST, make_notes, write_notes


def encoded(notes: list[list[int]]) -> EncodedNotes:
    ids = numpy.array([piece for note in notes for piece in note], dtype=numpy.int32)
    bounds = numpy.cumsum([0, *map(len, notes)])
    return EncodedNotes(ids, numpy.ones(len(ids), dtype=bool), bounds)


def random_notes(seed: int, vocabulary: int = 9) -> list[list[int]]:
    generator = random.Random(seed)
    return [[generator.randrange(vocabulary - 1) for _ in range(generator.randrange(12))] for _ in range(6)]


@pytest.mark.parametrize("seed", range(20))
def test_association_equals_counting_by_hand(seed):
    vocabulary = 9
    notes = random_notes(seed, vocabulary)
    together = numpy.zeros((vocabulary, vocabulary))
    for note in notes:
        for i, one in enumerate(note):
            for j, other in enumerate(note):
                if 0 < abs(i - j) <= WINDOW:
                    together[one, other] += 1 / abs(i - j)
    often = together.sum(1)
    context = often**SMOOTHING / (often**SMOOTHING).sum()
    with numpy.errstate(divide="ignore", invalid="ignore"):
        wanted = numpy.log(together / (often[:, None] * context[None, :]))
    wanted = numpy.nan_to_num(wanted, nan=0.0, neginf=0.0).clip(min=0)
    found = _association(encoded(notes), vocabulary).to_dense().numpy()
    numpy.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-6)


def test_pieces_in_the_same_places_get_like_vectors():
    # 0 and 1 stand in the same places, 2 and 3 in others; 8 never occurs.
    generator = random.Random(0)
    notes = [[generator.choice([0, 1]), 4, 5, generator.choice([0, 1])] for _ in range(40)]
    notes += [[generator.choice([2, 3]), 6, 7, generator.choice([2, 3])] for _ in range(40)]
    vectors = piece_vectors(encoded(notes), 9, 4, seed=0)
    likeness = torch.nn.functional.cosine_similarity(vectors[0], vectors[[1, 2, 3]], dim=1)
    assert likeness[0] > 0.7 > likeness[1:].max() + 0.3
    assert vectors[8].abs().max() == 0
    torch.testing.assert_close(vectors, piece_vectors(encoded(notes), 9, 4, seed=0))


def test_bias_and_vectors_of_the_model():
    torch.manual_seed(0)
    config = BertConfig(vocab_size=9, hidden_size=4, num_hidden_layers=1, num_attention_heads=1, intermediate_size=8)
    model = BertForMaskedLM(config)
    before = model.get_input_embeddings().weight.detach().clone()
    notes = random_notes(3)
    state = torch.random.get_rng_state()
    informed_start(model, encoded(notes), seed=0)
    assert torch.equal(state, torch.random.get_rng_state())
    counts = numpy.bincount([piece for note in notes for piece in note], minlength=9) + 1.0
    numpy.testing.assert_allclose(
        model.get_output_embeddings().bias.detach().numpy(), numpy.log(counts / counts.sum()), rtol=1e-5
    )
    after = model.get_output_embeddings().weight.detach()
    assert torch.equal(after[8], before[8]) and not torch.equal(after[:8], before[:8])
    assert float(after[:8].square().mean().sqrt()) == pytest.approx(config.initializer_range, rel=0.01)


def test_counting_lowers_the_first_perplexity(tmp_path, monkeypatch):
    monkeypatch.setitem(SIZES, "tiny", TINIEST)
    write_notes(tmp_path / "notes", make_notes(40))
    first = {}
    for at_random in (True, False):
        settings = PretrainingSettings(max_steps=1, evaluations=1, held_out=0.1, random_start=at_random)
        output = tmp_path / str(at_random)
        first[at_random] = pretrain([tmp_path / "notes"], output, settings, plots=False).first_perplexity
    assert first[False] < 0.7 * first[True]
