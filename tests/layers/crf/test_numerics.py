"""Long sequences, scores far apart, half precision, autograd's corners, and blocks against single steps."""

import math

import pytest
import torch
import torchcrf

from spacy_clinical_ner.layers.crf import LinearChainCRF
from spacy_clinical_ner.layers.crf import recursions as crf_recursions
from spacy_clinical_ner.layers.crf.likelihood import log_likelihood
from spacy_clinical_ner.layers.crf.messages import LogMessages, ScaledMessages, Scores, compute_messages
from spacy_clinical_ner.layers.crf.paths import best_paths
from spacy_clinical_ner.layers.crf.tag_scheme import TagScheme


def random_scores(length, sequences, tags, *, spread=1.0, seed=0, dtype=torch.float32, constraints=None):
    """Scores of ragged sequences, the first as long as the batch."""
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape):
        return torch.randn(shape, generator=generator, dtype=dtype)

    start, end, transitions = normal(tags), normal(tags), normal(tags, tags)
    if constraints is not None:
        start = start.masked_fill(~constraints.start, -torch.inf)
        end = end.masked_fill(~constraints.end, -torch.inf)
        transitions = transitions.masked_fill(~constraints.transition, -torch.inf)
    lengths = torch.randint(1, length + 1, (sequences,), generator=generator)
    lengths[0] = length
    mask = torch.arange(length).unsqueeze(1) < lengths
    return Scores(spread * normal(length, sequences, tags), start, end, transitions, mask, lengths)


