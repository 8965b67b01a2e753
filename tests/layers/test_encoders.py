"""Encoders: independent of the batch, blind to padding, and equal to what torch or a sum in numpy says."""

import numpy as np
import pytest
import torch

from spacy_clinical_ner.layers.attention import MultiHeadAttention
from spacy_clinical_ner.layers.encoders import IDCNN, BiGRU, BiLSTM, LockedDropout, Stack

WIDTH = 10


def trained_idcnn(width):
    """Away from its start, where a convolution sees no neighbour."""
    encoder = IDCNN(width, filters=8)
    for parameter in encoder.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return encoder


BUILDERS = {
    "BiLSTM": lambda width: BiLSTM(width, hidden_width=6, depth=2),
    "BiGRU": lambda width: BiGRU(width, hidden_width=6, depth=2),
    "IDCNN": trained_idcnn,
    "attention": lambda width: MultiHeadAttention(width, heads=5),
    "odd heads": lambda width: MultiHeadAttention(width, heads=3, residual=False),
}
BUILDERS["stack"] = lambda width: Stack(width, [BUILDERS["IDCNN"], BUILDERS["odd heads"], BUILDERS["BiGRU"]])


@pytest.mark.parametrize("name", BUILDERS)
def test_result_does_not_depend_on_the_batch(name):
    torch.manual_seed(0)
    encoder = BUILDERS[name](WIDTH).eval()
    for lengths in ([1, 2, 3, 4, 5], [1], [5, 1], [1, 23, 2], [4, 17, 9, 17]):
        x = torch.randn(len(lengths), max(lengths), WIDTH)  # whatever the padding holds must not matter
        mask = torch.arange(max(lengths)) < torch.tensor(lengths).unsqueeze(1)
        together = encoder(x, mask)
        assert together.shape == (len(lengths), max(lengths), encoder.output_width)
        assert not together[~mask].any()
        for row, alone, length in zip(together, x, lengths):
            wanted = encoder(alone[None, :length], torch.ones(1, length, dtype=torch.bool))[0]
            torch.testing.assert_close(row[:length], wanted, atol=1e-5, rtol=1e-4)
            assert wanted.std() > 0


@pytest.mark.parametrize("name", BUILDERS)
def test_a_window_of_padding_alone_gives_zeros_and_no_nan(name):
    encoder = BUILDERS[name](WIDTH).eval()
    x = torch.randn(2, 4, WIDTH, requires_grad=True)
    mask = torch.tensor([[True, True, False, False], [False] * 4])
    y = encoder(x, mask)
    assert not y[1].any()
    y.square().sum().backward()
    assert x.grad.isfinite().all()
    assert all(p.grad.isfinite().all() for p in encoder.parameters())


@pytest.mark.parametrize("ours, theirs", [(BiGRU, torch.nn.GRU), (BiLSTM, torch.nn.LSTM)])
@pytest.mark.parametrize("depth", [1, 3])
def test_recurrent_encoders_are_those_of_torch(ours, theirs, depth):
    torch.manual_seed(1)
    encoder = ours(WIDTH, hidden_width=7, depth=depth).eval()
    reference = theirs(WIDTH, 7, num_layers=depth, bidirectional=True, batch_first=True)
    for layer in range(depth):
        for suffix, cell in (("", encoder.forwards[layer]), ("_reverse", encoder.backwards[layer])):
            for kind in ("weight_ih", "weight_hh", "bias_ih", "bias_hh"):
                getattr(reference, f"{kind}_l{layer}{suffix}").data.copy_(getattr(cell, f"{kind}_l0"))
    lengths = [1, 2, 3, 4, 5, 19]
    x = torch.randn(len(lengths), max(lengths), WIDTH)
    mask = torch.arange(max(lengths)) < torch.tensor(lengths).unsqueeze(1)
    found = encoder(x, mask)
    for row, sequence, length in zip(found, x, lengths):
        torch.testing.assert_close(row[:length], reference(sequence[None, :length])[0][0], atol=1e-6, rtol=1e-5)


