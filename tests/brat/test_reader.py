from __future__ import annotations

import logging

import pytest
from spacy.tokens import DocBin, Span
from spacy.training.initialize import init_nlp
from spacy.training.loop import train
from spacy.util import load_config, load_model_from_config, registry

from spacy_clinical_ner.brat import BratDocument, Entity, RelationLine, from_doc, read_folder, to_doc, write_document
from spacy_clinical_ner.brat.reader import create_brat_corpus, cut_doc
from spacy_clinical_ner.errors import InputError, MalformedLineError
from spacy_clinical_ner.extensions import Relation, set_relations
from spacy_clinical_ner.tokenization import blank_pipeline

TEXTS = ["Carcinoma pT2x. Dolor leve.\n", "Sin tos. Fiebre alta.", "Carcinoma ductal y dolor.\n"]


@pytest.fixture(scope="module")
def nlp():
    return blank_pipeline("es")


@pytest.fixture
def folder(tmp_path):
    """Three notes; a mention of the first ends inside a token of every tokenizer: `arcinom`."""
    for number, text in enumerate(TEXTS):
        mentions = [("SIGN", word) for word in ("Dolor", "tos", "Fiebre alta", "dolor") if word in text]
        mentions += [("PART", word) for word in ("arcinom", "leve", "alta") if word in text]
        entities = []
        for label, word in mentions:
            start = text.index(word)
            entities.append(Entity(f"T{len(entities) + 1}", label, ((start, start + len(word)),), word))
        relations = [RelationLine("R1", "OF", (("Arg1", "T1"), ("Arg2", "T2")))]
        write_document(BratDocument("", text, entities, relations), tmp_path / f"{number}.txt")
    return tmp_path


def test_examples_of_whole_notes(nlp, folder):
    examples = list(create_brat_corpus(folder)(nlp))
    assert [example.reference.text for example in examples] == TEXTS
    for example in examples:
        assert example.predicted.text == example.reference.text
        assert [token.text for token in example.predicted] == [token.text for token in nlp(example.predicted.text)]
        assert not example.predicted.ents
    assert [span.text for span in examples[1].reference.ents] == ["tos", "Fiebre alta"]
    assert len(examples[0].reference._.relations) == 1


def test_gold_tokens_split_and_leak_nothing(nlp, folder):
    for example in create_brat_corpus(folder, gold_tokens=True)(nlp):
        tokens = [token.text for token in example.reference]
        assert [token.text for token in example.predicted] == tokens
        assert example.predicted.text == example.reference.text
        assert not example.predicted.ents and not example.predicted.spans and not example.predicted.user_data
        # No gold entity is lost to training.
        assert sum(tag[:2] in ("B-", "U-") for tag in example.get_aligned_ner()) == len(example.reference.ents)
    assert "arcinom" in [
        token.text for token in next(iter(create_brat_corpus(folder, gold_tokens=True)(nlp))).predicted
    ]


def test_policies_reach_the_reference(nlp, folder):
    corpus = create_brat_corpus(folder, misaligned="expand", overlap="shortest", spans_key="all")
    examples = list(corpus(nlp))
    assert "Carcinoma" in [span.text for span in examples[0].reference.ents]
    assert [span.text for span in examples[1].reference.ents] == ["tos", "alta"]
    assert [span.text for span in examples[1].reference.spans["all"]] == ["tos", "Fiebre alta", "alta"]
    with pytest.raises(ValueError, match="misaligned is one of"):
        create_brat_corpus(folder, misaligned="best")


def test_limit_and_negative_numbers(nlp, folder):
    assert len(list(create_brat_corpus(folder, limit=2)(nlp))) == 2
    for name in ("limit", "max_length"):
        with pytest.raises(ValueError, match="0 or more"):
            create_brat_corpus(folder, **{name: -1})


def test_pieces_without_mentions_can_be_left_out(nlp, tmp_path):
    for number in range(200):
        entities = [Entity("T1", "X", ((0, 1),), "a")] if number % 10 == 0 else []
        write_document(BratDocument(f"{number:03}", "a b", entities=entities), tmp_path / f"{number:03}.txt")

    def kept(**options):
        corpus = create_brat_corpus(tmp_path, spans_key="sc", **options)
        return [[bool(example.reference.ents) for example in corpus(nlp)] for _ in range(2)]

    first, second = kept(empty_share=0.3)
    assert first == second == kept(empty_share=0.3)[0] != kept(empty_share=0.3, seed=1)[0]
    assert sum(first) == 20
    assert 35 < len(first) - sum(first) < 75
    assert kept(empty_share=0.0)[0] == [True] * 20
    assert len(kept()[0]) == 200
    with pytest.raises(ValueError, match="from 0 to 1"):
        create_brat_corpus(tmp_path, empty_share=1.5)


