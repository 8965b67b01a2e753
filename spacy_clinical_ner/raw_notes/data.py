"""From raw notes to batches: a batch depends on the seed and the number of its step alone, so that a run can resume."""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass
from typing import Any, List, Optional, Sequence

import numpy
import torch

from spacy_clinical_ner.raw_notes.masking import mask_words
from spacy_clinical_ner.raw_notes.packing import EncodedNotes, Packed, count_sequences, encode_notes, frame_pieces, pack

# Streams of random numbers, kept apart by their first key.
_ORDER, _MASKS, _HELD_OUT = range(3)


@dataclass(frozen=True)
class Batch:
    """ids: (sequences, length) what the model sees. mask: bool, no padding there; None if there is none at all.

    selected: bool, what it is to predict. labels: (selected,) the pieces that stand there. pieces: without padding.
    """

    ids: torch.Tensor
    mask: Optional[torch.Tensor]
    selected: torch.Tensor
    labels: torch.Tensor
    pieces: int

    def to(self, device: torch.device) -> Batch:
        mask = None if self.mask is None else self.mask.to(device)
        return Batch(self.ids.to(device), mask, self.selected.to(device), self.labels.to(device), self.pieces)


class MaskedNotes:
    """Masked batches of notes that a tokenizer has encoded.

    length: pieces of a sequence, special ones included. batch_size: sequences.
    """

    def __init__(self, tokenizer: Any, texts: Sequence[str], length: int, batch_size: int, seed: int) -> None:
        self.notes: EncodedNotes = encode_notes(tokenizer, texts)
        self.length, self.batch_size, self.seed = length, batch_size, seed
        self._special = {
            **frame_pieces(tokenizer),
            "special": tokenizer.all_special_ids,
        }
        self._mask = tokenizer.mask_token_id
        ordinary = numpy.setdiff1d(numpy.arange(len(tokenizer)), tokenizer.all_special_ids)
        self._replacements = ordinary.astype(numpy.int32)
        self.sequences = count_sequences(self.notes, length)
        self._epoch: Optional[int] = None
        self._packed: Optional[Packed] = None

    @property
    def steps_per_epoch(self) -> int:
        return math.ceil(self.sequences / self.batch_size)

    def training_batch(self, step: int) -> Batch:
        """The batch of a step, from 0: each epoch has its own order of notes and of sequences, each step its masks."""
        epoch, number = divmod(step, self.steps_per_epoch)
        packed = self._pack_epoch(epoch)
        rows = slice(number * self.batch_size, (number + 1) * self.batch_size)
        return self._mask_rows(packed, rows, numpy.random.default_rng([self.seed, _MASKS, step]))

    def held_out_batches(self, most: int) -> List[Batch]:
        """Batches for the perplexity, always the same: at most so many sequences, masked once for all."""
        packed = pack(self.notes, range(self.notes.notes), self.length, **self._special)
        chosen = numpy.random.default_rng([self.seed, _HELD_OUT]).permutation(len(packed))[:most]
        # Shorter sequences last, so that padding is in one batch only.
        chosen = chosen[numpy.argsort(-packed.lengths[chosen], kind="stable")]
        kept = Packed(packed.ids[chosen], packed.words[chosen], packed.lengths[chosen])
        return [
            self._mask_rows(
                kept, slice(first, first + self.batch_size), numpy.random.default_rng([self.seed, _HELD_OUT, first])
            )
            for first in range(0, len(kept), self.batch_size)
        ]

    def digest(self) -> str:
        """A fingerprint of the notes, for telling whether a checkpoint belongs to them."""
        return hashlib.sha256(self.notes.ids.tobytes() + self.notes.bounds.tobytes()).hexdigest()

    def _pack_epoch(self, epoch: int) -> Packed:
        if self._packed is None or self._epoch != epoch:
            generator = numpy.random.default_rng([self.seed, _ORDER, epoch])
            packed = pack(self.notes, generator.permutation(self.notes.notes), self.length, **self._special)
            rows = generator.permutation(len(packed))
            self._packed = Packed(packed.ids[rows], packed.words[rows], packed.lengths[rows])
            self._epoch = epoch
        return self._packed

    def _mask_rows(self, packed: Packed, rows: slice, generator: numpy.random.Generator) -> Batch:
        ids, words, lengths = packed.ids[rows], packed.words[rows], packed.lengths[rows]
        width = int(lengths.max())
        ids, words = ids[:, :width], words[:, :width]
        shown, selected = mask_words(ids, words, generator, mask=self._mask, replacements=self._replacements)
        padded = bool((lengths < width).any())
        return Batch(
            torch.from_numpy(shown.astype(numpy.int64)),
            torch.from_numpy(numpy.arange(width) < lengths[:, None]) if padded else None,
            torch.from_numpy(selected),
            torch.from_numpy(ids[selected].astype(numpy.int64)),
            int(lengths.sum()),
        )
