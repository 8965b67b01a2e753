"""Training once more on all notes: as many steps as asked for, nothing of the old weights, all of what was tuned."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any, Callable, List

import pytest
import spacy
from spacy.language import Language
from spacy.tokens import DocBin
from spacy.util import registry
from thinc.api import Config

from spacy_clinical_ner.brat import from_doc, write_document
from spacy_clinical_ner.errors import ClinicalNerError, InputError
from spacy_clinical_ner.training.refit import READER, copy_tuned, refit, refit_config, steps_of_same_passes
from tests.cli.commands import run_command
from tests.relations import pipelines as relations
from tests.tagging import pipelines as tagging

STEPS: List[int] = []


@registry.callbacks("test_refit.count_steps")
def count_steps() -> Callable[[Language, Any], None]:
    return lambda nlp, info: STEPS.append(info["step"])


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """old/: a frozen crf_ner and a relation_classifier with a tuned threshold; one.spacy and two/, notes to refit on.

    Only the notes of two/ have mentions of the type GRADE.
    """
    folder = tmp_path_factory.mktemp("refit")
    nlp = relations.relation_pipeline()
    nlp.add_pipe("crf_ner", first=True, config={"model": tagging.model_config()})
    docs = relations.make_docs(nlp, 24)
    for doc in docs[:12]:
        kept = [span for span in doc.ents if span.label_ != "GRADE"]
        doc.set_ents(kept)
        doc._.relations = [each for each in doc._.relations if each.head.label_ != "GRADE"]
    relations.train(nlp, relations.make_examples(docs[:12]), steps=20)
    nlp.get_pipe("relation_classifier").cfg["threshold"] = 0.123  # type: ignore[attr-defined]
    nlp.get_pipe("crf_ner").cfg["temperature"] = 1.5  # type: ignore[attr-defined]
    reader = {"@readers": READER, "path": "elsewhere", "gold_tokens": True, "gold_mentions": True}
    nlp.config["corpora"] = {"train": dict(reader), "dev": dict(reader)}
    nlp.config["training"].update(
        {
            "max_steps": 7,
            "patience": 1,
            "eval_frequency": 1,
            "frozen_components": ["crf_ner"],
            "before_update": {"@callbacks": "test_refit.count_steps"},
            "score_weights": {"rel_micro_f": 1.0},
        }
    )
    nlp.to_disk(folder / "old")
    DocBin(docs=docs[:12], store_user_data=True).to_disk(folder / "one.spacy")
    for number, doc in enumerate(docs[12:]):
        write_document(from_doc(doc), folder / "two" / f"{number}.txt")
    return folder


def test_all_notes_and_all_steps_with_the_thresholds_of_before(place: Path) -> None:
    STEPS.clear()
    old = spacy.load(place / "old")
    nlp = refit(str(place / "old"), [place / "one.spacy", place / "two"])
    assert list(range(8)) == STEPS  # spaCy counts from 0 to max_steps
    assert nlp.meta["refit"] == {"notes": 24, "updates": 8}
    assert nlp.meta["performance"] == {}
    pipe, tagger = nlp.get_pipe("relation_classifier"), nlp.get_pipe("crf_ner")
    assert "GRADE" not in old.get_pipe("relation_classifier").cfg["types"]  # type: ignore[attr-defined]
    assert "GRADE" in pipe.cfg["types"]  # type: ignore[attr-defined]
    assert pipe.cfg["threshold"] == 0.123  # type: ignore[attr-defined]
    assert tagger.cfg["temperature"] == 1.5  # type: ignore[attr-defined]
    texts = [doc.text for doc in relations.make_docs(nlp, 5, seed=9)]
    assert any(old(text).ents for text in texts)
    for text in texts:
        frozen = Language.pipe(old, [text], disable=["relation_classifier"])
        assert tagging.ents(next(iter(frozen))) == tagging.ents(nlp(text))


def test_the_same_seed_gives_the_same_pipeline(place: Path) -> None:
    one, other = (refit(str(place / "old"), [place / "two"], steps=3) for _ in range(2))
    assert one.meta["refit"]["updates"] == 4
    weights = one.get_pipe("relation_classifier").to_bytes()  # type: ignore[attr-defined]
    assert weights == other.get_pipe("relation_classifier").to_bytes()  # type: ignore[attr-defined]
    third = refit(str(place / "old"), [place / "two"], steps=3, seed=1)
    assert weights != third.get_pipe("relation_classifier").to_bytes()  # type: ignore[attr-defined]
    assert third.config.interpolate()["training"]["seed"] == third.config["system"]["seed"] == 1
    assert one.config["system"]["seed"] == 0


def test_epochs_may_end_it_before(place: Path, tmp_path: Path) -> None:
    nlp = spacy.load(place / "old")
    nlp.config["training"].update({"max_epochs": 2, "max_steps": 100})
    nlp.config["training"]["batcher"] = {"@batchers": "spacy.batch_by_sequence.v1", "size": 5}
    nlp.to_disk(tmp_path / "old")
    meta = refit(str(tmp_path / "old"), [place / "two"]).meta
    assert meta["refit"] == {"notes": 12, "updates": 6} and "updates" not in meta


def test_as_many_passes_over_more_notes(place: Path, tmp_path: Path) -> None:
    nlp = spacy.load(place / "old")
    nlp.config["corpora"]["train"]["path"] = str(place / "one.spacy")  # 12 notes, as two/ has
    nlp.config["training"]["max_steps"] = 3
    nlp.to_disk(tmp_path / "old")
    sources = [place / "one.spacy", place / "two"]
    assert refit(str(tmp_path / "old"), sources, same_passes=True).meta["refit"] == {"notes": 24, "updates": 7}
    nlp.config["corpora"]["train"]["limit"] = 4
    assert steps_of_same_passes(nlp.config, "old", 24) == 18
    nlp.config["corpora"]["train"].update({"path": [str(place / "two")], "limit": 0})
    assert steps_of_same_passes(nlp.config, "old", 18) == 5  # 4.5
    nlp.config["corpora"]["train"]["path"] = None
    with pytest.raises(ClinicalNerError, match="does not name the notes it was trained on: say --steps"):
        steps_of_same_passes(nlp.config, "old", 24)
    with pytest.raises(ClinicalNerError, match=r"cannot be counted: .*elsewhere"):
        refit(str(place / "old"), sources, same_passes=True)


def config(**training: Any) -> Config:
    readers = {part: {"@readers": READER, "path": "x", "limit": 3} for part in ("train", "dev")}
    settings = {"max_steps": 100, "patience": 5, "eval_frequency": 10, **training}
    return Config({"corpora": readers, "training": settings, "components": {"a": {"factory": "a"}}})


def test_the_config_stops_nowhere_and_that_of_before_is_left_alone() -> None:
    given = config(frozen_components=["a"])
    before = given.to_str()
    changed = refit_config(given, "old", ["notes"], None)
    assert given.to_str() == before
    assert changed["training"]["patience"] == 0
    assert changed["training"]["eval_frequency"] == changed["training"]["max_steps"] == 100
    assert changed["corpora"]["train"]["path"] == [str(Path("notes").resolve())]
    assert changed["corpora"]["train"]["limit"] == 0
    assert changed["components"]["a"] == {"source": "old"}


@pytest.mark.parametrize("saved", ["${training.max_steps}", "the number"])
def test_schedules_follow_the_number_of_steps(saved: str, place: Path) -> None:
    nlp = spacy.load(place / "old")
    total = nlp.config["training"]["max_steps"] if saved == "the number" else saved
    nlp.config["training"]["optimizer"]["learn_rate"] = {
        "@schedules": "warmup_linear.v1",
        "warmup_steps": 1,
        "initial_rate": 0.01,
        "total_steps": total,
    }
    changed = refit_config(Config(nlp.config), "old", [place / "two"], 55).interpolate()
    assert changed["training"]["optimizer"]["learn_rate"]["total_steps"] == 55


def test_what_cannot_be_refitted() -> None:
    with pytest.raises(ClinicalNerError, match=r"no training\.max_steps: say how many with --steps"):
        refit_config(config(max_steps=0), "old", ["notes"], None)
    other = config()
    other["corpora"]["dev"]["@readers"] = "spacy.Corpus.v1"
    with pytest.raises(ClinicalNerError, match=r"corpora\.dev of its config is not read by"):
        refit_config(other, "old", ["notes"], None)


def test_bad_notes_end_before_any_training(place: Path, tmp_path: Path) -> None:
    STEPS.clear()
    (tmp_path / "empty").mkdir()
    for notes in (tmp_path / "nowhere", tmp_path / "empty", tmp_path / "no.spacy"):
        with pytest.raises(InputError):
            refit(str(place / "old"), [place / "two", notes])
    assert not STEPS


def test_a_malformed_annotation_is_told_by_its_place(place: Path, tmp_path: Path) -> None:
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "a.txt").write_text("tumor", encoding="utf8")
    (tmp_path / "notes" / "a.ann").write_text("T1\tTUMOUR 0\ttumor\n", encoding="utf8")
    with pytest.raises(InputError) as caught:
        refit(str(place / "old"), [place / "two", tmp_path / "notes"])
    assert str(caught.value).startswith(f"{tmp_path / 'notes' / 'a.ann'}:1: ")


def test_vectors_that_are_gone(place: Path, tmp_path: Path) -> None:
    nlp = spacy.load(place / "old")
    nlp.config["initialize"]["vectors"] = str(tmp_path / "no vectors")
    nlp.to_disk(tmp_path / "old")
    with pytest.raises(ClinicalNerError, match=r"cannot be trained again: .*no vectors"):
        refit(str(tmp_path / "old"), [place / "two"])


def test_a_component_without_tuned_values_gets_none() -> None:
    new = tagging.crf_pipeline().get_pipe("crf_ner")
    copy_tuned(object(), new)
    copy_tuned(new, object())
    assert new.cfg["temperature"] == 1.0  # type: ignore[attr-defined]


run = partial(run_command, "refit")


def test_command(place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture) -> None:
    arguments = (place / "old", place / "one.spacy", tmp_path / "new")
    assert run(monkeypatch, *arguments, "--also", place / "two", "--steps", 2) == 0
    assert "3 updates on 24 notes" in " ".join(capsys.readouterr().out.split())
    assert spacy.load(tmp_path / "new").get_pipe("relation_classifier").cfg["threshold"] == 0.123  # type: ignore[attr-defined]
    assert run(monkeypatch, *arguments) == 2
    error = capsys.readouterr().err
    assert "--overwrite" in error and error.count("\n") == 1
    assert run(monkeypatch, *arguments, "--overwrite", "--steps", 2, "--same-passes") == 2
    assert "exclude each other" in capsys.readouterr().err
    assert run(monkeypatch, tmp_path / "no", place / "two", tmp_path / "other") == 2
    assert capsys.readouterr().err.count("\n") == 1
