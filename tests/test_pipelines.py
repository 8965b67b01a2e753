"""What is saved: none of the words that a pipeline has read, the same predictions, an optimizer that goes on."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import spacy
import srsly
from spacy.cli.train import train
from spacy.language import Language
from spacy.tokens import Doc, DocBin
from spacy.training import Example
from spacy.util import load_config, registry

from spacy_clinical_ner.pipelines import clean_folder, save_pipeline, self_contained, to_save
from spacy_clinical_ner.tokenization import blank_pipeline
from spacy_clinical_ner.training.spacy_train import saves_clean
from spacy_clinical_ner.training.workflow import train_pipeline
from tests.test_configs import CONFIGS, filled

# Words that stand in the notes and nowhere else: 20 names, as written, in lower case and in capitals.
NAMES = [f"Zan{first}que{second}lia" for first in "bcdfg" for second in "rstv"]
SENTINELS = [spelt for name in NAMES for spelt in (name, name.lower(), name.upper())]
TEXTS = [f"Ingresa {word} con fiebre alta ." for word in SENTINELS]

CONFIG = """
[paths]
train = null
dev = null

[nlp]
lang = "es"
pipeline = ["crf_ner"]

[nlp.tokenizer]
@tokenizers = "spacy-clinical-ner.ClinicalTokenizer.v1"

[components]

[components.crf_ner]
factory = "crf_ner"

[components.crf_ner.model]
@architectures = "spacy-clinical-ner.CrfTagger.v1"

[components.crf_ner.model.tok2vec]
@architectures = "spacy.MultiHashEmbed.v2"
width = 16
attrs = ["NORM", "PREFIX", "SUFFIX", "SHAPE"]
rows = [200, 50, 50, 50]
include_static_vectors = false

[components.crf_ner.model.encoder]
@architectures = "spacy-clinical-ner.BiLSTM.v1"
hidden_width = 16

[corpora]

[corpora.train]
@readers = "spacy-clinical-ner.BratCorpus.v1"
path = ${paths.train}

[corpora.dev]
@readers = "spacy-clinical-ner.BratCorpus.v1"
path = ${paths.dev}

[training]
seed = 0
gpu_allocator = null
max_steps = 6
eval_frequency = 3
%s
[training.optimizer]
@optimizers = "Adam.v1"

[training.optimizer.learn_rate]
@schedules = "warmup_linear.v1"
warmup_steps = 1
total_steps = ${training.max_steps}
initial_rate = 0.02
"""
CALLBACK = '\n[training.before_to_disk]\n@callbacks = "spacy-clinical-ner.CleanVocabulary.v1"\n'


@pytest.fixture(scope="module")
def notes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with train.spacy and dev.spacy, whose notes hold the sentinels."""
    data = tmp_path_factory.mktemp("data")
    examples = make_examples(blank_pipeline("es"))
    for part in ("train", "dev"):
        DocBin(docs=[example.reference for example in examples], store_user_data=True).to_disk(data / f"{part}.spacy")
    return data


def make_examples(nlp: Language) -> list[Example]:
    starts = [text.index("fiebre") for text in TEXTS]
    mentions = [{"entities": [(start, start + 6, "SYMPTOM")]} for start in starts]
    return [Example.from_dict(nlp.make_doc(text), each) for text, each in zip(TEXTS, mentions)]


def remembered(folder: Path) -> set[str]:
    contents = [path.read_bytes() for path in folder.rglob("*") if path.is_file()]
    assert contents
    return {word for word in SENTINELS if any(word.encode("utf8") in content for content in contents)}


def found(nlp: Language) -> list:
    docs = nlp.pipe(["Sale Zanbquerlia sin fiebre .", *TEXTS[:5]])
    return [(e.start, e.end, e.label_, e._.confidence) for doc in docs for e in doc.ents]


