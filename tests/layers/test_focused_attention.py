import pytest
import torch
from transformers import (
    BertModel,
    DistilBertConfig,
    DistilBertModel,
    ElectraConfig,
    ElectraModel,
    RobertaConfig,
    RobertaModel,
)

from spacy_clinical_ner.layers.focused_attention import MASKS, FocusedEncoder, PairBatch, task_mask
from tests.layers.whole_sequence import random_case, small_bert, whole_layers, whole_sequence


@pytest.fixture(scope="module")
def bert() -> BertModel:
    torch.manual_seed(0)
    return small_bert()


@pytest.mark.parametrize("form", MASKS)
@pytest.mark.parametrize("task_layers", [1, 2, 3, 4])
def test_packed_is_the_whole_sequence(bert, form, task_layers):
    encoder = FocusedEncoder(bert, task_layers).eval()
    rng = torch.Generator().manual_seed(task_layers)
    with torch.no_grad():
        for _ in range(40):
            ids, mask, pairs = random_case(rng)
            hidden = encoder.shared(ids, mask)
            found = encoder.pairs(hidden, mask, pairs, form)
            expected = whole_sequence(encoder, hidden, mask, pairs, form)
            torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("task_layers", [1, 4])
def test_entity_task_is_the_model_itself(bert, task_layers):
    encoder = FocusedEncoder(bert, task_layers).eval()
    rng = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for _ in range(10):
            ids, mask, _ = random_case(rng)
            found = encoder.entities(encoder.shared(ids, mask), mask)
            expected = bert(input_ids=ids, attention_mask=mask.long()).last_hidden_state
            torch.testing.assert_close(found[mask], expected[mask], atol=1e-5, rtol=1e-5)


def relatives() -> list:
    sizes = {"vocab_size": 40, "hidden_size": 24, "num_hidden_layers": 3, "num_attention_heads": 3}
    sizes |= {"intermediate_size": 30, "max_position_embeddings": 40, "pad_token_id": 0}
    return [RobertaModel(RobertaConfig(**sizes)), ElectraModel(ElectraConfig(embedding_size=16, **sizes))]


@pytest.mark.parametrize("model", relatives(), ids=lambda model: type(model).__name__)
def test_relatives_of_bert(model):
    encoder = FocusedEncoder(model.eval(), 2).eval()
    rng = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for _ in range(5):
            ids, mask, pairs = random_case(rng)
            hidden = encoder.shared(ids, mask)
            expected = model(input_ids=ids, attention_mask=mask.long()).last_hidden_state
            torch.testing.assert_close(encoder.entities(hidden, mask)[mask], expected[mask], atol=1e-5, rtol=1e-5)
            for form in MASKS:
                expected = whole_sequence(encoder, hidden, mask, pairs, form)
                torch.testing.assert_close(encoder.pairs(hidden, mask, pairs, form), expected, atol=1e-5, rtol=1e-5)


def one_pair() -> tuple:
    ids = torch.arange(1, 11).unsqueeze(0)
    pairs = PairBatch(torch.tensor([0]), torch.tensor([[0, 2, 3, 7]]), torch.ones((1, 4), dtype=torch.bool))
    return ids, torch.ones_like(ids, dtype=torch.bool), pairs


def changes(encoder: FocusedEncoder, form: str, position: int) -> bool:
    """Whether [CLS] moves when the hidden state at one position is another one."""
    ids, mask, pairs = one_pair()
    with torch.no_grad():
        hidden = encoder.shared(ids, mask)
        before = encoder.pairs(hidden, mask, pairs, form)
        other = hidden.clone()
        other[0, position] = torch.randn(hidden.shape[-1])
        return not torch.equal(before, encoder.pairs(other, mask, pairs, form))


@pytest.mark.parametrize(("form", "task_layers"), [("eq14", 1), ("eq14", 3), ("eq13", 1)])
def test_nothing_outside_the_mask_reaches_cls(bert, form, task_layers):
    encoder = FocusedEncoder(bert, task_layers).eval()
    moved = [position for position in range(10) if changes(encoder, form, position)]
    assert moved == [0, 2, 3, 7]


