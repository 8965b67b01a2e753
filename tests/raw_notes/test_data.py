from __future__ import annotations

import numpy
import torch

from spacy_clinical_ner.raw_notes.data import Batch, MaskedNotes
from spacy_clinical_ner.transformers.vocabulary import train_tokenizer
from tests.raw_notes.corpora import make_notes

TEXTS = make_notes(12)
TOKENIZER = train_tokenizer(TEXTS, 300)


def notes(seed: int = 0) -> MaskedNotes:
    return MaskedNotes(TOKENIZER, TEXTS, 16, 4, seed)


def equal(one: Batch, other: Batch) -> bool:
    return torch.equal(one.ids, other.ids) and torch.equal(one.labels, other.labels)


def original(batch: Batch) -> torch.Tensor:
    ids = batch.ids.clone()
    ids[batch.selected] = batch.labels
    return ids


def test_batch_depends_on_seed_and_step_alone() -> None:
    one, other = notes(), notes()
    expected = [one.training_batch(step) for step in range(50)]
    for step in (49, 3, 17):
        assert equal(other.training_batch(step), expected[step])
    assert not equal(notes(1).training_batch(3), expected[3])


def test_epoch_reads_every_piece_once_and_the_next_in_another_order() -> None:
    data = notes()
    special = torch.tensor(TOKENIZER.all_special_ids)
    orders = []
    for epoch in range(2):
        steps = range(epoch * data.steps_per_epoch, (epoch + 1) * data.steps_per_epoch)
        ids = torch.cat([original(data.training_batch(step)).flatten() for step in steps])
        ids = ids[~torch.isin(ids, special)]
        assert sorted(ids.tolist()) == sorted(data.notes.ids.tolist())
        orders.append(ids.tolist())
    assert orders[0] != orders[1]


def test_masks_differ_between_epochs() -> None:
    data = MaskedNotes(TOKENIZER, TEXTS[:1], 64, 4, 0)
    assert data.steps_per_epoch == 1
    shown = {tuple(data.training_batch(step).selected.flatten().tolist()) for step in range(5)}
    assert len(shown) == 5


def test_masks_differ_between_the_steps_of_an_epoch() -> None:
    word = next(piece for piece in TOKENIZER.get_vocab() if piece.isalpha() and len(piece) > 3)
    data = MaskedNotes(TOKENIZER, [" ".join([word] * 200)], 16, 4, 0)
    batches = [data.training_batch(step) for step in range(data.steps_per_epoch)]
    one, other, *_ = (batch.selected for batch in batches if batch.mask is None)
    assert one.shape == other.shape and not torch.equal(one, other)


def test_padding_is_marked_and_only_where_there_is_some() -> None:
    data = notes()
    batches = [data.training_batch(step) for step in range(data.steps_per_epoch)]
    with_padding = [batch for batch in batches if batch.mask is not None]
    assert len(with_padding) <= 1
    assert sum(batch.pieces for batch in batches) == sum(
        int((batch.ids != TOKENIZER.pad_token_id).sum()) for batch in batches
    )
    for batch in with_padding:
        assert torch.equal(batch.mask, batch.ids != TOKENIZER.pad_token_id)


def test_held_out_batches_are_always_the_same() -> None:
    one, other = notes().held_out_batches(10), notes().held_out_batches(10)
    assert sum(len(batch.ids) for batch in one) == 10
    assert all(map(equal, one, other))
    every = notes().held_out_batches(10**6)
    ids = torch.cat([original(batch).flatten() for batch in every])
    ids = ids[~torch.isin(ids, torch.tensor(TOKENIZER.all_special_ids))]
    assert sorted(ids.tolist()) == sorted(notes().notes.ids.tolist())


def test_digest_tells_notes_apart() -> None:
    other = MaskedNotes(TOKENIZER, TEXTS[::-1], 16, 4, 0)
    assert notes().digest() == notes().digest() != other.digest()


def test_random_pieces_are_ordinary_ones() -> None:
    data = notes()
    kinds = set(TOKENIZER.all_special_ids) - {TOKENIZER.mask_token_id}
    for step in range(40):
        batch = data.training_batch(step)
        assert not numpy.isin(batch.ids[batch.selected].numpy(), list(kinds)).any()
