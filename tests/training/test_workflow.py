from __future__ import annotations

from pathlib import Path

import pytest
from spacy.tokens import DocBin

from spacy_clinical_ner.errors import ClinicalNerError, InputError
from spacy_clinical_ner.evaluation.report.training import read_training
from spacy_clinical_ner.tokenization import blank_pipeline
from spacy_clinical_ner.training.workflow import (
    is_small,
    parse_overrides,
    train_pipeline,
    uses_vectors,
)

CONFIG = """
[paths]
train = null
dev = null
vectors = null

[system]
seed = 0
gpu_allocator = null

[nlp]
lang = "es"
pipeline = ["tok2vec"]

[components]

[components.tok2vec]
factory = "tok2vec"

[components.tok2vec.model]
@architectures = "spacy.HashEmbedCNN.v2"
width = 8
depth = 1
embed_size = 50
window_size = 1
maxout_pieces = 2
subword_features = true
pretrained_vectors = null

[corpora]

[corpora.train]
@readers = "spacy.Corpus.v1"
path = ${paths.train}

[corpora.dev]
@readers = "spacy.Corpus.v1"
path = ${paths.dev}

[training]
seed = ${system.seed}
gpu_allocator = ${system.gpu_allocator}
train_corpus = "corpora.train"
dev_corpus = "corpora.dev"
max_epochs = 1
eval_frequency = 1

[training.score_weights]
speed = 1.0
"""


def test_overrides_are_json_where_they_can_be() -> None:
    assert parse_overrides("training.max_epochs=3 a.b='two words' nlp.x=true") == {
        "training.max_epochs": 3,
        "a.b": "two words",
        "nlp.x": True,
    }
    assert parse_overrides("") == {}


@pytest.mark.parametrize("text", ["training.max_epochs", "patience=3"])
def test_malformed_override_is_named(text: str) -> None:
    with pytest.raises(ClinicalNerError, match=text):
        parse_overrides(text)


@pytest.mark.parametrize("wanted", [True, False])
def test_vectors_are_used_only_where_a_component_takes_them(tmp_path: Path, wanted: bool) -> None:
    path = tmp_path / "c.cfg"
    path.write_text(
        '[components]\n[components.x]\nfactory = "x"\n[components.x.model]\n'
        f"include_static_vectors = {str(wanted).lower()}\n",
        encoding="utf8",
    )
    assert uses_vectors(path) is wanted


def test_missing_config_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such config"):
        uses_vectors(tmp_path / "none.cfg")


@pytest.fixture()
def data(tmp_path: Path) -> Path:
    nlp = blank_pipeline("es")
    for part in ("train", "dev"):
        DocBin(docs=[nlp("Fiebre y tos.")] * 2).to_disk(tmp_path / f"{part}.spacy")
    return tmp_path


def write_config(folder: Path) -> Path:
    path = folder / "tiny.cfg"
    path.write_text(CONFIG, encoding="utf8")
    return path


def test_trains_with_the_paths_of_the_workflow(data: Path, capsys: pytest.CaptureFixture) -> None:
    (data / "train.audit.json").write_text('{"lines": {}, "mentions": {}, "files": {}}')
    best = train_pipeline(write_config(data), data, data / "out", {"system.seed": 3})
    left = read_training(data / "out")
    assert left["updates"] and "torch" in left["versions"] and left["audits"].keys() == {"train.audit.json"}
    config = (best / "config.cfg").read_text(encoding="utf8")
    assert "seed = 3" in config
    assert best == data / "out" / "model-best"
    printed = capsys.readouterr().out
    assert "spacy train" in printed
    assert "--system.seed 3" in printed


@pytest.mark.parametrize(("kilobytes", "small"), [(2, False), (3, True)])
def test_small_is_measured_in_text(tmp_path: Path, kilobytes: int, small: bool) -> None:
    (tmp_path / "deep").mkdir()
    for name in ("a.txt", "deep/b.txt", "a.ann"):
        (tmp_path / name).write_bytes(b"x" * 1000)
    assert is_small(tmp_path, kilobytes) is small
