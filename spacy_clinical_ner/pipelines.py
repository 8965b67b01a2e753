"""Loading trained pipelines with errors that fit on one line, and saving them without the words of the notes."""

import copy
from pathlib import Path
from typing import Any, Callable, Iterable, Iterator, List, Optional, Union

import numpy as np
import spacy
import srsly
from spacy.language import Language
from spacy.strings import StringStore
from spacy.util import registry
from spacy.vocab import Vocab
from thinc.api import Config, Model
from thinc.util import to_numpy
from wasabi import msg

from spacy_clinical_ner.errors import ClinicalNerError, one_line
from spacy_clinical_ner.tokenization import HasTokenizer, TokenizerOnly, knows_words

# Characters of a note, at most: spaCy counts them in 32 bits.
MAX_LENGTH = 2**31 - 1
# Components of spaCy that need memory in proportion to a whole note, which `nlp.max_length` is there for.
_BY_NOTE = {"parser", "ner", "beam_parser", "beam_ner"}


def load_pipeline(name: str) -> Language:
    """`spacy.load` for a folder or an installed package.

    Raises ClinicalNerError if there is no such pipeline, or if what it predicts would mean nothing: weights or word
    vectors that are not finite, or a model that was made for another number of labels.
    """
    try:
        nlp = spacy.load(name)
    except Exception as error:  # whatever a module of that name, or a pipeline that was tampered with, may raise
        raise ClinicalNerError(f"{name}: not a pipeline that can be loaded: {one_line(error)}") from error
    problem = problem_of(nlp) if isinstance(nlp, Language) else "it is a module that loads something else"
    if problem is not None:
        raise ClinicalNerError(f"{name}: not a pipeline that can be used: {problem}")
    if not _BY_NOTE & {nlp.get_pipe_meta(component).factory for component in nlp.pipe_names}:
        nlp.max_length = MAX_LENGTH
    return nlp


def problem_of(nlp: Language) -> Optional[str]:
    """What is wrong with a pipeline that could be loaded, or built from a config; None if nothing is."""
    if nlp.batch_size < 1:
        return f"nlp.batch_size is {nlp.batch_size}"
    if not np.isfinite(to_numpy(nlp.vocab.vectors.data)).all():
        return "its word vectors are not finite numbers"
    for name, pipe in nlp.pipeline:
        if getattr(pipe, "max_batch_tokens", 1) < 1:
            return f"max_batch_tokens of {name} is {pipe.max_batch_tokens}"  # type: ignore[attr-defined]
        model = getattr(pipe, "model", None)
        if not isinstance(model, Model):
            continue
        built = model.attrs.get("labels", 0) * model.attrs.get("chains", 0)
        if built and built != len(pipe.labels):  # type: ignore[attr-defined]
            return f"{name} has {len(pipe.labels)} labels, its model {built}"  # type: ignore[attr-defined]
        for node in model.walk():
            wanted = node.maybe_get_dim("nM") if node.name == "static_vectors" else None
            if wanted is not None and wanted != nlp.vocab.vectors_length:
                there = nlp.vocab.vectors_length or "none"
                return f"{name} looks up word vectors of width {wanted}, the pipeline has {there} (initialize.vectors)"
        if not all(np.isfinite(array).all() for array in _weights(model)):
            return f"the weights of {name} are not finite numbers"
    return None


def _weights(model: Model) -> Iterator[Any]:
    """All floating-point parameters, Thinc's and torch's."""
    for node in model.walk():
        yield from (to_numpy(node.get_param(name)) for name in node.param_names if node.has_param(name))
        for shim in node.shims:
            if hasattr(shim._model, "state_dict"):
                tensors = shim._model.state_dict().values()
                yield from (each.detach().cpu().numpy() for each in tensors if each.is_floating_point())


def pipeline_or_blank(pipeline: Optional[str], lang: str) -> HasTokenizer:
    """The pipeline of that name, or what only tokenises `lang`. Raises ClinicalNerError if there is none.

    Says so where words are not found as spaCy would, because its dictionary for a language without spaces is missing.
    """
    if pipeline is not None:
        return load_pipeline(pipeline)
    try:
        blank = TokenizerOnly(lang)
    except Exception:  # any module of spacy.lang is taken for a language, and any path for a module
        raise ClinicalNerError(f"spaCy knows no language {lang!r} (--lang es, en, zh, ...)") from None
    if not knows_words(lang):
        msg.warn(f"spaCy's tokenizer for {lang} is not installed: the clinical one knows no words of {lang}")
    return blank


