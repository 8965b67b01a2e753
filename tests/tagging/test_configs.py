"""The configs that come with the project can be built, and say the same where they should."""

from pathlib import Path

import pytest
from spacy.util import load_config, load_model_from_config

ROOT = Path(__file__).parents[2]
CONFIGS = sorted((ROOT / "configs").glob("*.cfg"))


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_builds_as_it_stands(path):
    config = load_config(path, overrides={"paths.train": "train.spacy", "paths.dev": "dev.spacy"})
    assert load_model_from_config(config, auto_fill=True, validate=True).pipe_names == config["nlp"]["pipeline"]


def test_label_attention_is_trained_as_the_crf_is():
    one, two = (load_config(ROOT / "configs" / f"cantemist{name}.cfg") for name in ("", "_label_attention"))
    for section in ("paths", "corpora", "training", "initialize"):
        assert one[section] == two[section]
    model, other = one["components"]["crf_ner"]["model"], two["components"]["label_attention_ner"]["model"]
    for setting in ("tok2vec", "scheme", "window", "context", "dropout"):
        assert model[setting] == other[setting]
    assert (other["hidden_width"], other["layers"], other["heads"], other["decoder"]) == (200, 2, 5, "softmax")
