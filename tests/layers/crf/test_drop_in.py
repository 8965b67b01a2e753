"""LinearChainCRF in the place of pytorch-crf: same parameters, calls, results and errors."""

import pytest
import torch
import torchcrf

from spacy_clinical_ner.layers.crf import LinearChainCRF
from spacy_clinical_ner.layers.crf.tag_scheme import TagScheme


def pair(tags, batch_first):
    theirs = torchcrf.CRF(tags, batch_first)
    ours = LinearChainCRF(tags, batch_first)
    ours.load_state_dict(theirs.state_dict())
    return ours, theirs


def batch(sequences, length, tags, batch_first, generator):
    emissions = torch.randn(sequences, length, tags, generator=generator)
    gold = torch.randint(0, tags, (sequences, length), generator=generator)
    lengths = torch.randint(1, length + 1, (sequences,), generator=generator)
    lengths[0] = length
    mask = torch.arange(length) < lengths.unsqueeze(1)
    if batch_first:
        return emissions, gold, mask
    return tuple(x.transpose(0, 1) for x in (emissions, gold, mask))


@pytest.mark.parametrize("batch_first", [False, True])
@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize(("sequences", "length", "tags"), [(1, 1, 1), (5, 9, 3), (3, 40, 17), (16, 30, 60)])
def test_same_results(sequences, length, tags, masked, batch_first):
    generator = torch.Generator().manual_seed(sequences * length)
    ours, theirs = pair(tags, batch_first)
    emissions, gold, mask = batch(sequences, length, tags, batch_first, generator)
    mask = mask if masked else None
    for reduction in ("none", "sum", "mean", "token_mean"):
        gradients, values = [], []
        for crf in (ours, theirs):
            leaf = emissions.clone().requires_grad_()
            value = crf(leaf, gold, mask, reduction)
            weight = torch.linspace(-1, 2, value.numel()).view(value.shape)
            crf.zero_grad()
            (value * weight).sum().backward()
            values.append(value.detach())
            gradients.append(
                [leaf.grad, *(torch.zeros(p.shape) if p.grad is None else p.grad for p in crf.parameters())]
            )
        torch.testing.assert_close(*values, rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(*gradients, rtol=1e-4, atol=1e-5)
    assert ours.decode(emissions, mask) == theirs.decode(emissions, mask)


@pytest.mark.parametrize("padding", [-100, -1, 99])
def test_tags_at_padding_may_be_anything(padding):
    crf = LinearChainCRF(4, batch_first=True)
    emissions, gold, mask = batch(3, 6, 4, True, torch.Generator().manual_seed(0))
    leaf = emissions.clone().requires_grad_()
    value = crf(leaf, gold.masked_fill(~mask, padding), mask)
    value.backward()
    torch.testing.assert_close(value, crf(emissions, gold, mask))
    assert not leaf.grad[~mask].any()


def test_same_with_a_byte_mask():
    ours, theirs = pair(4, True)
    emissions, gold, mask = batch(3, 6, 4, True, torch.Generator().manual_seed(0))
    torch.testing.assert_close(ours(emissions, gold, mask.byte()), theirs(emissions, gold, mask))


@pytest.mark.parametrize("length", [1, 2, 7])
def test_ties_go_the_same_way(length):
    generator = torch.Generator().manual_seed(length)
    ours, theirs = pair(4, True)
    for crf in (ours, theirs):
        for parameter in crf.parameters():
            torch.nn.init.zeros_(parameter)
    emissions = torch.randint(0, 2, (50, length, 4), generator=generator).float()
    assert ours.decode(emissions) == theirs.decode(emissions)


def test_state_dict_goes_both_ways():
    theirs = torchcrf.CRF(3)
    constrained = LinearChainCRF(3, constraints=TagScheme("BIO").constraints(1))
    assert constrained.state_dict().keys() == theirs.state_dict().keys()
    constrained.load_state_dict(theirs.state_dict())
    theirs.load_state_dict(constrained.state_dict())
    assert isinstance(constrained, torchcrf.CRF)
    assert repr(LinearChainCRF(3)) == "LinearChainCRF(num_tags=3)"


@pytest.mark.parametrize(
    ("shape", "tags_shape", "mask_shape"),
    [
        ((2, 3), (2, 3), None),
        ((2, 3, 5), (2, 3), None),
        ((2, 3, 4), (2, 2), None),
        ((2, 3, 4), (2, 3), (3, 2)),
    ],
)
def test_same_errors(shape, tags_shape, mask_shape):
    mask = None if mask_shape is None else torch.ones(mask_shape, dtype=torch.bool)
    ours, theirs = pair(4, True)
    messages = []
    for crf in (ours, theirs):
        with pytest.raises(ValueError) as caught:
            crf(torch.zeros(shape), torch.zeros(tags_shape, dtype=torch.long), mask)
        messages.append(str(caught.value))
    assert messages[0] == messages[1]


def test_empty_sequences_are_refused_as_by_pytorch_crf():
    mask = torch.tensor([[True, True], [False, False]])
    for crf in pair(4, True):
        with pytest.raises(ValueError, match="mask of the first timestep must all be on"):
            crf.decode(torch.zeros(2, 2, 4), mask)


def test_bad_arguments():
    with pytest.raises(ValueError, match="invalid number of tags: 0"):
        LinearChainCRF(0)
    crf = LinearChainCRF(3, batch_first=True)
    emissions, tags = torch.zeros(1, 3, 3), torch.zeros(1, 3, dtype=torch.long)
    with pytest.raises(ValueError, match="invalid reduction: median"):
        crf(emissions, tags, reduction="median")
    with pytest.raises(ValueError, match="first positions"):
        crf(emissions, tags, torch.tensor([[True, False, True]]))
    with pytest.raises(ValueError, match="at least one position"):
        crf.decode(torch.zeros(2, 0, 3))
    with pytest.raises(ValueError, match="n must be at least 1"):
        crf.decode_nbest(emissions, n=0)
    with pytest.raises(ValueError, match="tag scheme"):
        crf.span_log_probability(emissions, None, torch.tensor([[0, 0, 1, 0]]))
    with pytest.raises(ValueError, match=r"constraints\.start must have shape \(4,\)"):
        LinearChainCRF(4, constraints=TagScheme("BIO").constraints(1))


def test_no_sequences_at_all():
    crf = LinearChainCRF(3, batch_first=True, constraints=TagScheme("BIO").constraints(1))
    nothing = torch.zeros(0, 4, 3)
    assert crf.decode(nothing) == []
    assert crf.decode_nbest(nothing, n=2) == []
    assert crf.marginals(nothing).shape == (0, 4, 3)
    assert crf(nothing, torch.zeros(0, 4, dtype=torch.long)) == 0


def test_no_spans_and_spans_that_do_not_fit():
    crf = LinearChainCRF(3, batch_first=True, constraints=TagScheme("BIO").constraints(1))
    emissions, mask = torch.zeros(2, 4, 3), torch.tensor([[True] * 4, [True] * 2 + [False] * 2])
    assert crf.span_log_probability(emissions, mask, torch.zeros(0, 4, dtype=torch.long)).shape == (0,)
    for span in ([1, 1, 3, 0], [0, 2, 2, 0], [0, -1, 2, 0], [0, 0, 1, 1], [2, 0, 1, 0]):
        with pytest.raises(ValueError, match="does not fit"):
            crf.span_log_probability(emissions, mask, torch.tensor([span]))
    with pytest.raises(ValueError, match="temperature"):
        crf.span_log_probability(emissions, mask, torch.tensor([[0, 0, 1, 0]]), temperature=0.0)


@pytest.mark.parametrize("batch_first", [False, True])
def test_every_result_has_the_layout_of_the_emissions(batch_first):
    scheme = TagScheme("BIO")
    crf = LinearChainCRF(5, batch_first, constraints=scheme.constraints(2))
    other = LinearChainCRF(5, not batch_first, constraints=scheme.constraints(2))
    other.load_state_dict(crf.state_dict())
    emissions, _, mask = batch(4, 7, 5, batch_first, torch.Generator().manual_seed(8))
    turned = emissions.transpose(0, 1), mask.transpose(0, 1)
    torch.testing.assert_close(crf.marginals(emissions, mask), other.marginals(*turned).transpose(0, 1))
    assert crf.decode_tensor(emissions, mask)[0].equal(other.decode_tensor(*turned)[0].t())
    assert crf.decode_nbest(emissions, mask, 3) == other.decode_nbest(*turned, 3)
    spans = torch.tensor([[0, 1, 3, 1], [2, 0, 1, 0]])
    same = crf.span_log_probability(emissions, mask, spans), other.span_log_probability(*turned, spans)
    torch.testing.assert_close(*same)
