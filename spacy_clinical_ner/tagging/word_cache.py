"""Word vectors that a context-free embedding has computed before, for prediction only."""

from __future__ import annotations

import contextlib
import threading
from typing import Any, Callable, Dict, Iterator

import numpy as np
from numpy.typing import NDArray
from spacy.vocab import Vocab
from thinc.api import Shim, get_array_module
from thinc.types import Floats2d

_FEW, _MANY = 1024, 65_536  # words


class WordCache(Shim):
    """Rows of an embedding by word, forgotten whenever the embedding may have changed.

    As a shim it is told of that by Thinc itself: after an update, around the use of averaged parameters, on loading
    and on another device. It is never written: a copy, a pickle and a saved model start empty.

    max_words: of which rows are kept. Those that come first stay, as they are the ones that come most often, until
        most of the words that are looked up are others: then all are forgotten.
    """

    def __init__(self, max_words: int) -> None:
        super().__init__(None)
        self.max_words = max_words
        self._lock = threading.Lock()
        self.clear()

    def clear(self) -> None:
        """Forget everything."""
        self._rows: Dict[int, int] = {}
        self._table: Any = None
        self._source: Any = None
        self._looked_up = self._missed = 0  # since the cache has been full

    def look_up(
        self, vocab: Vocab, orths: NDArray[np.uint64], compute: Callable[[NDArray[np.uint64]], Floats2d]
    ) -> Floats2d:
        """(words, width) vectors of distinct words; `compute` gives those of the words that are new."""
        with self._lock:
            # Both are held, not their ids, which other ones may get once these are gone.
            if self._source is None or self._source[0] is not vocab or self._source[1] is not vocab.vectors:
                self.clear()
                self._source = (vocab, vocab.vectors)
            rows = np.array([self._rows.get(orth, -1) for orth in orths.tolist()], dtype="int64")
            new = rows < 0
            if self._is_dated(int(new.sum()), len(new)):
                self._rows, self._table = {}, None
                new[:] = True
            if not new.any():
                return self._gather(rows)
            vectors = compute(orths[new])
            xp = get_array_module(vectors)
            found = xp.empty((len(orths), vectors.shape[1]), dtype=vectors.dtype)
            found[xp.asarray(new)] = vectors
            if not new.all():
                found[xp.asarray(~new)] = self._gather(rows[~new])
            room = self.max_words - len(self._rows)
            self._append(orths[new][:room], vectors[:room])
            return found

    def _gather(self, rows: NDArray[np.int64]) -> Floats2d:
        return self._table[get_array_module(self._table).asarray(rows)]

    def _is_dated(self, new: int, words: int) -> bool:
        """Whether most words of late are not among those that are kept, though there is no room for more."""
        if len(self._rows) < self.max_words:
            return False
        self._looked_up += words
        self._missed += new
        if self._looked_up < self.max_words:
            return False
        dated = 2 * self._missed > self._looked_up
        self._looked_up = self._missed = 0
        return dated

    def _append(self, orths: NDArray[np.uint64], vectors: Floats2d) -> None:
        """Keep the vectors of words that are not yet known."""
        first, last = len(self._rows), len(self._rows) + len(orths)
        if self._table is None or len(self._table) < last:
            # But for a few notes as large as it will most likely be, and written to: in a long run memory stays flat.
            size = min(max(2 * last, _MANY if last > _FEW else _FEW), self.max_words)
            grown = get_array_module(vectors).full((size, vectors.shape[1]), 0, dtype=vectors.dtype)
            if self._table is not None:
                grown[:first] = self._table[:first]
            self._table = grown
        self._table[first:last] = vectors
        self._rows.update(zip(orths.tolist(), range(first, last)))

    def finish_update(self, optimizer: Any) -> None:
        self.clear()

    @contextlib.contextmanager
    def use_params(self, params: Any) -> Iterator[None]:
        self.clear()
        try:
            yield
        finally:
            self.clear()

    def to_device(self, device_type: str, device_id: int) -> None:
        self.clear()

    def to_bytes(self) -> bytes:
        return b""

    def from_bytes(self, data: bytes) -> WordCache:
        self.clear()
        return self

    def copy(self) -> WordCache:
        return WordCache(self.max_words)

    def __reduce__(self) -> Any:
        return WordCache, (self.max_words,)
