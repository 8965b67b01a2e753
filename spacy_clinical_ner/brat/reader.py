"""Train straight from a BRAT folder: the registered reader, and the cutting of long notes into pieces."""

import logging
import random
from itertools import islice
from pathlib import Path
from typing import Callable, Iterable, Iterator, List, Sequence, Union

from spacy.language import Language
from spacy.tokens import Doc, DocBin, Span
from spacy.training import Example
from spacy.util import registry

from spacy_clinical_ner.brat.align import Policy, align, make_doc, tokens_of
from spacy_clinical_ner.brat.docs import fill_doc
from spacy_clinical_ner.brat.document import BratDocument
from spacy_clinical_ner.brat.files import log_dropped, read_folder
from spacy_clinical_ner.brat.offsets import OFFSETS
from spacy_clinical_ner.errors import InputError, MalformedLineError
from spacy_clinical_ner.extensions import Relation, get_relations, set_relations
from spacy_clinical_ner.windows.sentences import sentence_starts

logger = logging.getLogger(__name__)

# For those who have no command that could read leniently: training takes .spacy files as well as folders.
ADVICE = "`clinical-ner convert --lenient` makes a .spacy file without such lines, BratCorpus.v1 has `lenient = true`"


@registry.readers("spacy-clinical-ner.BratCorpus.v1")
def create_brat_corpus(
    path: Union[str, Path, List[Union[str, Path]]],
    spans_key: str = "sc",
    overlap: str = "longest",
    misaligned: str = "split",
    discontinuous: str = "outer",
    trim_whitespace: bool = False,
    gold_tokens: bool = False,
    gold_mentions: bool = False,
    max_length: int = 0,
    limit: int = 0,
    shuffle: bool = False,
    seed: int = 0,
    offsets: str = "characters",
    lenient: bool = False,
    empty_share: float = 1.0,
) -> Callable[[Language], Iterable[Example]]:
    """A corpus for `[corpora.train]` and `[corpora.dev]`: a function from a pipeline to Examples.

    path: a BRAT folder, or a .spacy file made by `clinical-ner convert` (the policies are then those of the file); or
        several, read one after the other.
    spans_key, overlap, misaligned, discontinuous, trim_whitespace: see `to_doc` and `Policy`.
    gold_tokens: the predicted Doc has the tokens of the reference, split where mentions begin and end, so that no
        mention is lost to training. Leave it off for dev: then the pipeline's own tokenizer is scored.
    gold_mentions: the predicted Doc has the mentions of the reference (`doc.ents` and `doc.spans`, as far as its tokens
        allow), so that relations are scored with gold entities. For pipelines that find relations only: an entity
        recogniser would be scored on what it was given.
    max_length: cut notes into pieces of at most this many tokens, at sentence-like ends where there are any and never
        inside a mention; a mention longer than that makes its piece longer. 0 keeps notes whole. Relations between
        pieces are left out; the log says how many.
    limit: read this many notes only; 0 reads all. shuffle: another order of Examples each time the corpus is read,
        always the same orders for the same seed.
    offsets: how the .ann files count: "characters" as brat does, "crlf-as-one", "utf-16", "bytes", "no-bom", or "auto",
        by which each note is read in the way that makes all of its mention texts agree.
    lenient: drop malformed lines, and lines that need them, and name each in the log, instead of stopping at the first.
    empty_share: keep only this share (0 to 1) of the pieces without a mention, the same ones in every pass; for large
        encoders on a CPU, together with max_length. What is learnt so expects mentions more often than they come.

    Raises ValueError for an unknown policy or a negative number, and when it is read, InputError for bad data.
    """
    if max_length < 0 or limit < 0:
        raise ValueError("max_length and limit are 0 or more")
    if offsets not in OFFSETS:
        raise ValueError(f"offsets is one of {', '.join(OFFSETS)}, not {offsets!r}")
    if not 0.0 <= empty_share <= 1.0:
        raise ValueError(f"empty_share is a share from 0 to 1, not {empty_share}")
    policy = Policy(overlap, misaligned, discontinuous, trim_whitespace)
    paths = [Path(each) for each in (path if isinstance(path, list) else [path])]
    return BratCorpus(
        paths,
        spans_key,
        policy,
        gold_tokens,
        gold_mentions,
        max_length,
        limit,
        shuffle,
        seed,
        offsets,
        lenient,
        empty_share,
    )