def trained() -> Language:
    nlp = blank_pipeline("es")
    nlp.add_pipe("crf_ner")
    examples = make_examples(nlp)[:30]
    optimizer = nlp.initialize(lambda: examples)
    for _ in range(15):
        nlp.update(examples, sgd=optimizer)
    list(nlp.pipe(TEXTS))
    return nlp


def test_saved_pipelines_forget_words_but_not_what_they_learnt(tmp_path: Path) -> None:
    nlp = trained()
    before = found(nlp)
    assert before
    nlp.to_disk(tmp_path / "plain")
    assert remembered(tmp_path / "plain") == set(SENTINELS)  # what this test would find
    save_pipeline(nlp, tmp_path / "clean")
    assert not remembered(tmp_path / "clean")
    assert found(spacy.load(tmp_path / "clean")) == before
    assert clean_folder(tmp_path / "plain")
    assert not remembered(tmp_path / "plain")
    assert found(spacy.load(tmp_path / "plain")) == before
    # The pipeline itself goes on with all it knows.
    assert all(word in nlp.vocab.strings for word in SENTINELS)
    assert found(nlp) == before


def test_labels_vectors_norms_and_meta_stay(tmp_path: Path) -> None:
    nlp = trained()
    nlp.vocab.set_vector("fiebre", np.array([1.0, 2.0, 3.0], dtype="float32"))
    save_pipeline(nlp, tmp_path)
    again = spacy.load(tmp_path)
    assert again.vocab["fiebre"].vector.tolist() == [1.0, 2.0, 3.0]
    assert "SYMPTOM" in again.vocab.strings
    for word in ("Fiebre", "él", "Zanbquerlia"):
        assert again.vocab[word].norm_ == nlp.vocab[word].norm_
    assert {key: again.meta[key] for key in ("lang", "labels", "vectors")} == {
        key: nlp.meta[key] for key in ("lang", "labels", "vectors")
    }


