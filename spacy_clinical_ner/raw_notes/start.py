"""A better start than random weights: what can be told to an encoder instead of being learnt.

Masked language modelling spends its first thousands of steps on learning how frequent each word piece is, which ones
keep company, and to look at the pieces beside a mask. On few notes that is most of what it ever learns. The first two
can be counted in a minute; the third is a matter of position embeddings (see `neighbours`).
"""

from __future__ import annotations

from typing import Any

import numpy
import torch

from spacy_clinical_ner.raw_notes.neighbours import attend_to_neighbours
from spacy_clinical_ner.raw_notes.packing import EncodedNotes

WINDOW = 5  # pieces to each side that keep company with a piece, the nearer the more
SMOOTHING = 0.75  # of the frequency of contexts (Levy, Goldberg and Dagan 2015, section 3.1)
_SPARE = 44  # dimensions more than are kept make the randomised decomposition exact enough


def informed_start(model: Any, notes: EncodedNotes, seed: int) -> None:
    """Set the embeddings, the output bias and some attention heads of a masked language model.

    model: a BertForMaskedLM with random weights. The bias becomes the logarithm of each piece's share of all;
    embeddings of pieces that occur become `piece_vectors` with the mean size that the model's config asks for; heads
    are those of `attend_to_neighbours`. Same notes, same seed: same weights.
    """
    taken = attend_to_neighbours(model)
    embeddings = model.get_input_embeddings().weight.data[:, taken:]
    vocabulary, width = embeddings.shape
    counts = torch.from_numpy(numpy.bincount(notes.ids, minlength=vocabulary)).double()
    share = (counts + 1) / (counts + 1).sum()
    model.get_output_embeddings().bias.data.copy_(share.log())
    vectors = piece_vectors(notes, vocabulary, width, seed)
    met = vectors.abs().sum(1) > 0
    if met.any():
        size = model.config.initializer_range / vectors[met].square().mean().sqrt()
        embeddings[met.to(embeddings.device)] = (vectors[met] * size).to(embeddings.device)


def piece_vectors(notes: EncodedNotes, vocabulary: int, width: int, seed: int) -> torch.Tensor:
    """(vocabulary, width) vectors whose products come near to the association of word pieces.

    The leading part of the matrix of positive pointwise mutual information, as word vectors: U sqrt(S) (Levy, Goldberg
    and Dagan 2015, Eq. 5), turned around at random so that all dimensions matter alike. 0 for pieces that keep no
    company.
    """
    association = _association(notes, vocabulary)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        rank = min(width + _SPARE, vocabulary)
        left, scale, _ = torch.svd_lowrank(association, q=rank, niter=3)
        turn, _ = torch.linalg.qr(torch.randn(width, width))
    kept = min(width, rank)
    vectors = torch.zeros(vocabulary, width)
    vectors[:, :kept] = left[:, :kept] * scale[:kept].sqrt()
    return vectors @ turn


def _association(notes: EncodedNotes, vocabulary: int) -> torch.Tensor:
    """Positive pointwise mutual information within WINDOW pieces of a note: (vocabulary, vocabulary), sparse."""
    ids = notes.ids.astype(numpy.int64)
    note = numpy.repeat(numpy.arange(notes.notes), numpy.diff(notes.bounds))
    keys, weights = [numpy.zeros(0, dtype=numpy.int64)], [numpy.zeros(0)]
    for distance in range(1, WINDOW + 1):
        together = note[distance:] == note[:-distance]
        pairs = ids[:-distance][together] * vocabulary + ids[distance:][together]
        found, counts = numpy.unique(pairs, return_counts=True)
        keys.append(found)
        weights.append(counts / distance)
    rows, columns = numpy.divmod(numpy.concatenate(keys), vocabulary)
    places = torch.from_numpy(numpy.stack([numpy.append(rows, columns), numpy.append(columns, rows)]))
    values = torch.from_numpy(numpy.concatenate([*weights, *weights]))
    counted = torch.sparse_coo_tensor(places, values, (vocabulary, vocabulary), check_invariants=False).coalesce()
    (row, column), together_often = counted.indices(), counted.values()
    often = torch.zeros(vocabulary, dtype=torch.float64).index_add_(0, row, together_often)
    context = often**SMOOTHING
    expected = often[row] * context[column] / context.sum().clamp(min=1e-12)
    information = (together_often / expected).log().clamp(min=0)
    return torch.sparse_coo_tensor(
        counted.indices(), information.float(), counted.shape, check_invariants=False
    ).coalesce()
