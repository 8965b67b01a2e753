"""Frozen lower layers run once a window instead of once an epoch: their output is kept in a temporary file.

The layers above read it as if the ones below had run: while the module is called, the frozen layers' `forward` is
replaced by one that hands out what was kept. So this works for every encoder of Hugging Face that has a list of layers,
and names and state stay as they are. Frozen layers drop nothing out; those above them do as ever.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import tempfile
from typing import Any, Dict, Iterator, List, Optional, Sequence, Tuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

logger = logging.getLogger(__name__)


class WindowFile:
    """Arrays of float32 by the word pieces they belong to, in a file without a name that only this process can open.

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

    def get(self, ids: NDArray[np.int64]) -> Optional[NDArray[np.float32]]:
        """(pieces, width) what was kept for a window of these pieces, if anything was."""
        place = self._places.get(_key(ids))
        if place is None or self._file is None:
            return None
        start, shape = place
        array = np.empty(shape, dtype="float32")
        self._file.seek(start)
        return array if self._file.readinto(array.data) == array.nbytes else None

    def put(self, ids: NDArray[np.int64], array: NDArray[np.float32]) -> None:
        """Keep (pieces, width) for a window of these pieces, unless there is no room."""
        if self._size + array.nbytes > self.max_bytes:
            return
        try:
            if self._file is None:
                self._file = tempfile.TemporaryFile(buffering=0)  # noqa: SIM115 (it lives as long as this)
            self._file.seek(self._size)
            written = self._file.write(np.ascontiguousarray(array).data)
        except OSError as error:
            logger.warning("frozen layers: no more of their output is kept (%s)", error.strerror)
            written = 0
        if written != array.nbytes:
            self.max_bytes = self._size
            return
        self._places[_key(ids)] = (self._size, array.shape)
        self._size += array.nbytes


class FrozenLayers:
    """The first `count` of an encoder's layers, embeddings below them included, none of which is trained.

    layers: all layers, in their order. kept: where the output of the last frozen one is found again.
    """

    def __init__(self, layers: Sequence[nn.Module], count: int, kept: WindowFile) -> None:
        self.layers = list(layers)
        self.count = count
        self.kept = kept
        self._as_tuple = False

    @contextlib.contextmanager
    def replayed(
        self, module: nn.Module, ids: Tensor, mask: Tensor, windows: List[NDArray[np.int64]]
    ) -> Iterator[None]:
        """While the block runs, `module(ids, mask)` starts above the frozen layers.

        ids, mask: (windows, pieces), padded on the right. windows: the ids of each without padding.
        """
        hidden, as_tuple = self._hidden(module, ids, mask, windows)
        frozen = self.layers[: self.count]
        for layer in frozen:
            layer.forward = lambda *_, **__: (hidden,) if as_tuple else hidden
        try:
            yield
        finally:
            for layer in frozen:
                del layer.forward

    def _hidden(
        self, module: nn.Module, ids: Tensor, mask: Tensor, windows: List[NDArray[np.int64]]
    ) -> Tuple[Tensor, bool]:
        """(windows, pieces, width) output of the last frozen layer, and whether layers hand theirs on in a tuple."""
        known = [self.kept.get(window) for window in windows]
        new = [row for row, array in enumerate(known) if array is None]
        if new:
            longest = max(len(windows[row]) for row in new)
            output = self._run(module, ids[new, :longest], mask[new, :longest])
            for row, array in zip(new, output.float().cpu().numpy()):
                known[row] = array[: len(windows[row])]
                self.kept.put(windows[row], array[: len(windows[row])])
        arrays = [torch.from_numpy(array) for array in known if array is not None]
        padded = nn.utils.rnn.pad_sequence(arrays, batch_first=True)
        return nn.functional.pad(padded, (0, 0, 0, ids.shape[1] - padded.shape[1])).to(ids.device), self._as_tuple

    def _run(self, module: nn.Module, ids: Tensor, mask: Tensor) -> Tensor:
        """(windows, pieces, width) output of the last frozen layer; the layers above it do not run."""

        def stop(_layer: nn.Module, _args: Any, output: Any) -> None:
            self._as_tuple = isinstance(output, tuple)
            raise _Reached(output[0] if isinstance(output, tuple) else output)

        training = module.training
        hook = self.layers[self.count - 1].register_forward_hook(stop)
        module.eval()
        try:
            with torch.no_grad():
                module(input_ids=ids, attention_mask=mask)
        except _Reached as reached:
            return reached.hidden
        finally:
            hook.remove()
            module.train(training)
        raise ValueError("the encoder never ran its frozen layers")


class _Reached(Exception):
    """Carries the output of the last frozen layer out of the encoder."""

    def __init__(self, hidden: Tensor) -> None:
        super().__init__()
        self.hidden = hidden


def _key(ids: NDArray[np.int64]) -> bytes:
    return hashlib.blake2b(ids.tobytes(), digest_size=16).digest()
