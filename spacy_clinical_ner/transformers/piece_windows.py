"""Windows over the word pieces of notes, and which window's vector stands for which piece.

A window has a core, whose vectors are kept, and half of the overlap as context on both sides. So of all occurrences of
a piece in overlapping windows the one that is kept is the one with the most text around it. Cores end between tokens,
unless a single token is longer than a core: then it is split, and its pieces are kept from window after window.
"""

from dataclasses import dataclass
from typing import Iterator, List, NamedTuple, Sequence

import numpy as np
from numpy.typing import NDArray
from spacy.tokens import Doc, Span
from spacy_transformers.util import registry

from spacy_clinical_ner.transformers.pieces import NotePieces


class PieceWindow(NamedTuple):
    """Offsets into the pieces of note number `note`; start <= core_start <= core_end <= end."""

    note: int
    start: int
    core_start: int
    core_end: int
    end: int


@registry.span_getters("spacy-clinical-ner.WordPieceWindows.v1")  # type: ignore[attr-defined]
@dataclass(frozen=True)
class WordPieceWindows:
    """Windows for `spacy-clinical-ner.TransformerModel.v1`, cut on word pieces.

    window: word pieces that the encoder reads at once, special ones included; an encoder that takes fewer gets fewer.
    overlap: of these, how many are read in two windows. Each piece keeps its most central occurrence.
    """

    window: int = 128
    overlap: int = 32

    def __post_init__(self) -> None:
        if not 0 <= self.overlap < self.window:
            raise ValueError(
                f"a window must be longer than the overlap and that at least 0, not {self.window} and {self.overlap}"
            )

    def __call__(self, docs: Sequence[Doc]) -> List[List[Span]]:
        raise ValueError(
            "spacy-clinical-ner.WordPieceWindows.v1 counts word pieces, which a span getter does not know: use it as "
            'the get_spans of @architectures = "spacy-clinical-ner.TransformerModel.v1"'
        )

    def plan(self, notes: Sequence[NotePieces], room: int) -> List[PieceWindow]:
        """The windows of notes, in their order; every piece lies in the core of exactly one of them.

        room: word pieces that the encoder takes at most, special ones not counted. A note without pieces gets one
        window of none. Raises ValueError if the overlap leaves no room for a core.
        """
        if room <= self.overlap:
            raise ValueError(f"windows with room for {room} word pieces cannot overlap by {self.overlap}")
        return [
            window
            for number, note in enumerate(notes)
            for window in _plan_note(number, len(note.ids), note.ends, room, self.overlap // 2)
        ]


def _plan_note(number: int, length: int, ends: NDArray[np.int64], room: int, context: int) -> Iterator[PieceWindow]:
    core_start = 0
    while True:
        start = max(0, core_start - context)
        if start + room >= length:
            yield PieceWindow(number, start, core_start, length, length)
            return
        limit = start + room - context
        fitting = int(np.searchsorted(ends, limit, side="right")) - 1
        core_end = int(ends[fitting]) if fitting >= 0 else 0
        # A core in which no token ends is cut hard; so is a first one that the next window would hold as a whole.
        if core_end <= max(core_start, context):
            core_end = limit
        yield PieceWindow(number, start, core_start, core_end, core_end + context)
        core_start = core_end
