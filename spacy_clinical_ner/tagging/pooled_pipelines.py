"""From pipelines whose taggers were trained apart to one pipeline whose tagger is their pool."""

from __future__ import annotations

from typing import Any, Dict, List, Optional, Sequence, Set, Tuple

from spacy.language import Language
from spacy.pipeline.tok2vec import Tok2Vec
from spacy.vectors import Vectors

from spacy_clinical_ner.bridge.trainable import find_architectures
from spacy_clinical_ner.errors import ClinicalNerError
from spacy_clinical_ner.tagging.distillation import find_tagger
from spacy_clinical_ner.tagging.pool import decoder
from spacy_clinical_ner.tagging.tagger_component import CrfEntityRecognizer


def pool_pipelines(
    pipelines: Sequence[Language], name: str = "crf_ner", weights: Optional[Sequence[float]] = None
) -> Language:
    """The first pipeline with a `CrfPool.v1` of all their taggers in place of its own. The pipelines are used up.

    A tagger that listens to a tok2vec or transformer takes a copy of it along; what nothing listens to any more is
    removed. weights: see `CrfPool`. The temperature is that of no calibration, and scores are forgotten.

    Raises ClinicalNerError for taggers that do not match: other labels, scheme, spans_key, tokenizer or decoder, or
    word vectors of two kinds.
    """
    taggers = [find_tagger(nlp, name, f"pipeline {number}") for number, nlp in enumerate(pipelines, 1)]
    if len(taggers) < 2:
        raise ClinicalNerError("a pool needs two pipelines at least")
    if weights is not None and len(weights) != len(taggers):
        raise ClinicalNerError(f"{len(weights)} weights for {len(taggers)} pipelines")
    if weights is not None and not sum(weights) > 0:
        raise ClinicalNerError("one weight at least must be above 0")
    for number, (nlp, tagger) in enumerate(zip(pipelines[1:], taggers[1:]), 2):
        for (what, first), (_, other) in zip(_must_match(pipelines[0], taggers[0]), _must_match(nlp, tagger)):
            if first != other:
                raise ClinicalNerError(f"pipeline {number} has {what} {other}, the first {first}: they must match")
    vectors = _common_vectors(pipelines)
    upstream = [_take_along(nlp, name) for nlp in pipelines]
    members = {f"member{n}": _settings(nlp, name)["model"] for n, nlp in enumerate(pipelines, 1)}
    base = pipelines[0]
    tagger = _replace(base, name, {"@architectures": "spacy-clinical-ner.CrfPool.v1", "*": members, "weights": weights})
    tagger.cfg["labels"] = list(taggers[0].labels)
    tagger.model.attrs.update({name: taggers[0].model.attrs[name] for name in ("labels", "chains")})
    for layer, old in zip(tagger.model.layers, taggers):
        layer.from_bytes(old.model.to_bytes())
    if vectors is not None:
        base.vocab.vectors = vectors
    _remove_unused_upstream(base, upstream[0])
    base.meta["performance"] = {}
    return base


def _must_match(nlp: Language, tagger: CrfEntityRecognizer) -> List[Tuple[str, Any]]:
    """What taggers of a pool have in common, with its name."""
    return [
        ("language", nlp.lang),
        ("tokenizer", nlp.config["nlp"]["tokenizer"]["@tokenizers"]),
        ("labels", ", ".join(tagger.labels)),
        ("scheme", tagger.scheme.name),
        ("spans_key", tagger.spans_key),
        ("decoder", "crf" if decoder(tagger.model).crf is not None else "softmax"),
    ]


def _common_vectors(pipelines: Sequence[Language]) -> Optional[Vectors]:
    found = [nlp.vocab.vectors for nlp in pipelines if nlp.vocab.vectors.size]
    # The strings beside a table are those of all notes that a pipeline has read, not of the table.
    tables = [vectors.to_bytes(exclude=["strings"]) for vectors in found]
    if any(table != tables[0] for table in tables[1:]):
        raise ClinicalNerError("the pipelines have different word vectors: a pipeline can hold one table only")
    return found[0] if found else None


def _take_along(nlp: Language, name: str) -> Set[str]:
    """Give the tagger a copy of what it listens to; names of the components it listened to."""
    model = _settings(nlp, name)["model"]
    upstream = {other for other, pipe in nlp.pipeline if name in getattr(pipe, "listening_components", ())}
    for other in upstream:
        kind = "Tok2VecListener" if isinstance(nlp.get_pipe(other), Tok2Vec) else "TransformerListener"
        nlp.replace_listeners(other, name, [".".join(("model", *path)) for path, _ in find_architectures(model, kind)])
    return upstream


def _settings(nlp: Language, name: str) -> Dict[str, Any]:
    """A component's config, without variables, which another pipeline would not know."""
    return dict(nlp.config.interpolate()["components"][name])


def _replace(nlp: Language, name: str, model: Dict[str, Any]) -> CrfEntityRecognizer:
    """Put a tagger with the same settings and another model in the place of the one there is."""
    settings = _settings(nlp, name)
    factory, place = settings.pop("factory"), nlp.pipe_names.index(name)
    nlp.remove_pipe(name)
    before = nlp.pipe_names[place] if place < len(nlp.pipe_names) else None
    made = nlp.add_pipe(factory, name=name, config={**settings, "model": model}, before=before)
    assert isinstance(made, CrfEntityRecognizer)
    return made


def _remove_unused_upstream(nlp: Language, upstream_before: Set[str]) -> None:
    for name in upstream_before:
        if not nlp.get_pipe(name).listening_components:  # type: ignore[attr-defined]
            nlp.remove_pipe(name)
    factories = {name: nlp.get_pipe_meta(name).factory for name in nlp.pipe_names}
    if "transformer" not in factories.values():
        for name in (name for name, factory in factories.items() if factory == "trf_data_cleaner"):
            nlp.remove_pipe(name)