def test_components_that_may_spell_words_keep_theirs(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    @Language.component("speller_of_this_test")
    def spell(doc: Doc) -> Doc:
        return doc

    nlp = blank_pipeline("es")
    nlp.add_pipe("speller_of_this_test")
    nlp(TEXTS[0])
    save_pipeline(nlp, tmp_path)
    assert SENTINELS[0] in nlp.vocab.strings
    assert SENTINELS[0] in srsly.read_json(tmp_path / "vocab" / "strings.json")
    printed = " ".join(capsys.readouterr().out.split())
    assert "with the words of all notes" in printed and "speller_of_this_test" in printed
    assert not any(word in printed for word in SENTINELS)
    before = (tmp_path / "vocab" / "strings.json").read_bytes()
    assert not clean_folder(tmp_path)
    assert (tmp_path / "vocab" / "strings.json").read_bytes() == before


def test_entity_ruler_knows_its_own_words_again(tmp_path: Path) -> None:
    nlp = blank_pipeline("es")
    ruler = nlp.add_pipe("entity_ruler", config={"phrase_matcher_attr": "LOWER"})
    ruler.add_patterns([{"label": "SYMPTOM", "pattern": "Fiebre alta"}])  # type: ignore[attr-defined]
    list(nlp.pipe(TEXTS))
    save_pipeline(nlp, tmp_path)
    assert not remembered(tmp_path)
    assert [e.text for e in spacy.load(tmp_path)(TEXTS[0]).ents] == ["fiebre alta"]


@pytest.mark.parametrize("callback", [CALLBACK, ""], ids=["spacy train", "workflow"])
def test_training_leaves_clean_pipelines_that_can_go_on(callback: str, notes: Path, tmp_path: Path) -> None:
    """Plain `spacy train` with the callback; without it, our workflow."""
    config = tmp_path / "train.cfg"
    config.write_text(CONFIG % callback, encoding="utf8")
    assert saves_clean(load_config(config)) == bool(callback)
    if callback:
        paths = {f"paths.{part}": str(notes / f"{part}.spacy") for part in ("train", "dev")}
        train(config, tmp_path / "out", overrides={**paths, "training.max_steps": 7})
    else:
        train_pipeline(config, notes, tmp_path / "out", {"training.max_steps": 7})
    for saved in ("model-best", "model-last"):
        assert not remembered(tmp_path / "out" / saved)
        nlp = spacy.load(tmp_path / "out" / saved)
        assert nlp.config["training"]["optimizer"]["learn_rate"]["total_steps"] == 7
        assert nlp.config["corpora"]["train"]["path"] == "${paths.train}"  # the rest stays as it was
        assert nlp.resume_training() is not None
        assert nlp.create_optimizer() is not None
        example = Example.from_dict(nlp.make_doc("con fiebre"), {"entities": [(4, 10, "SYMPTOM")]})
        assert nlp.update([example])["crf_ner"] > 0


def test_training_is_the_same_with_the_callback(notes: Path, tmp_path: Path) -> None:
    weights = []
    for name, callback in (("with", CALLBACK), ("without", "")):
        config = tmp_path / f"{name}.cfg"
        config.write_text(CONFIG % callback, encoding="utf8")
        paths = {f"paths.{part}": str(notes / f"{part}.spacy") for part in ("train", "dev")}
        train(config, tmp_path / name, overrides=paths)
        weights.append((tmp_path / name / "model-last" / "crf_ner" / "model").read_bytes())
    assert weights[0] == weights[1]


def test_another_callback_comes_first(tmp_path: Path) -> None:
    called = []

    def first(nlp: Language) -> Language:
        called.append(nlp)
        return nlp

    nlp = blank_pipeline("es")
    nlp(TEXTS[0])
    make = registry.callbacks.get("spacy-clinical-ner.CleanVocabulary.v1")
    make(first)(nlp).to_disk(tmp_path)
    assert called == [nlp]
    assert not remembered(tmp_path)


@registry.callbacks("tests.NoteInMeta.v1")
def make_note_in_meta():
    def note(nlp: Language) -> Language:
        nlp.meta["noted"] = True
        return nlp

    return note


def test_a_workflow_keeps_the_callback_of_the_config(notes: Path, tmp_path: Path) -> None:
    config = tmp_path / "train.cfg"
    config.write_text(CONFIG % CALLBACK.replace("spacy-clinical-ner.CleanVocabulary", "tests.NoteInMeta"), "utf8")
    best = train_pipeline(config, notes, tmp_path / "out", {"training.max_steps": 7})
    assert not remembered(best)
    assert spacy.load(best).meta["noted"]


@pytest.mark.parametrize("path", sorted(CONFIGS.glob("*.cfg")), ids=lambda path: path.stem)
def test_every_config_gives_pipelines_that_are_clean_and_can_be_trained_on(path: Path) -> None:
    config = filled(path.stem)
    optimizer = self_contained(config)["training"]["optimizer"]
    assert registry.resolve({"optimizer": optimizer})["optimizer"] is not None  # as nlp.create_optimizer does
    if "optimizer" in load_config(path).get("training", {}):
        assert saves_clean(load_config(path))
        steps = optimizer["learn_rate"].get("total_steps")
        assert steps in (None, config.interpolate()["training"]["max_steps"])


def test_to_save_leaves_the_config_of_the_pipeline() -> None:
    nlp = blank_pipeline("es")
    nlp.config["training"]["optimizer"]["learn_rate"] = {
        "@schedules": "warmup_linear.v1",
        "warmup_steps": 1,
        "total_steps": "${training.max_steps}",
        "initial_rate": 0.1,
    }
    saved = to_save(nlp)
    assert saved.config["training"]["optimizer"]["learn_rate"]["total_steps"] == 20000
    assert nlp.config["training"]["optimizer"]["learn_rate"]["total_steps"] == "${training.max_steps}"
    assert isinstance(saved, type(nlp)) and saved.pipe_names == nlp.pipe_names
