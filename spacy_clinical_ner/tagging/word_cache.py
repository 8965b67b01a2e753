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


class WordCache(Shim):
    """Rows of an embedding by word, forgotten whenever the embedding may have changed.

    As a shim it is told of that by Thinc itself: after an update, around the use of averaged parameters, on loading
    and on another device. It is never written: a copy, a pickle and a saved model start empty.

    max_words: the cache starts anew when it would grow beyond this.
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
            if len(self._rows) + np.count_nonzero(rows < 0) > self.max_words:
                self._rows, self._table = {}, None
                rows[:] = -1
            new = np.flatnonzero(rows < 0)
            if len(new):
                vectors = compute(orths[new])
                if len(new) > self.max_words:
                    return vectors
                rows[new] = self._append(orths[new], vectors)
            return self._table[get_array_module(self._table).asarray(rows)]

    def _append(self, orths: NDArray[np.uint64], vectors: Floats2d) -> NDArray[np.int64]:
        """Store the vectors of words that are not yet known; returns their rows."""
        first, last = len(self._rows), len(self._rows) + len(orths)
        if self._table is None or len(self._table) < last:
            grown = get_array_module(vectors).empty((max(2 * last, 1024), vectors.shape[1]), dtype=vectors.dtype)
            if self._table is not None:
                grown[:first] = self._table[:first]
            self._table = grown
        self._table[first:last] = vectors
        self._rows.update(zip(orths.tolist(), range(first, last)))
        return np.arange(first, last)

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
