import pickle
import random

import pytest
from spacy.tokens import Doc
from spacy.training import Example
from spacy.util import registry

from spacy_clinical_ner.tagging.calibration import CalibrationSet
from spacy_clinical_ner.tagging.views import to_tokens, to_words
from spacy_clinical_ner.tokenization import blank_pipeline
from tests.tagging.pipelines import crf_pipeline, ents, make_docs, make_examples, model_config, train

VOCAB = blank_pipeline("es").vocab
NUMBERS = {"@misc": "spacy-clinical-ner.NumbersAs.v1"}
PUNCTUATION = {"@misc": "spacy-clinical-ner.WithoutPunctuation.v1"}
ONE_WORD = {"@misc": "spacy-clinical-ner.WithoutOneWordSentences.v1"}


def view_config(**steps):
    return {"@misc": "spacy-clinical-ner.View.v1", "*": steps}


def view_of(words, **steps):
    return registry.resolve({"view": view_config(**steps)})["view"](Doc(VOCAB, words=words))


def test_without_steps_everything_is_seen():
    view = view_of(["Dolor", ".", "Tos", "\n", "y", "fiebre"])
    assert view.words == ["Dolor", ".", "Tos", "\n", "y", "fiebre"]
    assert view.tokens.tolist() == [0, 1, 2, 3, 4, 5]
    assert view.sentences.tolist() == [0, 0, 1, 1, 2, 2]
    assert view_of([]).words == []


def test_numbers_are_one_word():
    view = view_of(["T2", "de", "3,5", "-4", "1.200", "mm", "G3", "10"], numbers=NUMBERS)
    assert view.words == ["T2", "de", "Cifra", "Cifra", "Cifra", "mm", "G3", "Cifra"]
    assert view.tokens.tolist() == list(range(8))


def test_punctuation_is_left_out_but_for_what_is_kept():
    words = ["T2", "(", "50", "%", ")", "-", "+", "。", "…", "\n"]
    assert view_of(words, punctuation=PUNCTUATION).words == ["T2", "50", "+", "\n"]
    view = view_of(words, punctuation={**PUNCTUATION, "keep": "%-"})
    assert view.words == ["T2", "50", "%", "-", "+", "\n"]
    assert view.tokens.tolist() == [0, 2, 3, 5, 6, 9]


def test_sentences_of_one_word_are_left_out():
    words = ["Dolor", ".", "Sin", "fiebre", ".", "Alta", "."]
    view = view_of(words, a=PUNCTUATION, b=ONE_WORD)
    assert view.words == ["Sin", "fiebre"]
    assert view.tokens.tolist() == [2, 3]
    assert view_of([".", "."], a=PUNCTUATION, b=ONE_WORD).words == []


def test_sentences_end_at_the_chinese_full_stop_only():
    words = ["头", "痛", "\n", "3", "天", "。", "咳", "！", "嗽", "。"]
    step = {"@misc": "spacy-clinical-ner.SentencesAt.v1", "signs": ["。"]}
    assert view_of(words, stop=step).sentences.tolist() == [0] * 6 + [1] * 4


def test_offsets_come_back_whatever_is_left_out():
    rng = random.Random(0)
    for _ in range(200):
        words = rng.choices(["a", "b", ".", ",", "3", "\n"], k=rng.randint(1, 12))
        view = view_of(words, a=PUNCTUATION)
        start = rng.randrange(len(words))
        end = rng.randint(start + 1, len(words))
        first, last = to_words(view, start, end)
        inside = [i for i in range(start, end) if words[i] not in ".,"]
        assert view.tokens[first:last].tolist() == inside
        if inside:
            assert to_tokens(view, first, last) == (inside[0], inside[-1] + 1)


