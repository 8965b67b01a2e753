"""One tokenizer for clinical notes in every language, the same in training and at prediction.

spaCy's own rules are made for running prose: they keep `G3|pT2`, `CA-15` or `8mg` in one piece, and a mention that
ends inside a token can never be found. Here a token is a word, a short code (`HER2`, `pT2`, `N1`, `G3`), a number, a
run of white space or one other sign. Han characters and kana stand alone, since no dictionary of clinical Chinese can
be relied on.
"""

from __future__ import annotations

import re
from typing import Any, Callable, Dict, Iterable, Iterator, List, Protocol, Tuple

import spacy
import srsly
from spacy.language import Language
from spacy.tokens import Doc
from spacy.util import get_lang_class, registry
from spacy.vocab import Vocab, create_vocab

_HAN = (
    "\u2e80-\u2fdf\u3005-\u3007\u3040-\u30ff\u31f0-\u31ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
)
_LETTER = rf"[^\W\d_{_HAN}]"
_WORD = rf"{_LETTER}(?:{_LETTER}|[\u0300-\u036f])*"

# A code is at most four letters before its digits: a longer word with digits behind it carries a footnote mark
# (`metastásico12`), and one before a decimal is a test with its value (`TC5.0`). `x` between numbers is a sign of
# multiplication (`87x66mm`).
_TOKEN = re.compile(
    rf"[ ]|[^\S ]+|(?![xX×]\d){_LETTER}{{1,4}}\d+(?![.,]?\d)(?:[a-d](?![a-zß-öø-ÿ]))?|{_WORD}|\d+(?:[.,]\d+)*|.",
    re.DOTALL,
)
_LINE_END = re.compile(r"\n(?=\S)")
_LONG = 100_000  # characters
_NAME = "spacy-clinical-ner.ClinicalTokenizer.v1"


def token_offsets(text: str) -> List[Tuple[int, int]]:
    """Character offsets (start, end) of the tokens of `text`, plain single spaces included as tokens of their own."""
    return [match.span() for match in _TOKEN.finditer(text)]


def _parts(text: str) -> Iterator[Iterable[str]]:
    """The tokens of a text; of a long one part by part, and each word once in memory."""
    if len(text) <= _LONG:
        yield _TOKEN.findall(text)
        return
    known: Dict[str, str] = {}
    start = 0
    while start < len(text):
        # What comes behind the white space of a line end is cut as it would be at the beginning of a text.
        end = _LINE_END.search(text, start + _LONG)
        stop = len(text) if end is None else end.end()
        yield [known.setdefault(word, word) for word in _TOKEN.findall(text, start, stop)]
        start = stop


def _kind(token: str) -> str:
    if token[0].isdigit():
        return "NUMBER"
    if not token[0].isalpha():
        return "SIGN"
    return "CODE" if any(sign.isdigit() for sign in token) else "WORD"


class ClinicalTokenizer:
    """Cut text into tokens with one regular expression; `doc.text` always equals the text.

    It has no settings, so nothing can differ between training and prediction.
    """

    def __init__(self, vocab: Vocab) -> None:
        self.vocab = vocab

    def __call__(self, text: str) -> Doc:
        words: List[str] = []
        spaces: List[bool] = []
        for part in _parts(text):
            for word in part:
                if word == " " and words and not spaces[-1]:
                    spaces[-1] = True
                else:
                    words.append(word)
                    spaces.append(False)
        return Doc(self.vocab, words=words, spaces=spaces)

    def pipe(self, texts: Iterable[str], batch_size: int = 1000) -> Iterable[Doc]:
        """Tokenise one text after the other; `batch_size` is there for spaCy's sake."""
        return map(self, texts)

    def explain(self, text: str) -> List[Tuple[str, str]]:
        """The kind and the text of each token but white space, as spaCy's tokenizer explains itself."""
        return [(_kind(token), token) for token in _TOKEN.findall(text) if not token.isspace()]

    def add_special_case(self, string: str, token_attrs: Iterable[Dict[Any, str]]) -> None:
        """Raises NotImplementedError: there are no special cases, as there are no settings."""
        raise NotImplementedError(
            "the clinical tokenizer has no special cases, so that training and prediction cut alike: merge or split "
            'tokens in a component (doc.retokenize), or set [nlp.tokenizer] @tokenizers = "spacy.Tokenizer.v1"'
        )

    def __reduce__(self) -> Tuple[Any, ...]:
        return (ClinicalTokenizer, (self.vocab,))

    def to_bytes(self, **kwargs: Any) -> bytes:
        """The name and version, so that a pipeline cannot be loaded with another tokenizer by mistake."""
        return srsly.json_dumps(self._settings()).encode("utf8")

    def from_bytes(self, data: bytes, **kwargs: Any) -> ClinicalTokenizer:
        """Raises ValueError if `data` was written by another tokenizer."""
        return self._check(srsly.json_loads(data.decode("utf8")))

    def to_disk(self, path: Any, **kwargs: Any) -> None:
        srsly.write_json(path, self._settings())

    def from_disk(self, path: Any, **kwargs: Any) -> ClinicalTokenizer:
        """Raises ValueError if `path` was written by another tokenizer."""
        return self._check(srsly.read_json(path))

    def _settings(self) -> Dict[str, str]:
        return {"tokenizer": _NAME}

    def _check(self, settings: Any) -> ClinicalTokenizer:
        if settings != self._settings():
            raise ValueError(f"this is not a tokenizer written by {_NAME}; load the pipeline with its own config.cfg")
        return self


@registry.tokenizers(_NAME)
def create_clinical_tokenizer() -> Callable[[Language], ClinicalTokenizer]:
    """For `[nlp.tokenizer]` in a config: a function that makes the tokenizer of a pipeline."""

    def make(nlp: Language) -> ClinicalTokenizer:
        return ClinicalTokenizer(nlp.vocab)

    return make


class HasTokenizer(Protocol):
    """What reading a corpus needs of a pipeline."""

    @property
    def tokenizer(self) -> Callable[[str], Doc]: ...


class TokenizerOnly:
    """The vocabulary and tokenizer of `blank_pipeline(lang)`, and nothing else.

    To make a Language is to load each component that is installed, and transformers with them: 230 MB and some seconds.
    Raises ImportError (spaCy E048) for a language that spaCy does not know.
    """

    def __init__(self, lang: str) -> None:
        self.lang = lang
        self.vocab = create_vocab(lang, get_lang_class(lang).Defaults)
        self.tokenizer: Callable[[str], Doc] = ClinicalTokenizer(self.vocab)


def knows_words(lang: str) -> bool:
    """Whether spaCy's own tokenizer for a language can be made here: some want a dictionary that is not installed."""
    config = get_lang_class(lang).default_config["nlp"]["tokenizer"]
    if config == {"@tokenizers": "spacy.Tokenizer.v1"}:  # by rules, which want nothing installed
        return True
    try:
        registry.resolve({"tokenizer": config})["tokenizer"](TokenizerOnly(lang))
    except Exception:  # what the missing package raises, in whatever way spaCy passes it on
        return False
    return True


def blank_pipeline(lang: str) -> Language:
    """An empty pipeline of language `lang` ("es", "en", "zh", ...) with the clinical tokenizer.

    Raises ImportError (spaCy E048) for a language that spaCy does not know.
    """
    return spacy.blank(lang, config={"nlp": {"tokenizer": {"@tokenizers": _NAME}}})
