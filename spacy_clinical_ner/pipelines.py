"""Loading trained pipelines with errors that fit on one line, and saving them without the words of the notes."""

import copy
from pathlib import Path
from typing import Any, Callable, Iterable, List, Optional, Union

import spacy
import srsly
from spacy.language import Language
from spacy.strings import StringStore
from spacy.util import registry
from spacy.vocab import Vocab
from thinc.api import Config
from wasabi import msg

from spacy_clinical_ner.errors import ClinicalNerError, one_line
from spacy_clinical_ner.tokenization import blank_pipeline


def load_pipeline(name: str) -> Language:
    """`spacy.load` for a folder or an installed package. Raises ClinicalNerError if there is no such pipeline."""
    try:
        return spacy.load(name)
    except (ImportError, OSError, ValueError) as error:
        raise ClinicalNerError(f"{name}: not a pipeline that can be loaded: {one_line(error)}") from error


def pipeline_or_blank(pipeline: Optional[str], lang: str) -> Language:
    """The pipeline of that name, or one that only tokenises `lang`. Raises ClinicalNerError if there is none."""
    if pipeline is not None:
        return load_pipeline(pipeline)
    try:
        return blank_pipeline(lang)
    except ImportError:
        raise ClinicalNerError(f"spaCy knows no language {lang!r} (--lang es, en, zh, ...)") from None


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
