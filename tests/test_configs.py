"""Every config in configs/ is complete: its names resolve, it trains on the sample, and it gives a pipeline."""

from __future__ import annotations

from itertools import islice
from pathlib import Path

import pytest
import spacy
from spacy.language import Language
from spacy.schemas import ConfigSchemaTraining
from spacy.training.initialize import init_nlp
from spacy.util import load_config, load_model_from_config, registry, resolve_dot_names, set_dot_to_object, walk_dict
from thinc.api import Config

from spacy_clinical_ner.brat.ccks import import_records
from spacy_clinical_ner.joint.joint_architectures import network
from spacy_clinical_ner.training.over_encoder import put_over_encoder

ROOT = Path(__file__).parents[1]
CONFIGS = ROOT / "configs"
SAMPLE = ROOT / "assets/sample"
TRAINED = {
    "cantemist": "cantemist",
    "cantemist_label_attention": "cantemist",
    "maccrobat": "maccrobat",
    "maccrobat_charcnn": "maccrobat",
    "diabetes_zh": "diabetes",
    "diabetes_zh_trf": "diabetes",
    "coronary": "coronary",
    "cantemist_trf": "cantemist",
    "cantemist_trf_words": "cantemist",
    "maccrobat_trf": "maccrobat",
    "maccrobat_minilm": "maccrobat",
    "maccrobat_relations": "maccrobat",
    "ccks2019_idcnn": "ccks2019",
    "ccks2019_idcnn_mha": "ccks2019",
}
NEED_ENCODER = {name for name in TRAINED if name.endswith(("_trf", "_trf_words", "_minilm"))}


