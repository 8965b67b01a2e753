"""Near-duplicate notes: copied-forward notes and templates would be learnt by heart, and held-out ones be no test.

MinHash (Broder 1997, "On the resemblance and containment of documents") with banding proposes pairs; a pair counts as
duplicates only if the exact Jaccard similarity of its sets of word shingles says so.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from typing import Dict, List, Sequence, Tuple

import numpy

SHINGLE = 5
BANDS, ROWS = 32, 4  # at a similarity of 0.8 a pair is missed with probability (1 - 0.8**4)**32 = 5e-8


def find_near_duplicates(texts: Sequence[str], threshold: float = 0.8, seed: int = 0) -> Dict[int, int]:
    """{index of a note: index of the earlier note that it nearly repeats}; the earlier one is itself no duplicate.

    threshold: Jaccard similarity (0 to 1] of the sets of 5-word shingles, case folded, from which on notes are
    duplicates. A note of fewer than five words is one shingle; notes without any word repeat each other.
    The order of the notes decides which one is kept. Same texts, threshold and seed: same result.
    """
    words: Dict[str, int] = {}
    generator = numpy.random.default_rng(seed)
    factors = generator.integers(0, 2**63, size=BANDS * ROWS, dtype=numpy.uint64) * numpy.uint64(2) + numpy.uint64(1)
    offsets = generator.integers(0, 2**64, size=BANDS * ROWS, dtype=numpy.uint64)
    buckets: List[Dict[bytes, List[int]]] = [defaultdict(list) for _ in range(BANDS)]
    kept: Dict[int, numpy.ndarray] = {}
    repeats: Dict[int, int] = {}
    for index, text in enumerate(texts):
        shingles = _shingles(text, words)
        keys = _band_keys(shingles, factors, offsets)
        candidates = sorted({other for bucket, key in zip(buckets, keys) for other in bucket.get(key, ())})
        original = next((other for other in candidates if _jaccard(shingles, kept[other]) >= threshold), None)
        if original is not None:
            repeats[index] = original
            continue
        kept[index] = shingles
        for bucket, key in zip(buckets, keys):
            bucket[key].append(index)
    return repeats


def _shingles(text: str, known: Dict[str, int]) -> numpy.ndarray:
    """Distinct hashes of the 5-word sequences, uint64, sorted."""
    hashes = numpy.array([_hash(word, known) for word in text.casefold().split()], dtype=numpy.uint64)
    size = max(1, min(SHINGLE, len(hashes)))
    count = len(hashes) - size + 1
    if count < 1:
        return numpy.zeros(1, dtype=numpy.uint64)
    total = numpy.full(count, size, dtype=numpy.uint64)
    for position in range(size):  # a polynomial modulo 2**64: the order of the words counts
        total = total * numpy.uint64(0x9E3779B97F4A7C15) + hashes[position : position + count]
    return numpy.unique(total ^ (total >> numpy.uint64(29)))


def _hash(word: str, known: Dict[str, int]) -> int:
    value = known.get(word)
    if value is None:
        digest = hashlib.blake2b(word.encode("utf8", "surrogatepass"), digest_size=8).digest()
        value = known[word] = int.from_bytes(digest, "little")
    return value


def _band_keys(shingles: numpy.ndarray, factors: numpy.ndarray, offsets: numpy.ndarray) -> Tuple[bytes, ...]:
    # Multiply-shift hashing: only the upper half of the product is well mixed.
    hashed = (shingles[:, None] * factors + offsets) >> numpy.uint64(32)
    smallest = hashed.min(axis=0).astype(numpy.uint32).reshape(BANDS, ROWS)
    return tuple(row.tobytes() for row in smallest)


def _jaccard(one: numpy.ndarray, other: numpy.ndarray) -> float:
    common = len(numpy.intersect1d(one, other, assume_unique=True))
    return common / (len(one) + len(other) - common)
