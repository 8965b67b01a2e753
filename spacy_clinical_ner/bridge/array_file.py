"""Arrays that are costly to compute, kept in a temporary file until the process ends."""

from __future__ import annotations

import hashlib
import logging
import tempfile
from typing import Any, Dict, Optional, Tuple

import numpy as np
from numpy.typing import NDArray

logger = logging.getLogger(__name__)


class ArrayFile:
    """Arrays of float32 by what they were computed from, in a file without a name that only this process can open.

    It ends with the process, however that ends. max_bytes: what does not fit any more is not kept. Copies start empty.
    """

    def __init__(self, max_bytes: int) -> None:
        self.max_bytes = max_bytes
        self._size = 0
        self._places: Dict[bytes, Tuple[int, Tuple[int, ...]]] = {}
        self._file: Optional[Any] = None

    def __len__(self) -> int:
        return len(self._places)

    def __getstate__(self) -> Dict[str, Any]:
        return {**self.__dict__, "_size": 0, "_places": {}, "_file": None}

    def get(self, source: bytes) -> Optional[NDArray[np.float32]]:
        """What was kept for this source, if anything was."""
        place = self._places.get(_key(source))
        if place is None or self._file is None:
            return None
        start, shape = place
        array = np.empty(shape, dtype="float32")
        self._file.seek(start)
        return array if self._file.readinto(array.data) == array.nbytes else None

    def put(self, source: bytes, array: NDArray[np.float32]) -> None:
        """Keep an array for this source, unless there is no room."""
        if self._size + array.nbytes > self.max_bytes:
            return
        try:
            if self._file is None:
                self._file = tempfile.TemporaryFile(buffering=0)  # noqa: SIM115 (it lives as long as this)
            self._file.seek(self._size)
            written = self._file.write(np.ascontiguousarray(array).data)
        except OSError as error:
            logger.warning("no more results are kept for later: %s", error.strerror)
            written = 0
        if written != array.nbytes:
            self.max_bytes = self._size
            return
        self._places[_key(source)] = (self._size, array.shape)
        self._size += array.nbytes


def _key(source: bytes) -> bytes:
    return hashlib.blake2b(source, digest_size=16).digest()