def test_eq13_reads_the_rest_through_the_mentions_and_no_other_way(bert):
    encoder = FocusedEncoder(bert, 2).eval()
    assert all(changes(encoder, "eq13", position) for position in range(10))


def test_masks_by_hand():
    _, _, pairs = one_pair()
    pairs = PairBatch(pairs.window, torch.tensor([[0, 1, 3, 0]]), torch.tensor([[True, True, True, False]]))
    mask = torch.tensor([[True, True, True, True, False]])
    first = torch.tensor([True, True, False, True, False])
    whole = torch.tensor([True, True, True, True, False])
    none = torch.zeros(5, dtype=torch.bool)
    assert torch.equal(task_mask(mask, pairs, "eq13")[0], torch.stack([first, whole, whole, whole, none]))
    assert torch.equal(task_mask(mask, pairs, "eq14")[0], torch.stack([first, first, none, first, none]))
    with pytest.raises(ValueError, match="eq13, eq14"):
        task_mask(mask, pairs, "eq15")


@pytest.mark.parametrize("form", MASKS)
def test_padding_gives_no_nan_and_changes_nothing(bert, form):
    encoder = FocusedEncoder(bert, 3)
    ids, mask, pairs = one_pair()
    wide = torch.cat([ids, torch.zeros((1, 5), dtype=torch.long)], dim=1)
    wide = torch.cat([wide, torch.zeros_like(wide)])  # and a window that is nothing but padding
    wide_mask = wide > 0
    padded = PairBatch(
        torch.tensor([0, 1]),
        torch.tensor([[0, 2, 3, 7, 0], [0, 0, 0, 0, 0]]),
        torch.tensor([[True] * 4 + [False], [True] + [False] * 4]),
    )
    encoder.train()
    hidden = encoder.shared(wide, wide_mask)
    found = encoder.pairs(hidden, wide_mask, padded, form)
    assert found.isfinite().all() and encoder.entities(hidden, wide_mask).isfinite().all()
    found.sum().backward()
    assert all(p.grad is None or p.grad.isfinite().all() for p in encoder.parameters())
    encoder.zero_grad()
    encoder.eval()
    with torch.no_grad():
        alone = encoder.pairs(encoder.shared(ids, mask), mask, pairs, form)
        together = encoder.pairs(encoder.shared(wide, wide_mask), wide_mask, padded, form)
    torch.testing.assert_close(together[:1], alone, atol=1e-5, rtol=1e-5)


def test_whole_sequence_under_eq14_keeps_the_rest_apart(bert):
    """The reference itself: positions outside attend to nothing, so only what they add to themselves is left."""
    encoder = FocusedEncoder(bert, 1).eval()
    ids, mask, pairs = one_pair()
    with torch.no_grad():
        hidden = encoder.shared(ids, mask)
        assert whole_layers(encoder, hidden, task_mask(mask, pairs, "eq14"), pairs).isfinite().all()


@pytest.mark.parametrize("form", MASKS)
def test_gradients_of_both_tasks_reach_all_layers(bert, form):
    encoder = FocusedEncoder(bert, 2).eval()
    ids, mask, pairs = one_pair()
    for task in ("entities", "pairs"):
        encoder.zero_grad()
        hidden = encoder.shared(ids, mask)
        result = encoder.entities(hidden, mask) if task == "entities" else encoder.pairs(hidden, mask, pairs, form)
        (result * torch.randn_like(result)).sum().backward()
        for layer in encoder.layers:
            assert layer.attention.self.query.weight.grad.abs().sum() > 0
        assert bert.embeddings.word_embeddings.weight.grad.abs().sum() > 0
    encoder.zero_grad()


def test_other_models_are_refused(bert):
    sizes = {"vocab_size": 10, "dim": 8, "n_layers": 1, "n_heads": 2, "hidden_dim": 8}
    with pytest.raises(ValueError, match=r"'distilbert'; focused attention needs one of bert, roberta"):
        FocusedEncoder(DistilBertModel(DistilBertConfig(**sizes)), 1)
    with pytest.raises(ValueError, match="absolute positions"):
        FocusedEncoder(small_bert(position_embedding_type="relative_key"), 1)
    for task_layers in (0, 5):
        with pytest.raises(ValueError, match="from 1 to the encoder's 4 layers"):
            FocusedEncoder(bert, task_layers)