def numpy_attention(module, x, mask):
    """One window, one head and one query at a time: x (length, width), mask (length,)."""

    def linear(f, row):
        return f.weight.detach().numpy().astype("float64") @ row + f.bias.detach().numpy()

    inner = module.query.out_features
    size = inner // module.heads
    result = np.zeros((len(x), module.output_width))
    for i in np.flatnonzero(mask):
        parts = []
        for head in range(module.heads):
            columns = slice(head * size, (head + 1) * size)
            query = linear(module.query, x[i])[columns]
            keys = [linear(module.key, x[j])[columns] for j in np.flatnonzero(mask)]
            values = [linear(module.value, x[j])[columns] for j in np.flatnonzero(mask)]
            scores = np.array([query @ key / np.sqrt(size) for key in keys])
            weights = np.exp(scores - scores.max())
            parts.append(sum(w * v for w, v in zip(weights / weights.sum(), values)))
        result[i] = linear(module.output, np.concatenate(parts)) + (x[i] if module.residual else 0)
    return result


@pytest.mark.parametrize("seed", range(30))
def test_attention_is_that_of_numpy(seed):
    rng = np.random.default_rng(seed)
    torch.manual_seed(seed)
    width, heads, length = (int(n) for n in rng.integers(1, [13, 9, 8]))
    module = MultiHeadAttention(width, heads=heads, residual=bool(seed % 2)).eval()
    for linear in (module.query, module.key, module.value, module.output):
        linear.bias.data.normal_()
    x = rng.normal(size=(3, length, width)) * 3
    # any mask, not only those of padding, and one with nothing in it
    mask = rng.random((3, length)) < 0.6
    mask[2] = False
    found = module(torch.tensor(x, dtype=torch.float32), torch.tensor(mask)).detach().numpy()
    for row, sequence, kept in zip(found, x, mask):
        np.testing.assert_allclose(row, numpy_attention(module, sequence, kept), atol=1e-4, rtol=1e-4)


def test_attention_keeps_the_width_whatever_the_heads():
    for heads in range(1, 17):
        module = MultiHeadAttention(WIDTH, heads=heads)
        assert module.output_width == WIDTH
        assert module.query.out_features % heads == 0
        assert 0 <= module.query.out_features - WIDTH < heads


def test_sizes_that_make_no_sense():
    with pytest.raises(ValueError, match="head"):
        MultiHeadAttention(4, heads=0)
    with pytest.raises(ValueError, match="at least one encoder"):
        Stack(4, [])


def test_stack_is_one_after_the_other():
    torch.manual_seed(0)
    stack = BUILDERS["stack"](WIDTH).eval()
    x, mask = torch.randn(2, 6, WIDTH), torch.ones(2, 6, dtype=torch.bool)
    first, second, third = stack.encoders
    assert (type(first), type(second), type(third)) == (IDCNN, MultiHeadAttention, BiGRU)
    assert third(second(first(x, mask), mask), mask).equal(stack(x, mask))


@pytest.mark.parametrize("share", [True, False])
def test_idcnn_starts_as_the_identity(share):
    encoder = IDCNN(WIDTH, filters=8, share=share).eval()
    x, mask = torch.randn(2, 7, WIDTH), torch.ones(2, 7, dtype=torch.bool)
    torch.testing.assert_close(encoder(x, mask), torch.relu(encoder.project(x)))


def test_locked_dropout_strikes_the_same_features_at_every_position():
    torch.manual_seed(0)
    dropout = LockedDropout(0.4)
    x = torch.ones(300, 6, WIDTH)
    y = dropout(x)
    assert (y == y[:, :1]).all()
    assert (y[0] != y[1]).any()
    assert y.mean().item() == pytest.approx(1.0, abs=0.05)
    assert dropout.eval()(x) is x
