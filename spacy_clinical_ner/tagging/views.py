"""What a tagger sees of a note: the papers' preprocessing, done to a view of the tokens and never to the Doc.

A view replaces or leaves out words; it knows the token of each, so mentions come back to the tokens of the note, and
offsets stay what they were. Words that are left out belong to a mention if words on both sides of them do.
"""

import re
import unicodedata
from functools import partial
from typing import Callable, List, NamedTuple, Sequence, Tuple

import numpy as np
from numpy.typing import NDArray
from spacy.tokens import Doc
from spacy.util import registry
from spacy.vocab import Vocab

from spacy_clinical_ner.windows.sentences import sentence_ends

_NUMBER = re.compile(r"[+-]?\d[\d.,·]*")


class View(NamedTuple):
    """The words that are seen; both arrays have one ascending number for each of them.

    tokens: index of its token in the Doc. sentences: number of its sentence.
    """

    words: List[str]
    tokens: NDArray[np.int64]
    sentences: NDArray[np.int64]

    def only(self, keep: Sequence[bool]) -> "View":
        """The words for which `keep` is true."""
        chosen = np.asarray(keep, dtype=bool)
        words = [word for word, kept in zip(self.words, chosen) if kept]
        return View(words, self.tokens[chosen], self.sentences[chosen])


Step = Callable[[View], View]


@registry.misc("spacy-clinical-ner.View.v1")
def create_view(*steps: Step) -> Callable[[Doc], View]:
    """A view made by steps, one after the other, each a section of the config:

    [components.crf_ner.view]
    @misc = "spacy-clinical-ner.View.v1"

    [components.crf_ner.view.*.numbers]
    @misc = "spacy-clinical-ner.NumbersAs.v1"

    [components.crf_ner.view.*.punctuation]
    @misc = "spacy-clinical-ner.WithoutPunctuation.v1"
    """
    return partial(see, steps=steps)


def see(doc: Doc, steps: Tuple[Step, ...]) -> View:
    """The view of a Doc; its sentences end where those of `sentence_ends` do, unless a step says otherwise."""
    ends = sentence_ends(doc)
    tokens = np.arange(len(doc))
    view = View([token.text for token in doc], tokens, np.searchsorted(ends, tokens, side="right"))
    for step in steps:
        view = step(view)
    return view


@registry.misc("spacy-clinical-ner.NumbersAs.v1")
def create_numbers_as(word: str = "Cifra") -> Step:
    """Every number is seen as the same word, as in the CANTEMIST paper."""
    return partial(numbers_as, word=word)


def numbers_as(view: View, word: str) -> View:
    return view._replace(words=[word if _NUMBER.fullmatch(seen) else seen for seen in view.words])


@registry.misc("spacy-clinical-ner.WithoutPunctuation.v1")
def create_without_punctuation(keep: str = "") -> Step:
    """Words of nothing but punctuation (Unicode categories P*) are left out.

    keep: signs that are no punctuation here, such as "%-".
    """
    return partial(without_punctuation, keep=keep)


def without_punctuation(view: View, keep: str) -> View:
    def is_punctuation(sign: str) -> bool:
        return unicodedata.category(sign).startswith("P") and sign not in keep

    return view.only([not all(map(is_punctuation, word)) for word in view.words])


@registry.misc("spacy-clinical-ner.WithoutOneWordSentences.v1")
def create_without_one_word_sentences() -> Step:
    """Sentences of which one word is left, at most, are left out. To be put behind what leaves out words."""
    return without_one_word_sentences


def without_one_word_sentences(view: View) -> View:
    _, sentence, words = np.unique(view.sentences, return_inverse=True, return_counts=True)
    return view.only((words[sentence] > 1).tolist())


@registry.misc("spacy-clinical-ner.SentencesAt.v1")
def create_sentences_at(signs: List[str]) -> Step:
    """Sentences end behind these words and nowhere else, such as ["。"]. To be put before what leaves them out."""
    return partial(sentences_at, signs=tuple(signs))


def sentences_at(view: View, signs: Tuple[str, ...]) -> View:
    ends = np.array([word in signs for word in view.words], dtype="int64")
    return view._replace(sentences=np.cumsum(ends) - ends)


def as_doc(vocab: Vocab, view: View) -> Doc:
    """The view as a Doc of its own, with its sentences."""
    starts = np.diff(view.sentences, prepend=-1) != 0
    return Doc(vocab, words=view.words, sent_starts=[1 if start else -1 for start in starts])


def to_words(view: View, start: int, end: int) -> Tuple[int, int]:
    """From tokens doc[start:end] to the words of the view that lie in there; start = end if there are none."""
    first, last = np.searchsorted(view.tokens, [start, end])
    return int(first), int(last)


def to_tokens(view: View, start: int, end: int) -> Tuple[int, int]:
    """From words of the view (one at least) to the tokens from the first of them to the last."""
    return int(view.tokens[start]), int(view.tokens[end - 1]) + 1
