import pytest

from benchmarks.corpus import CANTEMIST, MACCROBAT, lay_out, split_by_hash
from benchmarks.tagger.__main__ import comparison_figures
from benchmarks.tagger.compare import OURS, SPACY, median_models, report
from spacy_clinical_ner.errors import InputError


@pytest.fixture
def notes(tmp_path):
    folder = tmp_path / "train"
    folder.mkdir()
    for number in range(60):
        (folder / f"case.{number}.txt").write_text("x")
        (folder / f"case.{number}.ann").write_text("T1\tA 0 1\tx\n")
    return folder


def names(folder):
    return {path.name for path in folder.iterdir()}


def test_split_by_hash_is_a_partition_that_more_notes_do_not_move(notes, tmp_path):
    train, dev = split_by_hash(notes, tmp_path / "out")
    before = names(dev)
    assert names(train) | before == names(notes)
    assert not names(train) & before
    assert 2 <= len(before) <= 30 and len(before) % 2 == 0
    for number in range(60, 80):
        (notes / f"case.{number}.txt").write_text("x")
    split_by_hash(notes, tmp_path / "out")
    assert {name for name in names(dev) if int(name.split(".")[1]) < 60} == before


def test_lay_out_splits_only_where_a_corpus_has_no_second_dev(notes, tmp_path):
    for name in ("dev", "dev1", "dev2", "background"):
        (tmp_path / name).mkdir()
    parts = lay_out(CANTEMIST, tmp_path, tmp_path / "work")
    assert (parts.train, parts.dev, parts.test) == (notes, tmp_path / "dev1", tmp_path / "dev2")
    assert parts.raw == (notes, tmp_path / "background")
    parts = lay_out(MACCROBAT, tmp_path, tmp_path / "work")
    assert parts.test == tmp_path / "dev"
    assert parts.train == tmp_path / "work" / "brat" / "train"


def test_lay_out_names_the_missing_part(notes, tmp_path):
    (tmp_path / "dev1").mkdir()
    with pytest.raises(InputError, match=r"dev2: no such folder; cantemist needs train/, dev1/, dev2/"):
        lay_out(CANTEMIST, tmp_path, tmp_path / "work")


@pytest.fixture
def outcome():
    def result(system, seed, f):
        scores = {"f": f, "p": f, "r": f, "ci_low": f - 0.01, "ci_high": f + 0.01}
        return {
            "system": system,
            "seed": seed,
            "model": f"{system}-{seed}",
            "scores": scores,
            "commit": "abc1234",
            "train_seconds": 90.0,
            "train_peak_rss_mib": 1234.0,
        }

    difference = {"difference": 0.05, "ci_low": 0.031, "ci_high": 0.069, "p_value": 0.002}
    return {
        "results": {
            SPACY: [result(SPACY, 0, 0.78), result(SPACY, 1, 0.80), result(SPACY, 2, 0.79)],
            OURS: [result(OURS, 0, 0.85), result(OURS, 1, 0.83)],
        },
        "pairs": [{"comparison": difference}],
        "medians": {SPACY: 0.79, OURS: 0.84},
    }


def test_median_models_takes_the_lower_of_two_middle_ones(outcome):
    assert median_models(outcome) == {SPACY: f"{SPACY}-2", OURS: f"{OURS}-1"}


def test_report_shows_every_training_and_the_paired_difference(outcome):
    text = report(outcome)
    assert "0.8500 [0.840, 0.860]" in text
    assert text.count("1,234") == 5
    assert "0 +0.0500 [+0.031, +0.069] 0.0020" in " ".join(text.split())
    assert "crf_ner 0.8400, spaCy ner 0.7900, difference +0.0500" in text


def test_recorded_rows_say_what_was_trained_and_where(outcome):
    theirs, ours, pairs = comparison_figures(outcome)
    assert theirs["name"] == SPACY and len(theirs["by_seed"]) == 3
    by_seed = [[0.85, 0.84, 0.86], [0.83, 0.82, 0.84]]
    figures = {"median_f": 0.84, "by_seed": by_seed, "minutes": 1.5, "train_peak_mib": 1234}
    assert ours == {"name": "crf_ner", **figures, "trained_at": "abc1234"}
    assert pairs == {"name": "paired difference", "differences": [[0.05, 0.031, 0.069]]}