def filled(name: str) -> Config:
    """The config as `spacy train` completes it, from what spaCy and the factories say."""
    config = load_config(CONFIGS / f"{name}.cfg")
    if "encoder" in config["paths"]:
        config["paths"]["encoder"] = "not loaded before initialization"
    return load_model_from_config(config, auto_fill=True, validate=False).config


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny BERT in place of the encoders of the configs."""
    from transformers import BertConfig, BertModel, BertTokenizerFast

    folder = tmp_path_factory.mktemp("encoder")
    characters = sorted({c for path in SAMPLE.glob("*/dev/*.txt") for c in path.read_text("utf8") if c.strip()})
    vocabulary = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *characters]
    (folder / "vocab.txt").write_text("\n".join(vocabulary), encoding="utf8")
    BertTokenizerFast(vocab_file=str(folder / "vocab.txt")).save_pretrained(folder)
    sizes = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 16}
    BertModel(BertConfig(vocab_size=len(vocabulary), **sizes)).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def corpora(tmp_path_factory: pytest.TempPathFactory) -> dict:
    records = tmp_path_factory.mktemp("ccks2019") / "dev"
    import_records([SAMPLE / "ccks2019/dev.json"], records)
    others = ("cantemist", "maccrobat", "diabetes", "coronary")
    return {"ccks2019": records, **{name: SAMPLE / name / "dev" for name in others}}


def on_the_sample(name: str, corpora: dict, **paths: str) -> Config:
    corpus = str(corpora[TRAINED[name]])
    overrides = {"paths.train": corpus, "paths.dev": corpus, "corpora.train.limit": 3, "corpora.dev.limit": 2}
    overrides |= {"system.gpu_allocator": None, **{f"paths.{key}": value for key, value in paths.items()}}
    return load_config(CONFIGS / f"{name}.cfg", overrides=overrides)


@pytest.mark.parametrize("name", TRAINED)
def test_config_trains_on_the_sample(name: str, corpora: dict, request, tmp_path: Path) -> None:
    encoder = {"encoder": str(request.getfixturevalue("encoder"))} if name in NEED_ENCODER else {}
    trains(on_the_sample(name, corpora, **encoder), tmp_path)


@pytest.mark.parametrize(
    "name",
    ["cantemist_label_attention", "maccrobat_charcnn", "maccrobat_relations", "ccks2019_idcnn_mha", "coronary"],
)
def test_any_config_trains_over_an_encoder(name: str, corpora: dict, encoder: Path, tmp_path: Path) -> None:
    config = on_the_sample(name, corpora)
    put_over_encoder(config, str(encoder))
    nlp = trains(config.copy(), tmp_path)
    width = 16  # of the encoder
    if "joint_extractor" in nlp.pipe_names:
        assert network(nlp.get_pipe("joint_extractor").model).encoder.model.config.hidden_size == width
        return
    assert nlp.pipe_names[0] == "transformer" and nlp.pipe_names[-1] == "trf_data_cleaner"
    reader = nlp.get_pipe(nlp.pipe_names[1]).model.get_ref("tok2vec")
    alone = trains(on_the_sample(name, corpora), tmp_path / "alone")
    own = alone.get_pipe(nlp.pipe_names[1]).model.get_ref("tok2vec")
    assert reader.predict([nlp("Fever")])[0].shape[1] == own.predict([alone("Fever")])[0].shape[1] + width


def trains(config: Config, tmp_path: Path) -> Language:
    """An update, a look at the development notes, and a pipeline that was saved and loaded."""
    (component,) = [pipe for pipe in config["nlp"]["pipeline"] if pipe.endswith(("_ner", "_extractor", "_classifier"))]
    if "vectors" in config["paths"]:
        config["initialize"] = {"vectors": None}
        for path, value in walk_dict(config["components"]):
            if path[-1] == "include_static_vectors" and value:
                set_dot_to_object(config["components"], ".".join(path), False)
    nlp = init_nlp(config)
    filled = nlp.config.interpolate()
    training = registry.resolve(filled["training"], schema=ConfigSchemaTraining)
    train, dev = resolve_dot_names(filled, [training["train_corpus"], training["dev_corpus"]])
    losses: dict = {}
    examples = list(train(nlp))
    training["optimizer"].learn_rate = 0.001
    for batch in islice(training["batcher"](examples), 1):
        nlp.update(batch, sgd=training["optimizer"], losses=losses)
    assert losses[component] > 0
    assert ("rel_micro_f" if component.startswith("relation") else "ents_f") in nlp.evaluate(list(dev(nlp)))
    nlp.to_disk(tmp_path)
    loaded = spacy.load(tmp_path)
    assert loaded("").text == ""
    return loaded


@pytest.mark.parametrize("path", sorted(CONFIGS.glob("*.cfg")), ids=lambda path: path.stem)
def test_config_says_what_it_is_and_how_to_run_it(path: Path) -> None:
    text = path.read_text(encoding="utf8")
    assert text.startswith("# ")
    assert f"configs/{path.name}" in text.partition("\n[")[0]
    assert "/tmp" not in text


def test_comparison_of_ccks2019_differs_in_its_encoder_alone() -> None:
    configs = {name: load_config(CONFIGS / f"{name}.cfg") for name in TRAINED if name.startswith("ccks2019")}
    for config in configs.values():
        del config["components"]["crf_ner"]["model"]["encoder"]
    first, *others = configs.values()
    assert all(other == first for other in others)


def test_label_attention_is_trained_as_the_crf_is() -> None:
    one, two = (filled(f"cantemist{name}") for name in ("", "_label_attention"))
    for section in ("paths", "corpora", "training", "initialize"):
        assert one[section] == two[section]
    model, other = one["components"]["crf_ner"]["model"], two["components"]["label_attention_ner"]["model"]
    for setting in ("tok2vec", "scheme", "window", "context", "dropout"):
        assert model[setting] == other[setting]
    assert (other["hidden_width"], other["layers"], other["heads"], other["decoder"]) == (200, 2, 5, "softmax")


def test_encoder_and_word_vectors_side_by_side_are_those_of_the_configs_with_one_of_them() -> None:
    both, trf, words = (filled(f"cantemist{name}") for name in ("_trf_words", "_trf", ""))
    for section in ("corpora", "nlp"):
        assert both[section] == trf[section]
    assert both["initialize"] == words["initialize"]
    models = [config["components"]["crf_ner"]["model"] for config in (both, trf, words)]
    parts = models[0]["tok2vec"]["*"]
    assert (parts["transformer"], parts["words"]) == (models[1]["tok2vec"], models[2]["tok2vec"])
    assert models[0]["encoder"] == models[2]["encoder"]


def test_configs_over_transformers_share_their_style() -> None:
    configs = [filled(path.stem) for path in sorted(CONFIGS.glob("*.cfg"))]
    over = [config for config in configs if "transformer" in config["components"]]
    assert len(over) >= 4
    for config in over:
        first, task, last = config["nlp"]["pipeline"]
        assert (first, last) == ("transformer", "trf_data_cleaner")
        assert task in ("crf_ner", "relation_classifier")
        model = config["components"]["transformer"]["model"]
        assert model["@architectures"] == "spacy-clinical-ner.TransformerModel.v1"
        assert model["get_spans"]["@span_getters"] == "spacy-clinical-ner.WordPieceWindows.v1"
        assert model["name"] == config["training"]["batcher"]["tokenizer"] == "${paths.encoder}"
        assert model.keys() == over[0]["components"]["transformer"]["model"].keys()
        assert config["training"]["accumulate_gradient"] >= 1
