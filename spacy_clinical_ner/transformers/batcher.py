"""Training batches of about so many word pieces, whatever the notes hold: tokens are a poor measure of their cost."""

from functools import partial
from typing import Any, Callable, Dict, Iterable, List

from spacy.training import Example
from spacy.training.batchers import minibatch_by_words
from spacy.util import registry

from spacy_clinical_ner.transformers.loading import load_tokenizer
from spacy_clinical_ner.transformers.pieces import count_pieces


@registry.batchers("spacy-clinical-ner.BatchByWordPieces.v1")
def create_batch_by_word_pieces(
    size: int, tokenizer: str, tolerance: float = 0.2, discard_oversize: bool = False
) -> Callable[[Iterable[Example]], Iterable[List[Example]]]:
    """Batches of whole notes, as `spacy.batch_by_words.v1` makes them, with word pieces in place of words.

    size: word pieces, special ones not counted, of a batch; a longer note goes alone. tokenizer: folder or name of the
    encoder, as in the model. tolerance, discard_oversize: as there; by default no note is left out.
    """
    return partial(
        minibatch_by_words,
        size=size,
        tolerance=tolerance,
        discard_oversize=discard_oversize,
        get_length=PieceCounter(tokenizer),
    )


class PieceCounter:
    """Counts the word pieces of examples and remembers the counts. The tokenizer is loaded when it is first needed."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._tokenizer: Any = None
        self._counts: Dict[int, int] = {}

    def __call__(self, example: Example) -> int:
        text = example.predicted.text
        key = hash(text)
        if key not in self._counts:
            if self._tokenizer is None:
                self._tokenizer = load_tokenizer(self.name)
            (self._counts[key],) = count_pieces([text], self._tokenizer)
        return self._counts[key]
