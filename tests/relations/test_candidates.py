"""Candidate pairs against a plain double loop, and the ceiling they set."""

import random

import pytest
from spacy.tokens import Doc, Span
from spacy.util import registry

from spacy_clinical_ner.errors import InputError
from spacy_clinical_ner.relations.candidate_ceiling import CandidateCeiling, held_out_ceiling
from spacy_clinical_ner.relations.candidates import (
    CandidatePairs,
    Direction,
    SentenceDistance,
    TokenDistance,
    TypePairs,
)
from spacy_clinical_ner.relations.gold import Gold, targets
from spacy_clinical_ner.relations.mentions import Mentions, mention_key
from spacy_clinical_ner.relations.schema import TypePairSchema
from spacy_clinical_ner.tokenization import blank_pipeline

NLP = blank_pipeline("en")


def random_mentions(rng: random.Random) -> Mentions:
    """Overlapping mentions of three labels, some with the same offsets or start, in up to 30 tokens."""
    words = [rng.choice(["a", "b", ".", "\n"]) for _ in range(rng.randint(1, 30))]
    doc = Doc(NLP.vocab, words=words)
    spans = []
    for _ in range(rng.randint(0, 12)):
        start = rng.randrange(len(words))
        spans.append(Span(doc, start, min(len(words), start + rng.randint(1, 4)), label=rng.choice("XYZ")))
    return Mentions.of(doc, spans)


def gap(a: Span, b: Span) -> int:
    return max(0, max(a.start, b.start) - min(a.end, b.end))


def as_set(candidates: CandidatePairs, mentions: Mentions, schema: TypePairSchema) -> set:
    pairs = candidates(mentions, schema)
    rows = list(zip(pairs.head.tolist(), pairs.tail.tolist()))
    assert rows == sorted(set(rows)), "sorted, and each once"
    return set(rows)


@pytest.mark.parametrize("seed", range(30))
def test_filters_against_a_double_loop(seed):
    rng = random.Random(seed)
    mentions = random_mentions(rng)
    spans = mentions.spans
    sentence = [sum(t.text in ".\n" for t in mentions.doc[: span.start]) for span in spans]
    limit, sentences, order = rng.randint(0, 8), rng.randint(0, 2), rng.choice(["forward", "backward", "both"])
    schema = TypePairSchema()
    known = {(rng.choice("XYZ"), rng.choice("XYZ")): [rng.randint(-1, 6), rng.randint(-1, 6)] for _ in range(4)}
    for pair, reach in known.items():
        schema = TypePairSchema.from_json(
            {**schema.to_json(), "\t".join(pair): {"labels": {"R": rng.randint(1, 3)}, "reach": reach}}
        )
    numbers = range(len(spans))
    everything = {(i, j) for i in numbers for j in numbers if i != j}

    def types_allow(i: int, j: int, min_count: int, near: int) -> bool:
        entry = schema.entries.get((spans[i].label_, spans[j].label_))
        distance = gap(spans[i], spans[j])
        if distance <= near:
            return True
        if entry is None or entry.count < min_count:
            return False
        reach = entry.reach[i < j]
        return reach >= 0 and distance <= int(1.5 * reach) + 1

    assert as_set(CandidatePairs(), mentions, schema) == everything
    near = {(i, j) for i, j in everything if gap(spans[i], spans[j]) <= limit}
    assert as_set(CandidatePairs(TokenDistance(limit)), mentions, schema) == near
    same = {(i, j) for i, j in everything if abs(sentence[i] - sentence[j]) <= sentences}
    assert as_set(CandidatePairs(SentenceDistance(sentences)), mentions, schema) == same
    ordered = {(i, j) for i, j in everything if order == "both" or (i < j) == (order == "forward")}
    assert as_set(CandidatePairs(Direction(order)), mentions, schema) == ordered
    typed = {(i, j) for i, j in everything if types_allow(i, j, 2, 0)}
    type_pairs = TypePairs(min_count=2, reach=1.5, slack=1, near=0)
    assert as_set(CandidatePairs(type_pairs), mentions, schema) == typed
    combined = CandidatePairs(TokenDistance(limit), SentenceDistance(sentences), Direction(order), type_pairs)
    assert as_set(combined, mentions, schema) == near & same & ordered & typed


def test_same_start_nested_and_doubly_labelled_mentions_are_apart():
    doc = Doc(NLP.vocab, words=["left", "renal", "cell", "carcinoma"])
    keys = [(0, 4, "X"), (0, 1, "X"), (1, 2, "X"), (1, 2, "Y"), (0, 4, "X")]
    mentions = Mentions.of(doc, [*(Span(doc, *key) for key in keys), doc[2:2]])
    assert [mention_key(s) for s in mentions.spans] == [(0, 1, "X"), (0, 4, "X"), (1, 2, "X"), (1, 2, "Y")]
    assert len(CandidatePairs(TokenDistance(0))(mentions, TypePairSchema()).head) == 4 * 3


