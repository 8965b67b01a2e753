"""The likelihood of a partial tagging equals enumeration: 50 * 10 = 500 random sequences of 1 to 5 tokens."""

import pytest
import torch

from spacy_clinical_ner.layers.crf import LinearChainCRF
from spacy_clinical_ner.layers.crf.decoders import make_decoder
from spacy_clinical_ner.layers.crf.messages import LogMessages, ScaledMessages, compute_messages
from spacy_clinical_ner.layers.crf.tag_scheme import UNKNOWN, TagScheme
from tests.layers.crf.enumeration import enumerate_paths
from tests.layers.crf.test_enumeration import Case

LENGTHS = [5, 1, 4, 2, 3, 1, 5, 3, 2, 4]


def some_allowed(case: Case, tags: int) -> torch.Tensor:
    """Around a legal path: its tag alone, any tag, or a random choice; anything at padding."""
    allowed = torch.rand(*case.mask.shape, tags, generator=case.generator) < 0.5
    kind = torch.rand(case.mask.shape, generator=case.generator)
    allowed[kind < 0.4] = False
    allowed[kind > 0.7] = True
    for i, (row, choice) in enumerate(zip(case.rows, case.gold())):
        allowed[i, range(len(row.tags[choice])), row.tags[choice]] = True
    return allowed


def assert_likelihood_and_gradient(case: Case, allowed: torch.Tensor) -> None:
    wanted = []
    for i, row in enumerate(case.rows):
        kept = [k for k, path in enumerate(row.tags) if all(allowed[i, t, tag] for t, tag in enumerate(path))]
        wanted.append(row.scores[kept].logsumexp(0) - row.scores.logsumexp(0))
    wanted = torch.stack(wanted)
    weight = torch.rand(len(wanted), generator=case.generator)
    found = case.crf.partial_log_likelihood(case.emissions, allowed, case.mask)
    torch.testing.assert_close(found.double(), wanted, rtol=1e-5, atol=1e-5)
    leaves = [case.emissions, *case.crf.parameters()]
    analytic = torch.autograd.grad(found @ weight, leaves)
    reference = torch.autograd.grad(wanted @ weight.double(), leaves, allow_unused=True)
    for a, b in zip(analytic, reference):
        torch.testing.assert_close(a, torch.zeros_like(a) if b is None else b, rtol=1e-4, atol=1e-5)
    with torch.no_grad():
        again = case.crf.partial_log_likelihood(case.emissions, allowed, case.mask)
    torch.testing.assert_close(again, found.detach())


@pytest.mark.parametrize("seed", range(50))
def test_partial_likelihood_and_gradient_equal_enumeration(seed: int) -> None:
    tags = 2 + seed % 2
    constraints = TagScheme("BIO").constraints(1) if seed % 4 == 3 else None
    case = Case(LENGTHS, tags, seed, constraints)
    assert_likelihood_and_gradient(case, some_allowed(case, tags))


def test_time_first_and_long_sequences() -> None:
    # Long enough for blocks in the recursions; a known tag every 100 tokens.
    torch.manual_seed(1)
    constraints = TagScheme("BIOES").constraints(1)
    crf = LinearChainCRF(5, constraints=constraints)
    emissions = (torch.randn(1200, 2, 5) * 3).requires_grad_()
    mask = torch.arange(1200).unsqueeze(1) < torch.tensor([1200, 700])
    allowed = torch.ones(1200, 2, 5, dtype=torch.bool)
    allowed[::100, :, 1:] = False
    value = crf.partial_log_likelihood(emissions, allowed, mask)
    gradient = torch.autograd.grad(value.sum(), emissions)[0]
    # The gradient of a log-probability is the difference of two marginals: that of what is known is 1.
    known = allowed.sum(2) == 1
    marginals = crf.marginals(emissions, mask)
    here = known & mask
    torch.testing.assert_close(gradient[here][:, 0], 1 - marginals[here][:, 0], rtol=1e-3, atol=1e-5)
    assert not gradient[~mask].any()
    exact = crf.double().partial_log_likelihood(emissions.double(), allowed, mask)
    torch.testing.assert_close(value.double(), exact, rtol=1e-5, atol=1e-4)


