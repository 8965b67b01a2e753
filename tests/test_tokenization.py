import pickle

import pytest
import spacy
from hypothesis import given, settings
from hypothesis import strategies as st

from spacy_clinical_ner.tokenization import ClinicalTokenizer, blank_pipeline, token_offsets

NLP = blank_pipeline("es")


@pytest.mark.parametrize(
    "text, tokens",
    [
        ("G3|pT2", "G3 | pT2"),
        ("CA-15", "CA - 15"),
        ("HER2+", "HER2 +"),
        ("8mg", "8 mg"),
        ("TC5.0mmol/L", "TC 5.0 mmol / L"),
        ("LDL12,55", "LDL 12,55"),
        ("T2N1M0", "T2 N1 M0"),
        ("pT3aN0M1b", "pT3a N0 M1b"),
        ("87x66mm", "87 x 66 mm"),
        ("metastásico12", "metastásico 12"),
        ("1.234,5 ml", "1.234,5 ml"),
        ("口服二甲双胍0.5g", "口 服 二 甲 双 胍 0.5 g"),
        ("患者HbA1c为8.5%", "患 者 HbA1c 为 8.5 %"),
        ("col\u0301ico", "col\u0301ico"),
    ],
)
def test_nothing_is_glued_to_its_neighbour(text, tokens):
    assert [token.text for token in NLP(text)] == tokens.split(" ")


ALPHABET = st.one_of(st.characters(exclude_categories=["Cs"]), st.sampled_from(" \t\r\n\ufeffx2T.中"))


@settings(max_examples=300, deadline=None)
@given(st.text(alphabet=ALPHABET, max_size=40))
def test_text_and_offsets_are_kept(text):
    doc = NLP(text)
    assert doc.text == text
    offsets = token_offsets(text)
    assert [start for start, _ in offsets] == [0, *(end for _, end in offsets)][: len(offsets)]
    bounds = {offset for pair in offsets for offset in pair}
    assert all({token.idx, token.idx + len(token)} <= bounds for token in doc)


def test_every_language_shares_it():
    for lang in ("es", "en", "zh"):
        nlp = blank_pipeline(lang)
        assert nlp.lang == lang
        assert [t.text for t in nlp("8mg 片")] == ["8", "mg", "片"]


def test_round_trips(tmp_path):
    nlp = blank_pipeline("es")
    nlp.to_disk(tmp_path)
    text = "G3|pT2"
    for other in (
        spacy.load(tmp_path),
        blank_pipeline("es").from_bytes(nlp.to_bytes()),
        pickle.loads(pickle.dumps(nlp)),
    ):
        assert isinstance(other.tokenizer, ClinicalTokenizer)
        assert [t.text for t in other(text)] == ["G3", "|", "pT2"]


def test_another_tokenizers_settings_are_refused(tmp_path):
    with pytest.raises(ValueError, match="ClinicalTokenizer"):
        NLP.tokenizer.from_bytes(b'{"tokenizer": "other"}')


def test_explain_names_the_tokens_but_white_space():
    text = "HER2+  8mg\n pT3a, 肿瘤"
    explained = NLP.tokenizer.explain(text)
    assert [token for _, token in explained] == [token.text for token in NLP(text) if not token.is_space]
    kinds = ["CODE", "SIGN", "NUMBER", "WORD", "CODE", "SIGN", "WORD", "WORD"]
    assert [kind for kind, _ in explained] == kinds


def test_special_cases_are_refused_with_the_way():
    with pytest.raises(NotImplementedError, match=r"doc\.retokenize.*spacy\.Tokenizer\.v1"):
        NLP.tokenizer.add_special_case("CA-15", [{"ORTH": "CA-15"}])
