"""Taggers over spacy-transformers, with a tiny BERT that is made on the spot: no hub is needed."""

import numpy as np
import pytest
import spacy
from spacy.util import fix_random_seed

from spacy_clinical_ner.tokenization import blank_pipeline
from tests.tagging.pipelines import ents, label_attention_config, make_docs, make_examples, model_config, train

pytest.importorskip("spacy_transformers")


@pytest.fixture(scope="module")
def encoder(tmp_path_factory):
    from transformers import BertConfig, BertModel, BertTokenizerFast

    folder = tmp_path_factory.mktemp("encoder")
    words = sorted({token.text for doc in make_docs(blank_pipeline("es"), 30) for token in doc if not token.is_space})
    vocabulary = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *words]
    (folder / "vocab.txt").write_text("\n".join(vocabulary), encoding="utf8")
    BertTokenizerFast(vocab_file=str(folder / "vocab.txt"), strip_accents=False).save_pretrained(folder)
    fix_random_seed(0)
    sizes = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 64}
    BertModel(BertConfig(vocab_size=len(vocabulary), max_position_embeddings=128, **sizes)).save_pretrained(folder)
    return folder


@pytest.mark.parametrize(
    "factory, config", [("crf_ner", model_config), ("label_attention_ner", label_attention_config)]
)
def test_learns_through_a_transformer_and_round_trips(encoder, factory, config, tmp_path):
    fix_random_seed(0)
    nlp = blank_pipeline("es")
    model = {
        "@architectures": "spacy-transformers.TransformerModel.v3",
        "name": str(encoder),
        "get_spans": {"@span_getters": "spacy-transformers.strided_spans.v1", "window": 64, "stride": 48},
    }
    nlp.add_pipe("transformer", config={"model": model})
    listener = {
        "@architectures": "spacy-transformers.TransformerListener.v1",
        "pooling": {"@layers": "reduce_mean.v1"},
    }
    nlp.add_pipe(factory, config={"model": config(tok2vec=listener)})
    examples = make_examples(nlp, make_docs(nlp))
    nlp.initialize(lambda: examples)
    bert = nlp.get_pipe("transformer").model.transformer

    def embeddings():
        return bert.get_input_embeddings().weight.detach().clone().numpy()

    before = embeddings()
    train(nlp, examples, steps=80, learn_rate=0.005)
    assert not np.allclose(before, embeddings()), "the gradient must reach the encoder"
    assert nlp.evaluate(examples)["ents_f"] == 1.0
    nlp.to_disk(tmp_path)
    other = spacy.load(tmp_path)
    texts = [doc.text for doc in make_docs(nlp, 3, seed=2)] + ["", " "]
    assert [ents(doc) for doc in other.pipe(texts)] == [ents(nlp(text)) for text in texts]
