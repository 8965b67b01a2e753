"""The label attention network against its equations in numpy, token by token and head by head."""

import numpy as np
import pytest
import torch

from spacy_clinical_ner.layers.crf.decoders import make_decoder
from spacy_clinical_ner.layers.crf.tag_scheme import TagScheme
from spacy_clinical_ner.layers.label_attention import LabelAttentionNetwork
from spacy_clinical_ner.windows.batches import WindowBatch

INPUT = 7


def network(layers, heads=4, hidden_width=6, chains=1, decoder="softmax", labels=2):
    torch.manual_seed(0)
    decoding = make_decoder(decoder, TagScheme("BIOES"), labels)
    module = LabelAttentionNetwork(INPUT, chains, decoding, hidden_width, layers, heads, dropout=0.5).eval()
    for name, parameter in module.named_parameters():
        if name.endswith(".bias"):  # they start at zero
            parameter.data.normal_()
    return module


def whole(*lengths):
    """Batches in which every note is one window without context, each alone."""
    batches, start = [], 0
    for length in lengths:
        rows = torch.arange(start, start + length)[None]
        batches.append(WindowBatch(rows, rows >= 0, rows >= 0))
        start += length
    return batches


def gru_states(module, layer, x):
    mask = torch.ones(1, len(x), dtype=torch.bool)
    return module.encoders[layer](torch.tensor(x, dtype=torch.float32)[None], mask)[0].detach().numpy()


def linear(f, x):
    return x @ f.weight.detach().numpy().T + (0 if f.bias is None else f.bias.detach().numpy())


def softmax(scores):
    weights = np.exp(scores - scores.max())
    return weights / weights.sum()


def by_hand(module, x):
    """Emissions (length, tags), and weights (layers, heads, length, tags), of one note with one chain."""
    tags = module.tags.weight.detach().numpy()
    kept = []
    for layer, attention in enumerate(module.attentions):
        states = gru_states(module, layer, x)
        size = states.shape[1] // attention.heads
        rows, weights = [], np.zeros((attention.heads, len(x), len(tags)))
        for token, state in enumerate(states):
            parts = []
            for head in range(attention.heads):
                columns = slice(head * size, (head + 1) * size)
                query = linear(attention.query, state)[columns]
                scores = [linear(attention.key, tag)[columns] @ query / np.sqrt(size) for tag in tags]
                weights[head, token] = softmax(np.array(scores))
                values = [linear(attention.value, tag)[columns] for tag in tags]
                parts.append(sum(w * v for w, v in zip(weights[head, token], values)))
            rows.append(np.concatenate([state, *parts]))
        kept.append(weights)
        x = np.array(rows)
    states = gru_states(module, len(module.attentions), x)
    emissions = linear(module.query, states) @ linear(module.key, tags).T / np.sqrt(states.shape[1])
    emissions += module.bias.detach().numpy().ravel()
    kept.append(np.stack([np.array([softmax(row) for row in emissions])] * module.heads))
    return emissions, np.stack(kept)


@pytest.mark.parametrize("layers, heads", [(1, 4), (2, 1), (2, 4), (4, 3)])
def test_equations(layers, heads):
    module = network(layers, heads)
    rng = np.random.default_rng(layers)
    notes = [rng.normal(size=(length, INPUT)) for length in (1, 2, 5, 9)]
    vectors = torch.tensor(np.concatenate(notes), dtype=torch.float32)
    batches = whole(*map(len, notes))
    found = module(vectors, batches).detach().numpy()
    weights = module.attention(vectors, batches).detach().numpy()
    wanted = [by_hand(module, note) for note in notes]
    np.testing.assert_allclose(found, np.concatenate([emissions for emissions, _ in wanted]), atol=1e-4)
    for_tokens = np.concatenate([of_note for _, of_note in wanted], axis=2).transpose(2, 0, 1, 3)
    assert weights.shape == for_tokens.shape == (17, layers, heads, 9)
    np.testing.assert_allclose(weights, for_tokens, atol=1e-5)


@pytest.mark.parametrize("chains", [1, 3])
def test_mentions_are_rare_before_training(chains):
    module = network(layers=3, chains=chains, hidden_width=40)
    weights = module(torch.randn(50, INPUT), whole(50)).unflatten(-1, (chains, -1)).softmax(-1)
    assert weights.shape == (50, chains, 9)
    assert (weights[..., 0] > 0.8).all() and (weights[..., 1:] < 0.05).all()


def test_one_layer_is_a_gru_and_a_linear_map_to_tag_scores():
    module = network(layers=1, hidden_width=6)
    states = torch.randn(50, 12) * 10
    basis = torch.eye(12)
    with torch.no_grad():
        bias = module.emit(torch.zeros(1, 12))
        matrix = module.emit(basis) - bias
        found = module.emit(states)
        torch.testing.assert_close(found, states @ matrix + bias, atol=1e-4, rtol=1e-4)
        assert (found < 0).any(), "scores below zero must stay"
        assert torch.linalg.matrix_rank(matrix) == 9, "every tag has a direction of its own"
        vectors = torch.randn(8, INPUT)
        expected = module.encoders[0](vectors[None], torch.ones(1, 8, dtype=torch.bool))[0] @ matrix + bias
        torch.testing.assert_close(module(vectors, whole(8)), expected, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("chains", [1, 3])
def test_weights_sum_to_one_and_end_in_the_softmax_of_the_emissions(chains):
    module = network(layers=3, chains=chains, labels=1)
    vectors = torch.randn(6, INPUT)
    weights = module.attention(vectors, whole(6))
    assert weights.shape == (6, 3, 4, chains * 5)
    torch.testing.assert_close(weights[:, :-1].sum(-1), torch.ones(6, 2, 4))
    wanted = module(vectors, whole(6)).unflatten(-1, (chains, 5)).softmax(-1).flatten(-2)
    for head in range(4):
        torch.testing.assert_close(weights[:, -1, head], wanted)


@pytest.mark.parametrize("decoder", ["softmax", "crf"])
def test_everything_is_trained(decoder):
    module = network(layers=2, decoder=decoder).train()
    emissions = module(torch.randn(6, INPUT), whole(6)).unsqueeze(0)
    tags = torch.tensor([[0, 4, 1, 2, 3, 0]])
    module.decoder.loss(emissions, tags, torch.ones(1, 6, dtype=torch.bool)).backward()
    names = {name for name, parameter in module.named_parameters() if parameter.grad.abs().sum() > 0}
    assert names == {name for name, _ in module.named_parameters()}
    assert any(name.startswith("crf.") for name in names) == (decoder == "crf")
