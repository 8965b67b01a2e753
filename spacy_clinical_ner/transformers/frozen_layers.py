"""Frozen lower layers run once a window instead of once an epoch: their output is kept in a temporary file.

The layers above read it as if the ones below had run: while the module is called, the frozen layers' `forward` is
replaced by one that hands out what was kept. So this works for every encoder of Hugging Face that has a list of layers,
and names and state stay as they are. Frozen layers drop nothing out; those above them do as ever.
"""

from __future__ import annotations

import contextlib
from typing import Any, Iterator, List, Sequence, Tuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from spacy_clinical_ner.bridge.array_file import ArrayFile


class FrozenLayers:
    """The first `count` of an encoder's layers, embeddings below them included, none of which is trained.

    layers: all layers, in their order. kept: where the output of the last frozen one is found again.
    """

    def __init__(self, layers: Sequence[nn.Module], count: int, kept: ArrayFile) -> None:
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
        known = [self.kept.get(window.tobytes()) for window in windows]
        new = [row for row, array in enumerate(known) if array is None]
        if new:
            longest = max(len(windows[row]) for row in new)
            output = self._run(module, ids[new, :longest], mask[new, :longest])
            for row, array in zip(new, output.float().cpu().numpy()):
                known[row] = array[: len(windows[row])]
                self.kept.put(windows[row].tobytes(), array[: len(windows[row])])
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
