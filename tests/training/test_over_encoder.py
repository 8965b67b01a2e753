"""Configs over an encoder; that they train is tested in tests/test_configs.py."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from spacy.util import load_config, walk_dict
from thinc.api import Config

from spacy_clinical_ner.errors import ClinicalNerError, InputError
from spacy_clinical_ner.training.over_encoder import encoder_config, put_over_encoder
from spacy_clinical_ner.training.workflow import prepare_config

CONFIGS = Path(__file__).parents[2] / "configs"
SPANS = ("components", "transformer", "model", "get_spans")


@pytest.fixture()
def encoder(tmp_path: Path):
    """Writes the config of an encoder and gives its folder."""

    def write(**known: object) -> str:
        (tmp_path / "config.json").write_text(json.dumps(known), encoding="utf8")
        return str(tmp_path)

    return write


def changes(name: str, encoder: str) -> dict:
    """The values that are not as they were, by path."""
    config = load_config(CONFIGS / f"{name}.cfg")
    before = {tuple(path): value for path, value in walk_dict(config)}
    put_over_encoder(config, encoder)
    return {tuple(path): value for path, value in walk_dict(config) if before.get(tuple(path), "") != value}


def test_windows_and_rate_fit_an_encoder_of_ones_own(encoder) -> None:
    folder = encoder(max_position_embeddings=128, hidden_size=256, num_hidden_layers=4)
    assert changes("cantemist_trf", folder) == {
        ("paths", "encoder"): folder,
        (*SPANS, "window"): 128,
        (*SPANS, "overlap"): 32,
        ("components", "transformer", "model", "rate"): 0.5,
        ("training", "accumulate_gradient"): 1,
        ("training", "max_steps"): 1500,
        ("training", "batcher", "size"): 2500,
        ("training", "optimizer", "learn_rate", "warmup_steps"): 150,
        ("training", "optimizer", "learn_rate", "initial_rate"): 0.001,
    }


def test_a_config_fits_the_encoders_that_it_was_made_for(encoder) -> None:
    folder = encoder(max_position_embeddings=514, hidden_size=768, num_hidden_layers=12)
    assert changes("cantemist_trf", folder) == {("paths", "encoder"): folder}
    folder = encoder(max_position_embeddings=512, hidden_size=384, num_hidden_layers=12)
    assert changes("cantemist_pretrained", folder) == {("paths", "encoder"): folder}


def test_most_layers_of_a_deep_and_narrow_encoder_are_frozen(encoder) -> None:
    folder = encoder(max_position_embeddings=512, hidden_size=384, num_hidden_layers=12)
    for name in ("cantemist_trf", "maccrobat"):
        changed = changes(name, folder)
        assert changed["components", "transformer", "model", "freeze_layers"] == 8
        assert changed["training", "batcher", "size"] == 1000
        assert changed["training", "optimizer", "learn_rate", "warmup_steps"] == 80


def test_an_encoder_with_few_positions_gets_short_windows(encoder) -> None:
    changed = changes("maccrobat", encoder(max_position_embeddings=64, hidden_size=384, num_hidden_layers=12))
    assert (changed[(*SPANS, "window")], changed[(*SPANS, "overlap")]) == (64, 16)


def test_members_do_not_share_an_encoder(encoder) -> None:
    path = ("components", "relation_classifier", "model", "members")
    assert changes("maccrobat_relations", encoder(num_hidden_layers=12))[path] == 1


def test_what_is_no_encoder_is_said_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"config\.json: no such file"):
        encoder_config(str(tmp_path))
    (tmp_path / "config.json").write_text("no json", encoding="utf8")
    with pytest.raises(InputError, match=r"config\.json: not the config"):
        encoder_config(str(tmp_path))
    with pytest.raises(InputError, match="no such folder"):
        encoder_config(str(tmp_path / "none"))


def test_a_name_is_looked_up_on_the_hub(monkeypatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    asked = []

    def fetch(name: str, **settings: object) -> None:
        asked.append((name, settings))
        raise OSError("no such repository")

    monkeypatch.setattr("spacy_clinical_ner.transformers.loading.AutoConfig.from_pretrained", fetch)
    with pytest.raises(ClinicalNerError, match="encoder 'some/encoder' is no folder with one and cannot be fetched"):
        encoder_config("some/encoder")
    assert asked == [("some/encoder", {"local_files_only": False})]


@pytest.mark.parametrize(
    ("config", "reason"),
    [
        ({"nlp": {"lang": "es"}}, r"needs a config with \[nlp\], \[components\] and \[training\]"),
        ({"nlp": {}, "components": {"tok2vec": {"factory": "tok2vec"}}, "training": {}}, "none of the components"),
        (
            {"nlp": {"lang": "es", "pipeline": ["crf_ner"]}, "components": {"crf_ner": {}}, "training": {}},
            "the config makes no pipeline",
        ),
    ],
)
def test_a_config_that_is_none_is_refused(encoder, config: dict, reason: str) -> None:
    with pytest.raises(ClinicalNerError, match=reason):
        put_over_encoder(Config(config), encoder(num_hidden_layers=12))


def test_the_config_as_it_ran_is_left_beside_the_pipeline(encoder, tmp_path: Path) -> None:
    made = prepare_config(CONFIGS / "maccrobat.cfg", tmp_path / "out", encoder(num_hidden_layers=12))
    written = load_config(made)
    assert made == tmp_path / "out" / "train.cfg"
    assert written["paths"]["encoder"] == str(tmp_path)
    assert written["components"]["transformer"]["model"]["name"] == "${paths.encoder}"
    assert "transformer" not in load_config(prepare_config(CONFIGS / "maccrobat.cfg", tmp_path / "out"))["components"]