class BratCorpus:
    """What `create_brat_corpus` returns; `epoch` counts how often it has been read."""

    def __init__(
        self,
        paths: Sequence[Path],
        spans_key: str,
        policy: Policy,
        gold_tokens: bool,
        gold_mentions: bool,
        max_length: int,
        limit: int,
        shuffle: bool,
        seed: int,
        offsets: str,
        lenient: bool,
        empty_share: float,
    ) -> None:
        self.paths = paths
        self.spans_key = spans_key
        self.policy = policy
        self.gold_tokens = gold_tokens
        self.gold_mentions = gold_mentions
        self.max_length = max_length
        self.limit = limit
        self.shuffle = shuffle
        self.seed = seed
        self.offsets = offsets
        self.lenient = lenient
        self.empty_share = empty_share
        self.epoch = 0

    def __call__(self, nlp: Language) -> Iterator[Example]:
        epoch = self.epoch
        self.epoch += 1
        references = self._kept(self._pieces(nlp))
        if self.shuffle:
            shuffled = list(references)
            random.Random(f"{self.seed}/{epoch}").shuffle(shuffled)
            references = iter(shuffled)
        for reference in references:
            predicted = same_tokens(reference) if self.gold_tokens else nlp.tokenizer(reference.text)
            if self.gold_mentions:
                copy_mentions(reference, predicted)
            yield Example(predicted, reference)

    def _kept(self, pieces: Iterator[Doc]) -> Iterator[Doc]:
        """All pieces with a mention; of the others a share that is drawn alike in every pass."""
        draw = random.Random(self.seed)
        for piece in pieces:
            empty = not piece.ents and not piece.spans.get(self.spans_key)
            if not empty or draw.random() < self.empty_share:
                yield piece

    def _pieces(self, nlp: Language) -> Iterator[Doc]:
        lost = 0
        for reference in islice(self._references(nlp), self.limit or None):
            if not self.max_length or len(reference) <= self.max_length:
                yield reference
                continue
            n_relations = len(get_relations(reference))
            for piece in cut_doc(reference, self.max_length):
                n_relations -= len(get_relations(piece))
                yield piece
            lost += n_relations
        if lost:
            where = ", ".join(map(str, self.paths))
            logger.warning("%s: %d relations between pieces of notes are left out of training", where, lost)

    def _references(self, nlp: Language) -> Iterator[Doc]:
        for path in self.paths:
            if path.suffix == ".spacy":
                yield from read_docbin(path, nlp)
            else:
                for document in self._documents(path):
                    yield fill_doc(align(nlp, document, self.policy), document, spans_key=self.spans_key)

    def _documents(self, folder: Path) -> Iterator[BratDocument]:
        try:
            for document in read_folder(folder, on_error="drop" if self.lenient else "raise", offsets=self.offsets):
                if self.epoch == 1:  # once is enough
                    log_dropped(document, folder)
                yield document
        except MalformedLineError as error:
            raise MalformedLineError(error.path, error.line, error.reason, ADVICE) from None


def read_docbin(path: Path, nlp: Language) -> Iterator[Doc]:
    """The Docs of a .spacy file. Raises InputError as `open_docbin` does."""
    return open_docbin(path).get_docs(nlp.vocab)


def open_docbin(path: Path) -> DocBin:
    """A .spacy file whose Docs are not yet made. Raises InputError if it is missing or not a DocBin."""
    if not path.is_file():
        raise InputError(path, None, "no such file")
    try:
        return DocBin().from_disk(path)
    except Exception as error:  # zlib, msgpack and KeyError alike: whatever the bytes happen to break
        raise InputError(path, None, "not a .spacy file (DocBin)") from error


def same_tokens(part: Union[Doc, Span]) -> Doc:
    """A Doc with the tokens of a Doc or Span and nothing else of it: no annotations, no user data."""
    return make_doc(part.vocab, tokens_of(part))


def copy_mentions(source: Doc, target: Doc) -> None:
    """Give a Doc of the same text the mentions of another whose edges are edges of its tokens; nothing else of it."""

    def copies(spans: Iterable[Span]) -> List[Span]:
        found = (
            target.char_span(span.start_char, span.end_char, label=span.label, kb_id=span.kb_id, span_id=span.id)
            for span in spans
        )
        return [span for span in found if span is not None]

    target.set_ents(copies(source.ents))
    for name, group in source.spans.items():
        target.spans[name] = copies(group)


def cut_doc(doc: Doc, max_length: int) -> List[Doc]:
    """Cut a Doc into pieces of at most `max_length` tokens, none of them inside a mention.

    The pieces keep mentions, spans groups and the relations whose two mentions they hold; their texts add up to the
    Doc's. Linear in the number of tokens and mentions.
    """
    mentions = [*doc.ents, *(span for group in doc.spans.values() for span in group)]
    edges = cut_points(doc, mentions, max_length)
    return [_piece(doc, start, end) for start, end in zip(edges, edges[1:])]


def cut_points(doc: Doc, mentions: Iterable[Span], max_length: int) -> List[int]:
    """Token indices at which to cut, 0 and the end included; no two of them equal."""
    n = len(doc)
    depth = [0] * (n + 1)  # how many mentions go on across the boundary before each token
    for span in mentions:
        if span.end - span.start > 1:
            depth[span.start + 1] += 1
            depth[span.end] -= 1
    starts = set(sentence_starts(doc).tolist())
    last_end = [0] * (n + 1)  # nearest sentence-like end, and nearest boundary outside mentions, at or before
    last_free = [0] * (n + 1)
    inside = 0
    for i in range(1, n + 1):
        inside += depth[i]
        free = inside == 0
        last_free[i] = i if free else last_free[i - 1]
        last_end[i] = i if free and i in starts else last_end[i - 1]
    points = [0]
    while n - points[-1] > max_length:
        start, limit = points[-1], points[-1] + max_length
        if last_end[limit] > start:
            points.append(last_end[limit])
        elif last_free[limit] > start:
            points.append(last_free[limit])
        else:
            points.append(next(i for i in range(limit + 1, n + 1) if last_free[i] == i))
    return [*points, n] if points[-1] < n else points


def _piece(doc: Doc, start: int, end: int) -> Doc:
    piece = same_tokens(doc[start:end])

    def moved(span: Span) -> Span:
        return Span(piece, span.start - start, span.end - start, label=span.label, kb_id=span.kb_id, span_id=span.id)

    def within(span: Span) -> bool:
        return start <= span.start and span.end <= end

    piece.ents = [moved(span) for span in doc.ents if within(span)]
    for name, group in doc.spans.items():
        piece.spans[name] = [moved(span) for span in group if within(span)]
    set_relations(
        piece,
        (
            Relation(moved(relation.head), moved(relation.tail), relation.label, relation.score)
            for relation in get_relations(doc)
            if within(relation.head) and within(relation.tail)
        ),
    )
    return piece