def test_a_component_with_a_view_learns_and_writes_tokens_of_the_note(monkeypatch):
    """Commas stand inside, before and behind mentions; the component never sees one."""
    nlp = crf_pipeline(view=view_config(a=NUMBERS, b=PUNCTUATION), model=model_config(window=16, context=0, pack=False))
    rng = random.Random(0)
    docs = []
    for plain in make_docs(nlp, 10):
        words, tags = [], []
        for token in plain:
            words.append(token.text)
            tags.append(f"{token.ent_iob_}-{token.ent_type_}" if token.ent_type_ else "O")
            following = plain[token.i + 1].ent_iob_ if token.i + 1 < len(plain) else "O"
            if rng.random() < 0.4:
                words.append(",")
                tags.append(f"I-{token.ent_type_}" if following == "I" else "O")
        docs.append(Doc(nlp.vocab, words=words, ents=tags))
    assert any(token.text == "," and token.ent_iob_ == "I" for doc in docs for token in doc)
    examples = make_examples(nlp, docs)
    train(nlp, examples)
    seen = []
    pipe = nlp.get_pipe("crf_ner")
    tok2vec = pipe.model.layers[0]
    inner = tok2vec._func

    def spy(model, given, is_train):
        seen.extend(given)
        return inner(model, given, is_train)

    monkeypatch.setattr(tok2vec, "_func", spy)
    for doc, predicted in zip(docs, nlp.pipe(Doc(nlp.vocab, words=[t.text for t in doc]) for doc in docs)):
        assert ents(predicted) == ents(doc)
        assert all(0 < span._.confidence <= 1 for span in predicted.ents)
        assert predicted.text == Doc(nlp.vocab, words=[t.text for t in doc]).text
    monkeypatch.undo()
    assert seen and not any(token.text == "," for doc in seen for token in doc)

    again = pickle.loads(pickle.dumps(nlp))
    fresh = crf_pipeline(view=view_config(a=NUMBERS, b=PUNCTUATION), model=model_config(pack=False))
    fresh.from_bytes(nlp.to_bytes())
    words = [token.text for token in docs[0]]
    for other in (again, fresh):
        assert ents(other(Doc(other.vocab, words=words))) == ents(docs[0])
    confidence, correct = CalibrationSet(pipe, make_examples(nlp, docs)).outcomes(1.0)
    assert len(confidence) == sum(len(doc.ents) for doc in docs)
    assert all(correct)


@pytest.mark.parametrize("words", [[], ["."], ["\n"], [".", ","], ["a", "."]])
def test_notes_of_which_little_is_seen(words):
    nlp = crf_pipeline(view=view_config(a=PUNCTUATION, b=ONE_WORD))
    train(nlp, make_examples(nlp, make_docs(nlp, 4)), steps=2)
    doc = nlp(Doc(nlp.vocab, words=words))
    assert len(doc) == len(words)
    losses = {}
    reference = Doc(nlp.vocab, words=words, ents=["O"] * len(words))
    nlp.update([Example(Doc(nlp.vocab, words=words), reference)], losses=losses)
    assert losses["crf_ner"] >= 0


def test_a_mention_of_which_nothing_is_seen_teaches_no_mention():
    nlp = crf_pipeline(view=view_config(a=PUNCTUATION))
    docs = make_docs(nlp, 4)
    odd = Doc(nlp.vocab, words=["tos", ".", ",", "leve"], ents=["O", "B-SITE", "I-SITE", "O"])
    train(nlp, make_examples(nlp, [*docs, odd]))
    assert ents(nlp(Doc(nlp.vocab, words=["tos", ".", ",", "leve"]))) == []


def test_label_attention_has_nothing_for_what_is_not_seen():
    config = {
        "@architectures": "spacy-clinical-ner.LabelAttentionTagger.v1",
        "tok2vec": model_config()["tok2vec"],
        "hidden_width": 10,
        "heads": 2,
    }
    nlp = crf_pipeline(
        factory="label_attention_ner", model=config, store_attention=True, view=view_config(a=PUNCTUATION)
    )
    train(nlp, make_examples(nlp, make_docs(nlp, 4)), steps=1)
    weights = nlp(Doc(nlp.vocab, words=["tos", ".", "leve", ","]))._.label_attention.weights
    assert weights.shape[2] == 4
    assert not weights[:, :, [1, 3]].any()
    assert weights[:, :, [0, 2]].sum(-1) == pytest.approx(1.0)


def test_a_view_and_a_listener_are_refused():
    listener = {"@architectures": "spacy.Tok2VecListener.v1", "width": 32}
    nlp = crf_pipeline(view=view_config(a=PUNCTUATION), model=model_config(tok2vec=listener))
    with pytest.raises(ValueError, match="a view needs a tok2vec of its own"):
        nlp.get_pipe("crf_ner").initialize(lambda: make_examples(nlp, make_docs(nlp, 2)), nlp=nlp)