def assert_same_messages(found, scores, rtol):
    """Partition function, expected counts and gathered messages against those in log space."""
    wanted = LogMessages.compute(scores)
    weight = torch.linspace(0.5, 2, len(scores.lengths), dtype=scores.emissions.dtype)
    torch.testing.assert_close(found.log_partition, wanted.log_partition, rtol=rtol, atol=rtol)
    for a, b in zip(found.expectations(scores, weight), wanted.expectations(scores, weight)):
        torch.testing.assert_close(a.double(), b, rtol=10 * rtol, atol=10 * rtol)
    t, sequence = (torch.tensor(x) for x in ([0, 0, scores.lengths[0] // 2, scores.lengths[0] - 1], [0, 1, 0, 0]))
    for name in ("log_prefix", "log_suffix"):
        a, b = (getattr(messages, name)(scores, t, sequence) for messages in (found, wanted))
        torch.testing.assert_close(a, b, rtol=rtol, atol=10 * rtol)


@pytest.mark.parametrize("scheme", [None, "BIO", "BIOES"])
@pytest.mark.parametrize("exponent", [-1, 0, 0.5, 1, 1.5, 2, 2.5, 3, 4])
def test_messages_prove_themselves(scheme, exponent):
    """Whatever the spread of the scores: scaled messages are right, or know that they are not."""
    constraints = TagScheme(scheme).constraints(2) if scheme else None
    tags = len(constraints.start) if constraints else 4
    for seed in range(4):
        scores = random_scores(30, 2, tags, spread=10**exponent, seed=seed, constraints=constraints)
        for dtype, rtol in ((torch.float32, 1e-5), (torch.float64, 1e-11)):
            found = ScaledMessages.compute(scores.to(dtype))
            if found is not None:
                assert_same_messages(found, scores.to(dtype), rtol)
        assert_same_messages(compute_messages(scores), scores, 1e-5)


def test_cheapest_messages_that_are_exact():
    kinds = []
    for spread in (1.0, 40.0, 1e4):
        found = compute_messages(random_scores(20, 2, 4, spread=spread))
        kinds.append((type(found), found[0].dtype))
    assert kinds == [
        (ScaledMessages, torch.float32),
        (ScaledMessages, torch.float64),
        (LogMessages, torch.float64),
    ]


def test_directions_that_hardly_meet():
    """Each direction keeps its numbers, but between rescalings both get so small that their product does not."""
    low = -5.5 * math.log(10)
    emissions = torch.tensor([0.0, low]).expand(21, 1, -1)
    transitions = torch.tensor([[low, low], [low, 0.0]])
    mask, lengths = torch.ones(21, 1, dtype=torch.bool), torch.tensor([21])
    scores = Scores(emissions, torch.zeros(2), torch.zeros(2), transitions, mask, lengths)
    assert ScaledMessages.compute(scores, directions=1) is not None
    assert ScaledMessages.compute(scores) is None
    found, wanted = (
        m.expectations(scores, torch.ones(1)) for m in (compute_messages(scores), LogMessages.compute(scores))
    )
    torch.testing.assert_close(found, wanted)


def test_best_path_of_a_long_note_is_not_rounded_away():
    """Transitions that all cost 10: without recentring, differences of 0.01 would drown after a thousand tokens."""
    generator = torch.Generator().manual_seed(0)
    scores = random_scores(5000, 1, 20)._replace(
        emissions=0.01 * torch.randn(5000, 1, 20, generator=generator),
        transitions=0.01 * torch.randn(20, 20, generator=generator) - 10,
    )
    exact = scores.to(torch.float64)
    lost = exact.path_score(best_paths(exact)) - exact.path_score(best_paths(scores))
    assert 0 <= float(lost) < 1e-3


def test_large_scores_against_pytorch_crf_in_float64():
    scores = random_scores(25, 3, 6, spread=1e4, seed=1)
    theirs = torchcrf.CRF(6).double()
    ours = LinearChainCRF(6)
    for crf in (ours, theirs):
        state = {"start_transitions": scores.start, "end_transitions": scores.end, "transitions": scores.transitions}
        crf.load_state_dict(state)
    gold = torch.randint(0, 6, scores.mask.shape, generator=torch.Generator().manual_seed(2))
    ours_leaf, theirs_leaf = (x.clone().requires_grad_() for x in (scores.emissions, scores.emissions.double()))
    a = ours(ours_leaf, gold, scores.mask, "none")
    b = theirs(theirs_leaf, gold, scores.mask, "none")
    torch.testing.assert_close(a.double(), b, rtol=1e-6, atol=1e-6)
    a.sum().backward()
    b.sum().backward()
    torch.testing.assert_close(ours_leaf.grad.double(), theirs_leaf.grad, rtol=1e-5, atol=1e-6)
    assert ours.decode(scores.emissions, scores.mask) == theirs.decode(scores.emissions.double(), scores.mask)


@pytest.mark.parametrize("tags", [3, 20])
def test_ten_thousand_tokens(tags):
    scores = random_scores(10_000, 2, tags, spread=3.0)
    crf = LinearChainCRF(tags)
    leaf = scores.emissions.clone().requires_grad_()
    gold = best_paths(scores).clamp(min=0)
    value = crf(leaf, gold, scores.mask, "none")
    value.sum().backward()
    exact = LinearChainCRF(tags).double()
    exact.load_state_dict({name: x.double() for name, x in crf.state_dict().items()})
    wanted = exact(scores.emissions.double(), gold, scores.mask, "none")
    torch.testing.assert_close(value.double(), wanted, rtol=1e-6, atol=1e-3)
    assert torch.isfinite(leaf.grad).all()
    # Gold minus expected: sums to nothing at each token, and the gradient is right in the middle of the note too.
    torch.testing.assert_close(leaf.grad.sum(2), torch.zeros(scores.mask.shape), atol=1e-5, rtol=0)
    marginals = exact.marginals(scores.emissions.double(), scores.mask)
    hot = torch.nn.functional.one_hot(gold, tags) * scores.mask.unsqueeze(2)
    torch.testing.assert_close(leaf.grad.double(), hot - marginals, rtol=0, atol=1e-5)


def test_hard_constraints_and_large_scores_together():
    """The emissions insist on a path that BIO forbids: the best legal one must come out, with finite numbers."""
    scheme = TagScheme("BIO")
    crf = LinearChainCRF(3, batch_first=True, constraints=scheme.constraints(1))
    emissions = torch.full((1, 6, 3), -1e4)
    emissions[..., 2] = 1e4  # I- everywhere, which cannot start
    leaf = emissions.clone().requires_grad_()
    gold = torch.tensor([[1, 2, 2, 2, 2, 2]])
    value = crf(leaf, gold)
    value.backward()
    assert crf.decode(emissions) == gold.tolist()
    assert -1e-3 < float(value.detach()) <= 0.0  # any other legal path pays 2e4 more
    assert torch.isfinite(leaf.grad).all()
    assert all(torch.isfinite(p.grad).all() for p in crf.parameters())
    assert float(crf.transitions.grad[0, 2]) == 0.0
    marginals = crf.marginals(emissions)
    assert (marginals[0, 0, 2], marginals[0, 1, 2]) == (0.0, 1.0)
    assert crf.span_log_probability(emissions, None, scheme.spans(gold)).exp().item() == pytest.approx(1.0, abs=1e-6)


def test_hard_constraints_written_into_the_parameters():
    crf = LinearChainCRF(3, batch_first=True)
    with torch.no_grad():
        crf.transitions[0, 2] = crf.start_transitions[2] = -torch.inf
    emissions = torch.randn(2, 8, 3, generator=torch.Generator().manual_seed(0), requires_grad=True)
    paths = crf.decode(emissions)
    assert all(path[0] != 2 and (0, 2) not in zip(path, path[1:]) for path in paths)
    crf(emissions, torch.tensor(paths)).backward()
    assert torch.isfinite(emissions.grad).all() and torch.isfinite(crf.transitions.grad).all()
    assert float(crf.transitions.grad[0, 2]) == 0.0


def test_impossible_gold_and_impossible_sequences():
    scheme = TagScheme("BIO")
    crf = LinearChainCRF(3, batch_first=True, constraints=scheme.constraints(1))
    emissions = torch.zeros(1, 2, 3)
    with pytest.raises(ValueError, match="break the constraints"):
        crf(emissions, torch.tensor([[0, 2]]))
    with pytest.raises(ValueError, match="no tagging is possible for sequence 0"):
        crf.marginals(emissions.masked_fill(torch.tensor([True, True, False]), -torch.inf))


def test_forbidden_emissions():
    """-inf among the emissions, as for tokens whose tag is partly known."""
    crf = LinearChainCRF(4, batch_first=True)
    emissions = torch.randn(1, 5, 4, generator=torch.Generator().manual_seed(3))
    emissions[0, 2, :3] = -torch.inf
    assert crf.decode(emissions)[0][2] == 3
    assert crf.marginals(emissions)[0, 2].tolist() == pytest.approx([0, 0, 0, 1])


def test_gradients_numerically():
    for constraints in (None, TagScheme("BIO").constraints(1)):
        scores = random_scores(4, 3, 3, dtype=torch.float64, constraints=constraints)
        gold = best_paths(scores).clamp(min=0)
        leaves = [x.clone().requires_grad_() for x in scores[:4]]
        if constraints is not None:  # a step away from -inf is -inf, and no difference can be taken
            leaves[1:] = [x.detach() for x in leaves[1:]]

        def function(*x, gold=gold, scores=scores):
            return log_likelihood(Scores(*x, scores.mask, scores.lengths), gold)

        assert torch.autograd.gradcheck(function, leaves)


def test_differentiating_twice_raises():
    crf = LinearChainCRF(3, batch_first=True)
    emissions = torch.randn(1, 4, 3, requires_grad=True)
    value = crf(emissions, torch.zeros(1, 4, dtype=torch.long))
    (gradient,) = torch.autograd.grad(value, emissions, create_graph=True)
    assert gradient.requires_grad  # or a penalty on it would be left out without a word
    with pytest.raises(RuntimeError, match="cannot be differentiated twice"):
        gradient.square().sum().backward()


def test_backward_again_on_a_kept_graph():
    crf = LinearChainCRF(3, batch_first=True)
    emissions = torch.randn(2, 4, 3, requires_grad=True)
    value = crf(emissions, torch.zeros(2, 4, dtype=torch.long))
    first, second = (torch.autograd.grad(value, emissions, retain_graph=True)[0] for _ in range(2))
    assert first.equal(second)


def test_only_what_needs_a_gradient_gets_one():
    crf = LinearChainCRF(3, batch_first=True)
    crf.end_transitions.requires_grad_(False)
    emissions = torch.randn(1, 4, 3)
    crf(emissions, torch.zeros(1, 4, dtype=torch.long)).backward()
    assert crf.end_transitions.grad is None and crf.transitions.grad is not None
    with torch.inference_mode():
        assert torch.isfinite(crf(emissions, torch.zeros(1, 4, dtype=torch.long)))
        assert len(crf.decode(emissions)[0]) == 4


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_computed_in_float32(dtype):
    crf = LinearChainCRF(5, batch_first=True, constraints=TagScheme("BIO").constraints(2))
    emissions = torch.randn(3, 12, 5, generator=torch.Generator().manual_seed(4)).to(dtype)
    gold = torch.tensor(crf.decode(emissions))
    leaf, wide = emissions.clone().requires_grad_(), emissions.float().requires_grad_()
    value, wanted = crf(leaf, gold), crf(wide, gold)
    assert value.dtype == torch.float32 and value.equal(wanted)
    value.backward()
    wanted.backward()
    assert leaf.grad.dtype == dtype and leaf.grad.equal(wide.grad.to(dtype))
    assert crf.marginals(emissions).dtype == torch.float32
    with torch.autocast("cpu", dtype=torch.bfloat16):
        inside = crf(wide, gold)
    torch.testing.assert_close(inside, wanted)


def test_nan_emissions_give_a_nan_loss():
    crf = LinearChainCRF(3, batch_first=True)
    emissions = torch.full((1, 4, 3), torch.nan)
    assert math.isnan(crf(emissions, torch.zeros(1, 4, dtype=torch.long)).detach())


class Network(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = torch.nn.Linear(6, 4)
        self.crf = LinearChainCRF(4, batch_first=True)

    def forward(self, x, tags, mask):
        return -self.crf(torch.relu(self.linear(x)), tags, mask)


@pytest.mark.skipif(torch.__version__.startswith("2.1."), reason="torch.compile of torch 2.1 breaks on the CRF")
def test_torch_compile_leaves_the_graph_for_the_crf():
    """Under torch.compile the CRF runs outside of the graph: same loss, same gradients."""
    torch.manual_seed(0)
    network = Network()
    x, tags = torch.randn(2, 5, 6), torch.randint(0, 4, (2, 5))
    mask = torch.tensor([[True] * 5, [True] * 3 + [False] * 2])
    losses, gradients = [], []
    for run in (network, torch.compile(network, backend="eager")):
        network.zero_grad()
        losses.append(run(x, tags, mask))
        losses[-1].backward()
        gradients.append([p.grad.clone() for p in network.parameters()])
    torch.testing.assert_close(*losses)
    torch.testing.assert_close(*gradients)
    assert torch.compile(network.crf.decode, backend="eager")(torch.ones(1, 3, 4)) == network.crf.decode(
        torch.ones(1, 3, 4)
    )


@pytest.mark.parametrize("size", [1, 7, 20, 59])
@pytest.mark.parametrize("scheme", [None, "BIO", "BIOES"])
def test_blocks_equal_single_steps(size, scheme):
    constraints = TagScheme(scheme).constraints(1) if scheme else None
    tags = len(constraints.start) if constraints else 4
    scores = random_scores(60, 3, tags, spread=2.0, seed=size, dtype=torch.float64, constraints=constraints)
    emissions, start, end, transitions, mask, lengths = scores
    matrix = torch.stack([transitions.exp(), transitions.exp().t()])
    entry = torch.stack([start.exp(), end.exp()]).unsqueeze(1).expand(-1, 3, -1).contiguous()
    weight = emissions.exp().expand(2, -1, -1, -1).contiguous()
    single, blocks = (crf_recursions.sum_product(entry, matrix, weight, n) for n in (60, size))
    for messages, scale in (single, blocks):
        messages.log_().add_(scale.unsqueeze(3))
    torch.testing.assert_close(blocks[0], single[0], rtol=1e-12, atol=1e-12)

    best = [crf_recursions.max_plus(start, transitions, emissions, n) for n in (60, size)]
    relative = [x - x.amax(2, keepdim=True) for x in best]
    torch.testing.assert_close(relative[1], relative[0], rtol=1e-12, atol=1e-12)
    paths = [crf_recursions.trace_back(best[0], end, transitions, lengths, n) for n in (60, size)]
    assert paths[0][mask].equal(paths[1][mask])


def test_blocks_that_lose_numbers_say_so():
    """Two tags that never meet: what weighs 1e-60 of the other is lost in float32, and would have won in the end."""
    weight = torch.ones(1, 12, 1, 2, dtype=torch.float64)
    weight[:, :4, :, 1] = weight[:, 4:, :, 0] = 1e-15
    matrix, entry = torch.eye(2, dtype=torch.float64).unsqueeze(0), torch.ones(1, 1, 2, dtype=torch.float64)
    assert crf_recursions.sum_product(entry.float(), matrix.float(), weight.float(), 4) is None
    found = crf_recursions.sum_product(entry, matrix, weight, 4)
    assert found is not None
    messages, scale = found
    log = (messages.log() + scale.unsqueeze(3))[0, -1, 0] / math.log(1e-15)
    assert log.tolist() == pytest.approx([7.0, 4.0])


def test_blocks_are_used_for_long_notes_and_change_nothing(monkeypatch):
    scheme = TagScheme("BIOES")
    crf = LinearChainCRF(5, batch_first=True, constraints=scheme.constraints(1))
    generator = torch.Generator().manual_seed(6)
    emissions = 2 * torch.randn(3, 700, 5, generator=generator)
    mask = torch.arange(700) < torch.tensor([[700], [513], [2]])
    assert crf_recursions.block_length(700, 3, 5) < 700
    results = []
    for _ in range(2):
        paths, scores = crf.decode_tensor(emissions, mask)
        spans = scheme.spans(paths, mask)
        log_probability = crf.span_log_probability(emissions, mask, spans)
        likelihood = crf(emissions, paths.clamp(min=0), mask, "none")
        results.append([paths, scores, spans, log_probability, likelihood, crf.marginals(emissions, mask)])
        monkeypatch.setattr(crf_recursions, "block_length", lambda length, rows, tags: length)
    torch.testing.assert_close(*results, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(("length", "sequences", "tags"), [(40, 3, 4), (30, 20, 25), (600, 2, 3)])
def test_torch_calls_equal_numpy_calls(monkeypatch, length, sequences, tags):
    """What a GPU runs, run on the CPU."""
    crf = LinearChainCRF(tags)
    scores = random_scores(length, sequences, tags)
    gold = best_paths(scores).clamp(min=0)
    results = []
    for _ in range(2):
        leaf = scores.emissions.clone().requires_grad_()
        crf.zero_grad()
        value = crf(leaf, gold, scores.mask)
        value.backward()
        results.append([value, leaf.grad, *(p.grad for p in crf.parameters()), crf.decode_tensor(leaf, scores.mask)[0]])
        monkeypatch.setattr(crf_recursions.Backend, "of", lambda x: crf_recursions.Backend(numpy=False))
    torch.testing.assert_close(*results, rtol=1e-5, atol=1e-5)