@torch.no_grad()
@pytest.mark.parametrize("seed", range(20))
def test_forbidden_tags_take_no_logarithms_unless_scores_are_far_apart(seed: int) -> None:
    case = Case(LENGTHS, 3, seed, TagScheme("BIO").constraints(1) if seed % 2 else None)
    allowed = some_allowed(case, case.emissions.shape[2])
    for spread, kind in ((1.0, ScaledMessages), (1e4, LogMessages)):
        emissions = (spread * case.emissions.detach().double()).masked_fill(~allowed, -torch.inf)
        scores = case.crf.scores(emissions, case.mask)
        found, exact = compute_messages(scores, forbidden=True), LogMessages.compute(scores)
        assert type(found) is kind
        weight = torch.rand(len(LENGTHS), dtype=torch.float64)
        torch.testing.assert_close(found.log_partition, exact.log_partition)
        for a, b in zip(found.expectations(scores, weight), exact.expectations(scores, weight)):
            torch.testing.assert_close(a, b)


def test_all_allowed_says_nothing_and_one_allowed_is_the_full_likelihood() -> None:
    case = Case([4, 2], 3, 2, None)
    everything = torch.ones(2, 4, 3, dtype=torch.bool)
    nothing = case.crf.partial_log_likelihood(case.emissions, everything, case.mask)
    torch.testing.assert_close(nothing, torch.zeros(2), atol=1e-5, rtol=0)
    tags = torch.tensor([[0, 1, 2, 1], [2, 0, 0, 0]])
    one = case.crf.partial_log_likelihood(case.emissions, torch.nn.functional.one_hot(tags, 3).bool(), case.mask)
    torch.testing.assert_close(one, case.crf(case.emissions, tags, case.mask, reduction="none"))


def test_what_cannot_be_is_an_error() -> None:
    crf = LinearChainCRF(5, batch_first=True, constraints=TagScheme("BIOES").constraints(1))
    emissions = torch.zeros(1, 2, 5)
    with pytest.raises(ValueError, match="shape of emissions"):
        crf.partial_log_likelihood(emissions, torch.ones(1, 2, 4, dtype=torch.bool))
    allowed = torch.ones(1, 2, 5, dtype=torch.bool)
    allowed[0, 1] = False
    with pytest.raises(ValueError, match="no tag is allowed"):
        crf.partial_log_likelihood(emissions, allowed)
    for first in ([2], [2, 3]):  # an I or an E that nothing goes before, alone or among open tags
        allowed = torch.ones(1, 2, 5, dtype=torch.bool)
        allowed[0, 0] = False
        allowed[0, 0, first] = True
        with pytest.raises(ValueError, match="possible"):
            crf.partial_log_likelihood(emissions, allowed)


@pytest.mark.parametrize("scheme", ["BIO", "BIOES"])
def test_loss_of_unknown_tags_sums_over_legal_taggings_that_keep_the_known_mentions(scheme: str) -> None:
    tag_scheme = TagScheme(scheme)
    torch.manual_seed(0)
    decoder = make_decoder("crf", tag_scheme, 2)
    assert decoder.crf is not None
    torch.nn.init.normal_(decoder.crf.transitions, std=2)
    scores = torch.randn(1, 4, decoder.num_tags)
    tags = torch.from_numpy(tag_scheme.encode([(1, 2, 0)], 4)).unsqueeze(0)
    tags[0, 2:] = UNKNOWN
    paths = enumerate_paths(decoder.crf, scores[0], tag_scheme.constraints(2))
    # Right is every tagging with no mention at token 0 and this very mention at token 1.
    spans = [tag_scheme.decode(path) for path in paths.tags]
    right = [(1, 2, 0) in found and all(start > 0 for start, _, _ in found) for found in spans]
    wanted = -torch.tensor(paths.probabilities)[torch.tensor(right)].sum().log()
    assert 1 < sum(right) < len(right)
    mask = torch.ones(1, 4, dtype=torch.bool)
    assert decoder.loss(scores, tags, mask).item() == pytest.approx(wanted.item(), rel=1e-5)


def test_softmax_leaves_unknown_tags_out() -> None:
    decoder = make_decoder("softmax", TagScheme("BIO"), 1)
    scores = torch.randn(2, 3, 3, requires_grad=True)
    mask = torch.tensor([[True, True, True], [True, False, False]])
    tags = torch.tensor([[0, UNKNOWN, 1], [UNKNOWN, 0, 0]])
    loss = decoder.loss(scores, tags, mask)
    wanted = -(scores[0, 0].log_softmax(0)[0] + scores[0, 2].log_softmax(0)[1])
    assert loss.item() == pytest.approx(wanted.item(), rel=1e-5)
    (gradient,) = torch.autograd.grad(loss, scores)
    assert not gradient[0, 1].any() and not gradient[1].any() and gradient[0, 0].any()