def test_sentences_of_the_doc_go_before_sentence_like_ends():
    doc = Doc(NLP.vocab, words=["a", ".", "b", "c"], sent_starts=[True, False, False, True])
    mentions = Mentions.of(doc, [Span(doc, i, i + 1, "X") for i in (0, 2, 3)])
    assert mentions.sentences.tolist() == [0, 0, 1]


def test_learned_schema_survives_json_and_limits_reach():
    doc = Doc(NLP.vocab, words=list("abcdefghij"))
    mentions = Mentions.of(doc, [Span(doc, i, i + 1, label) for i, label in ((0, "X"), (3, "Y"), (9, "Y"))])
    schema = TypePairSchema()
    schema.learn(mentions, [((0, 1, "X"), (3, 4, "Y"), "R")])
    assert schema.entries["X", "Y"].reach == (-1, 2)
    again = TypePairSchema.from_json(schema.to_json())
    assert again.entries == schema.entries
    assert as_set(CandidatePairs(TypePairs(reach=1.0, slack=0)), mentions, again) == {(0, 1)}
    assert as_set(CandidatePairs(TypePairs(reach=1.0, slack=6)), mentions, again) == {(0, 1), (0, 2)}
    assert as_set(CandidatePairs(TypePairs(reach=None)), mentions, again) == {(0, 1), (0, 2)}


def test_type_pairs_of_an_annotation_conf(tmp_path):
    path = tmp_path / "annotation.conf"
    path.write_text("[entities]\nX\nY\n[relations]\nR Arg1:X, Arg2:<ENTITY>\n", encoding="utf8")
    candidates = CandidatePairs(TypePairs(str(path)))
    schema = TypePairSchema.declared(candidates.declared_types())
    assert set(schema.entries) == {("X", "X"), ("X", "Y")}
    doc = Doc(NLP.vocab, words=list("ab"))
    mentions = Mentions.of(doc, [Span(doc, 0, 1, "Y"), Span(doc, 1, 2, "X")])
    assert as_set(candidates, mentions, TypePairSchema.from_json(schema.to_json())) == {(1, 0)}
    with pytest.raises(InputError, match="No such file"):
        CandidatePairs(TypePairs(str(tmp_path / "none"))).declared_types()


@pytest.mark.parametrize("make", [lambda: TokenDistance(-1), lambda: SentenceDistance(-1), lambda: Direction("up")])
def test_bad_settings(make):
    with pytest.raises(ValueError):
        make()
    with pytest.raises(ValueError):
        TypePairs(min_count=0)


def test_registered():
    names = ("CandidatePairs", "TokenDistance", "SentenceDistance", "Direction", "TypePairs")
    assert all(callable(registry.misc.get(f"spacy-clinical-ner.{name}.v1")) for name in names)


def test_targets_and_ceiling():
    doc = Doc(NLP.vocab, words=list("abcdefgh"))
    mentions = Mentions.of(doc, [Span(doc, i, i + 1, "X") for i in (0, 1, 7)])
    keys = [mention_key(span) for span in mentions.spans]
    relations = [(keys[0], keys[1], "R"), (keys[0], keys[1], "S"), (keys[2], keys[0], "R"), (keys[0], (5, 6, "X"), "R")]
    candidates = CandidatePairs(TokenDistance(2))
    pairs = candidates(mentions, TypePairSchema())
    matrix, missed = targets(mentions, pairs, relations, ["R", "S"])
    assert list(zip(pairs.head.tolist(), pairs.tail.tolist())) == [(0, 1), (1, 0)]
    assert matrix.tolist() == [[True, True], [False, False]]
    assert missed == 2
    ceiling = CandidateCeiling.of(candidates, TypePairSchema(), [(mentions, Gold([], relations, 1))])
    assert (ceiling.gold, ceiling.covered, ceiling.candidates) == (5, 2, 2)
    assert ceiling.recall == 0.4
    assert ceiling.to_json()["by_label"] == {"R": 1 / 3, "S": 1.0}


def test_held_out_ceiling_counts_what_only_one_document_shows():
    data = []
    for tail in ("Y", "Y", "Z"):
        doc = Doc(NLP.vocab, words=list("ab"))
        mentions = Mentions.of(doc, [Span(doc, 0, 1, "X"), Span(doc, 1, 2, tail)])
        data.append((mentions, Gold([], [((0, 1, "X"), (1, 2, tail), "R")], 0)))
    candidates = CandidatePairs(TypePairs())
    assert held_out_ceiling(candidates, data).recall == pytest.approx(2 / 3)
