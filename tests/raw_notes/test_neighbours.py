from __future__ import annotations

import pytest
import torch
from transformers import BertConfig, BertForMaskedLM

from spacy_clinical_ner.raw_notes.neighbours import OFFSETS, attend_to_neighbours, shift, waves
from spacy_clinical_ner.raw_notes.network import new_model
from spacy_clinical_ner.raw_notes.pretrain import pretrain
from spacy_clinical_ner.raw_notes.settings import SIZES, PretrainingSettings, Size
from tests.raw_notes.corpora import write_notes


@pytest.mark.parametrize("width", [4, 10, 64])
@pytest.mark.parametrize("offset", [-3, -1, 0, 1, 2, 40])
def test_shift_turns_a_position_into_another(width, offset):
    table = waves(100, width)
    turned = table @ shift(offset, width).T
    start, end = max(0, -offset), min(100, 100 - offset)
    torch.testing.assert_close(turned[start:end], table[start + offset : end + offset], rtol=0, atol=1e-4)


@pytest.mark.parametrize(("width", "heads", "length"), [(256, 4, 128), (512, 8, 256), (768, 12, 512), (64, 4, 128)])
def test_heads_look_at_their_neighbours_whatever_stands_there(width, heads, length):
    torch.manual_seed(0)
    model = new_model(Size(3, width, heads, 32, 50, length, 1, 0.0, 0.0), 50, length, 0).eval()
    ids = torch.randint(1, 50, (2, length))
    before = model.bert(ids, output_attentions=True).attentions
    assert attend_to_neighbours(model) == width // heads
    after = model.bert(ids, output_attentions=True).attentions
    for layer, offsets in enumerate(OFFSETS):
        for head, offset in enumerate(offsets):
            shares = [
                weights[layer][:, head].diagonal(offset, dim1=1, dim2=2).mean().item() for weights in (before, after)
            ]
            assert shares[0] < 0.05
            assert shares[1] > (0.7 if layer == 0 else 0.3), (layer, head)


def test_other_heads_and_layers_keep_their_random_weights():
    torch.manual_seed(0)
    model = new_model(Size(3, 48, 6, 32, 50, 16, 1, 0.0, 0.0), 50, 16, 0)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    assert attend_to_neighbours(model) == 8
    changed = {name for name, value in model.state_dict().items() if not torch.equal(value, before[name])}
    assert {name.split(".attention")[0] for name in changed if "encoder" in name} == {
        "bert.encoder.layer.0",
        "bert.encoder.layer.1",
    }
    query = "bert.encoder.layer.0.attention.self.query.weight"
    assert torch.equal(model.state_dict()[query][32:], before[query][32:])  # the fifth head and the sixth


@pytest.mark.parametrize("heads", [1, 16])
def test_nothing_is_changed_without_room_for_words_or_waves(heads):
    config = BertConfig(vocab_size=9, hidden_size=16, num_hidden_layers=1, num_attention_heads=heads)
    model = BertForMaskedLM(config)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    assert attend_to_neighbours(model) == 0
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_what_stands_beside_a_mask_is_learnt_much_sooner(tmp_path, monkeypatch):
    # Each word is known from the one before it, and from nothing else.
    words = [f"{first}{second}" for first in "bcdfgl" for second in "aeiou"]
    step = {word: words[(7 * number + 3) % len(words)] for number, word in enumerate(words)}
    notes = []
    for number in range(60):
        note = [words[number % len(words)]]
        while len(note) < 50:
            note.append(step[note[-1]] if len(note) % 10 else words[(number * 13 + len(note)) % len(words)])
        notes.append(" ".join(note))
    write_notes(tmp_path / "notes", notes)
    monkeypatch.setitem(SIZES, "tiny", Size(2, 64, 4, 64, 100, 32, 8, 3e-3, 0.0))
    last = {}
    for random_start in (True, False):
        settings = PretrainingSettings(max_steps=60, evaluations=1, held_out=0.1, random_start=random_start)
        output = tmp_path / f"encoder-{random_start}"
        last[random_start] = pretrain([tmp_path / "notes"], output, settings, plots=False).perplexity
    assert last[False] < 0.5 * last[True]