def test_shuffling_differs_by_epoch_and_is_repeatable(nlp, tmp_path):
    for number in range(8):
        write_document(BratDocument("", str(number)), tmp_path / f"{number}.txt")

    def epochs(**options):
        corpus = create_brat_corpus(tmp_path, **options)
        return [[example.reference.text for example in corpus(nlp)] for _ in range(3)]

    plain, shuffled = epochs(), epochs(shuffle=True, seed=1)
    assert plain == [sorted(plain[0])] * 3
    assert shuffled == epochs(shuffle=True, seed=1) != epochs(shuffle=True, seed=2)
    assert len({tuple(epoch) for epoch in shuffled}) == 3
    assert all(sorted(epoch) == plain[0] for epoch in shuffled)


def test_reads_what_convert_writes(nlp, folder):
    doc_bin = DocBin(store_user_data=True)
    for document in read_folder(folder):
        doc_bin.add(to_doc(nlp, document))
    doc_bin.to_disk(folder / "notes.spacy")
    [first, *_] = create_brat_corpus(folder / "notes.spacy", gold_tokens=True)(nlp)
    [expected, *_] = create_brat_corpus(folder, gold_tokens=True)(nlp)
    assert first.to_dict() == expected.to_dict()
    assert len(first.reference._.relations) == 1
    assert not first.predicted.user_data


@pytest.mark.parametrize(
    "name, content, reason",
    [
        ("nowhere.spacy", None, "no such file"),
        ("broken.spacy", b"not a DocBin", "not a .spacy file"),
        ("nowhere", None, "no such folder"),
    ],
)
def test_bad_paths(nlp, tmp_path, name, content, reason):
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=reason):
        list(create_brat_corpus(tmp_path / name)(nlp))


def test_cutting_long_notes(nlp, folder, caplog):
    with caplog.at_level(logging.WARNING):
        examples = list(create_brat_corpus(folder, max_length=4, gold_tokens=True)(nlp))
    assert "".join(example.reference.text for example in examples) == "".join(TEXTS)
    assert len(examples) > len(TEXTS)
    whole = list(create_brat_corpus(folder, gold_tokens=True)(nlp))
    for count in (lambda doc: len(doc.ents), lambda doc: len(doc.spans["sc"])):
        assert sum(count(e.reference) for e in examples) == sum(count(e.reference) for e in whole)
    n_relations = [sum(len(e.reference._.relations) for e in some) for some in (whole, examples)]
    assert n_relations[1] < n_relations[0]
    assert f"{n_relations[0] - n_relations[1]} relations between pieces of notes" in caplog.text


def pieces(nlp, text, max_length, *mentions):
    doc = nlp(text)
    doc.spans["sc"] = [Span(doc, start, end, label="X") for start, end in mentions]
    return [piece.text for piece in cut_doc(doc, max_length)]


def test_where_notes_are_cut(nlp):
    text = "Uno dos. Tres (cuatro.) Cinco seis\nsiete ocho"
    assert pieces(nlp, text, 100) == [text]
    assert pieces(nlp, text, 9) == ["Uno dos. Tres (cuatro.) ", "Cinco seis\nsiete ocho"]
    assert pieces(nlp, text, 5) == ["Uno dos. ", "Tres (cuatro.) ", "Cinco seis\nsiete ocho"]
    assert pieces(nlp, "a b\nc d e", 5) == ["a b\n", "c d e"]
    # No sentence-like end within reach: the cap holds.
    assert pieces(nlp, "a b c d e", 2) == ["a b ", "c d ", "e"]
    # White space after the end stays with its sentence.
    assert pieces(nlp, "a.\n\n b c", 4) == ["a.\n\n ", "b c"]
    assert pieces(nlp, "", 2) == []


def test_mentions_are_not_cut(nlp):
    # A sentence-like end inside a mention is none.
    assert pieces(nlp, "a . b . c d", 4, (1, 3)) == ["a . b . ", "c d"]
    assert pieces(nlp, "a . b . c d", 3, (1, 3)) == ["a . b ", ". c d"]
    # The cap moves back to the start of a mention that it would cut.
    assert pieces(nlp, "a b c d e", 3, (2, 4)) == ["a b ", "c d e"]
    # A mention longer than the cap makes its piece longer; mentions may overlap.
    assert pieces(nlp, "a b c d e f", 2, (0, 3), (2, 5)) == ["a b c d e ", "f"]
    assert pieces(nlp, "a b c d", 1, (0, 4)) == ["a b c d"]


