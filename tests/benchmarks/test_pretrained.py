import pytest
import torch
from transformers import AutoModel, BertConfig, BertModel

from benchmarks.results import markdown_table
from benchmarks.transformers.pretrained import SHAPE, WEIGHTS, contents, figures, random_twin, report
from spacy_clinical_ner.errors import ClinicalNerError
from tests.transformers.encoders import trained_tokenizer


@pytest.fixture
def encoder(tmp_path):
    tokenizer = trained_tokenizer("wordpiece")
    config = BertConfig(
        vocab_size=len(tokenizer), hidden_size=8, num_hidden_layers=1, num_attention_heads=2, intermediate_size=8
    )
    BertModel(config).save_pretrained(tmp_path / "encoder")
    tokenizer.save_pretrained(tmp_path / "encoder")
    return tmp_path / "encoder"


def test_the_twin_has_the_same_shape_and_vocabulary_and_always_the_same_other_weights(encoder, tmp_path):
    twins = [random_twin(encoder, tmp_path / name) for name in ("one", "two")]
    assert contents(twins[0], ("tokenizer.json", WEIGHTS)) == contents(twins[1], ("tokenizer.json", WEIGHTS))
    assert contents(twins[0], SHAPE)["tokenizer.json"] == contents(encoder, SHAPE)["tokenizer.json"]
    theirs, ours = (AutoModel.from_pretrained(folder).state_dict() for folder in (encoder, twins[0]))
    assert {name: value.shape for name, value in theirs.items()} == {name: value.shape for name, value in ours.items()}
    name = "embeddings.word_embeddings.weight"
    assert not torch.allclose(theirs[name], ours[name])


def test_a_folder_that_is_no_encoder_is_told(tmp_path):
    with pytest.raises(ClinicalNerError, match=r"config\.json: no such file"):
        contents(tmp_path, SHAPE)


def test_the_report_names_every_figure():
    def result(seed, f):
        return {"seed": seed, "scores": {"f": f, "ci_low": f - 0.01, "ci_high": f + 0.01}, "train_seconds": 90.0}

    outcome = {
        "results": {"random weights": [result(0, 0.61)], "pre-trained": [result(0, 0.72)]},
        "differences": {"random weights": [{"difference": 0.11, "ci_low": 0.09, "ci_high": 0.13}]},
        "against": {"f": 0.83, "ci_low": 0.82, "ci_high": 0.84},
    }
    for text in (report(outcome), markdown_table(figures(outcome))):
        assert all(each in text for each in ("0.6100", "0.7200", "0.8300", "+0.1100", "[+0.090, +0.130]"))