# Factories that look words up by hash alone and never need to spell them, or read their own files again, as the ruler.
READ_HASHES = {
    "crf_ner",
    "label_attention_ner",
    "relation_classifier",
    "joint_extractor",
    "tok2vec",
    "transformer",
    "trf_data_cleaner",
    "sentencizer",
    "entity_ruler",
}


def words_to_keep(nlp: Language) -> Optional[List[str]]:
    """Strings of the language and the labels of a pipeline, without those that it has read; None if it may need those.

    spaCy saves every word it has seen, and with clinical notes that means names. Components that know words by their
    hashes give the same results without; a pipeline with any other component needs what it has.
    """
    if _spelling(nlp):
        return None
    keep = set(nlp.__class__().vocab.strings)
    for name in nlp.component_names:
        keep.update(getattr(nlp.get_pipe(name), "labels", ()))
    return [word for word in nlp.vocab.strings if word in keep]


def self_contained(config: Config) -> Config:
    """The config with an optimizer that `nlp.create_optimizer` can build, which resolves that section alone.

    A schedule with `total_steps = ${training.max_steps}` then says the number. Everything else stays as it is.
    """
    changed = config.copy()
    if "${" in str(config.get("training", {}).get("optimizer", "")):
        changed["training"]["optimizer"] = config.interpolate()["training"]["optimizer"]
    return changed


class SavedVocab:
    """A Vocab as it goes to disk: the same vectors and tables, and of the strings only `words`."""

    def __init__(self, vocab: Vocab, words: Iterable[str]) -> None:
        self._vocab = vocab
        self._words = words

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        return getattr(self._vocab, name)

    def to_disk(self, path: Union[str, Path], *, exclude: Iterable[str] = ()) -> None:
        self._vocab.to_disk(path, exclude=[*exclude, "strings"])
        if "strings" not in exclude:
            StringStore(self._words).to_disk(Path(path) / "strings.json")


def to_save(nlp: Language) -> Language:
    """A copy of a pipeline for one thing, `to_disk`: without the words of the notes, its config `self_contained`.

    It shares all components with the pipeline, which may go on being trained. If a component may need the words, they
    stay, and a warning says so.
    """
    saved = copy.copy(nlp)
    saved.config = self_contained(nlp.config)
    words = words_to_keep(nlp)
    if words is None:
        msg.warn(f"The pipeline is saved with the words of all notes it has read, for: {', '.join(_spelling(nlp))}")
    else:
        saved.vocab = SavedVocab(nlp.vocab, words)  # type: ignore[assignment]
    return saved


def save_pipeline(nlp: Language, folder: Union[str, Path]) -> None:
    """`nlp.to_disk` of what `to_save` makes of it."""
    to_save(nlp).to_disk(folder)


def clean_folder(folder: Union[str, Path]) -> bool:
    """Give a pipeline that was saved otherwise the strings and config of `to_save`; False if the words must stay."""
    folder = Path(folder)
    nlp = load_pipeline(str(folder))
    self_contained(nlp.config).to_disk(folder / "config.cfg")
    words = words_to_keep(nlp)
    if words is None:
        return False
    strings = folder / "vocab" / "strings.json"
    known = set(words)
    srsly.write_json(strings, [word for word in srsly.read_json(strings) if word in known])
    return True


@registry.callbacks("spacy-clinical-ner.CleanVocabulary.v1")
def make_vocabulary_cleaner(
    first: Optional[Callable[[Language], Language]] = None,
) -> Callable[[Language], Language]:
    """A callback for `[training] before_to_disk`: saved pipelines hold no word of the notes, and can be trained on.

    first: another callback, which is called before.
    """

    def clean(nlp: Language) -> Language:
        return to_save(nlp if first is None else first(nlp))

    return clean


def _spelling(nlp: Language) -> List[str]:
    """Names of the components that may need to spell words."""
    return [name for name in nlp.component_names if nlp.get_pipe_meta(name).factory not in READ_HASHES]