def test_pieces_keep_all_of_a_mention(nlp):
    doc = nlp("uno dos. tres cuatro. cinco")
    first, second = Span(doc, 3, 4, label="A", span_id="T1"), Span(doc, 4, 5, label="B", span_id="T2")
    doc.ents = [first]
    doc.spans["sc"] = [first, second]
    doc.spans["empty"] = []
    set_relations(doc, [Relation(first, second, "R", 0.5), Relation(Span(doc, 0, 1, label="A"), first, "S")])
    _, piece, _ = cut_doc(doc, 3)
    assert piece.text == "tres cuatro. "
    assert [(span.text, span.label_, span.id_) for span in piece.spans["sc"]] == [
        ("tres", "A", "T1"),
        ("cuatro", "B", "T2"),
    ]
    assert [span.text for span in piece.ents] == ["tres"]
    assert list(piece.spans) == ["sc", "empty"]
    [relation] = piece._.relations
    assert (relation.head.text, relation.tail.text, relation.label, relation.score) == ("tres", "cuatro", "R", 0.5)


def test_cutting_is_linear(nlp):
    doc = nlp("tres cuatro " * 30_000)
    doc.spans["sc"] = [Span(doc, 0, 50_000, label="X"), *(Span(doc, i, i + 2, label="Y") for i in range(0, 59_000, 7))]
    texts = [piece.text for piece in cut_doc(doc, 100)]
    assert "".join(texts) == doc.text
    assert len(texts[0].split()) >= 50_000


CONFIG = """
[paths]
notes = null
[nlp]
lang = "es"
pipeline = ["ner"]
[nlp.tokenizer]
@tokenizers = "spacy-clinical-ner.ClinicalTokenizer.v1"
[components]
[components.ner]
factory = "ner"
[corpora]
[corpora.train]
@readers = "spacy-clinical-ner.BratCorpus.v1"
path = ${paths.notes}
gold_tokens = true
max_length = 6
shuffle = true
[corpora.dev]
@readers = "spacy-clinical-ner.BratCorpus.v1"
path = ${paths.notes}
[training]
max_steps = 4
eval_frequency = 2
"""


def test_spacy_train_from_a_config(folder):
    (folder / "config.cfg").write_text(CONFIG)
    config = load_config(folder / "config.cfg", {"paths.notes": folder.as_posix()}, interpolate=False)
    filled = load_model_from_config(config, auto_fill=True).config
    nlp, _ = train(init_nlp(filled))
    assert nlp.get_pipe("ner").labels == ("PART", "SIGN")


def test_registered():
    assert registry.readers.get("spacy-clinical-ner.BratCorpus.v1") is create_brat_corpus


def test_gold_mentions_on_the_predicted_side_and_nothing_else(nlp, folder):
    first, second, _ = create_brat_corpus(folder, gold_mentions=True)(nlp)
    assert [(s.text, s.label_) for s in second.predicted.ents] == [("tos", "SIGN"), ("Fiebre alta", "SIGN")]
    assert [s.text for s in first.predicted.spans["sc"]] == ["Dolor", "leve"], "arcinom is no token of the tokenizer"
    assert [s.text for s in first.reference.spans["sc"]] == ["arcinom", "Dolor", "leve"]
    assert not first.predicted._.relations
    (first, *_) = create_brat_corpus(folder, gold_mentions=True, gold_tokens=True)(nlp)
    assert [s.text for s in first.predicted.spans["sc"]] == ["arcinom", "Dolor", "leve"]


def test_lenient_names_what_it_drops_once(nlp, folder, caplog):
    ann = folder / "1.ann"
    bad = "T9\tSIGN 4 7\tFUG\n\nR9\tOF Arg1:T9 Arg2:T1\t\n"
    whole = ann.read_text(encoding="utf8") + bad
    ann.write_bytes(whole.encode("utf8"))
    n_lines = whole[: whole.index(bad)].count("\n")
    with pytest.raises(MalformedLineError, match=f"1.ann:{n_lines + 1}: .*convert --lenient`.*`lenient = true`"):
        list(create_brat_corpus(folder)(nlp))
    corpus = create_brat_corpus(folder, lenient=True)
    assert [len(example.reference.spans["sc"]) for example in corpus(nlp)] == [3, 3, 2]
    said = [record.getMessage() for record in caplog.records]
    assert [line.split(": ")[0] for line in said] == [f"{ann}:{n_lines + 1}", f"{ann}:{n_lines + 3}"]
    assert all(": dropped: " in line and "FUG" not in line for line in said)
    list(corpus(nlp))
    assert len(caplog.records) == 2
    # What was dropped is written out again where it stood.
    [_, example, _] = corpus(nlp)
    write_document(from_doc(example.reference), folder / "out" / "1.txt")
    assert (folder / "out" / "1.ann").read_text(encoding="utf8") == whole
    # A new mention gets no id that a malformed line has.
    example.reference.ents = [Span(example.reference, 0, 1, "NEW")]
    example.reference.spans["sc"] = []
    assert [entity.id for entity in from_doc(example.reference).entities] == ["T10"]
