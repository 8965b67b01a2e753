"""`trf_data_cleaner`: frees what the transformer left on a Doc, once nothing listens to it any more."""

from spacy.language import Language
from spacy.tokens import Doc
from spacy_transformers.layers import TransformerListener
from thinc.api import Model

from spacy_clinical_ner.errors import ClinicalNerError


@Language.factory("trf_data_cleaner", retokenizes=False)
def make_trf_data_cleaner(nlp: Language, name: str) -> "TrfDataCleaner":
    """Make a `trf_data_cleaner` component, to be put behind the last one that listens to the transformer.

    Without it every Doc that is kept (by `list(nlp.pipe(...))`, or for scoring) keeps the vectors of all its word
    pieces.
    """
    return TrfDataCleaner(nlp, name)


class TrfDataCleaner:
    """Sets `doc._.trf_data` to None. In training, where nothing is stored on Docs, it does nothing.

    A listener that finds no vectors takes zeros without a word; so one behind this component is an error.
    """

    def __init__(self, nlp: Language, name: str) -> None:
        self.nlp = nlp
        self.name = name

    def __call__(self, doc: Doc) -> Doc:
        """Free the vectors. Raises ClinicalNerError if a later component still listens to the transformer."""
        names = self.nlp.pipe_names
        behind = names[names.index(self.name) + 1 :] if self.name in names else []
        for name in behind:
            model = getattr(self.nlp.get_pipe(name), "model", None)
            if isinstance(model, Model) and any(isinstance(node, TransformerListener) for node in model.walk()):
                raise ClinicalNerError(f"'{name}' listens to the transformer: put '{self.name}' behind it")
        if Doc.has_extension("trf_data"):
            doc._.trf_data = None
        return doc
