import pytest

from benchmarks.tagger.__main__ import speed_figures
from benchmarks.tagger.speed import linear_report, speed_report, spread_of_medians
from benchmarks.tagger.worker import endless_batches, joined_notes
from spacy_clinical_ner.tokenization import blank_pipeline

SCORES = {"f": 0.5, "ci_low": 0.4, "ci_high": 0.6}


def test_speed_report_puts_f_and_memory_beside_every_speed():
    systems = {
        "base": {"rates": [100.0, 200.0], "peak_rss_mib": 500.0},
        "other": {"rates": [50.0, 100.0], "peak_rss_mib": 900.0},
    }
    outcome = {"scores": {"base": SCORES, "other": None}, "inference": {1: systems}, "training": {}}
    lines = [" ".join(line.split()) for line in speed_report(outcome, "base").splitlines()]
    assert lines[2] == "inference, base 1 150 (100 to 200) 1.00 500 0.5000 [0.400, 0.600]"
    assert lines[3] == "inference, other 1 75 (50 to 100) 0.50 900 -"
    scores, base, other = speed_figures(outcome, "base")
    assert scores == {"name": "base", "f": [0.5, 0.4, 0.6]}
    assert base["name"] == "inference, 1 thread(s), base" and base["words_per_second"] == 150
    named = {"name": "inference, 1 thread(s), other"}
    assert other == {**named, "words_per_second": 75, "ratio": 0.5, "peak_mib": 900}


def test_spread_of_medians():
    assert spread_of_medians({10: [1.0, 9.0, 1.0], 100: [1.2, 1.2, 1.3]}) == pytest.approx(1.2)


def test_linear_report_says_what_is_not_met():
    good = {"seconds_per_token": {10: [1e-6], 100: [1.2e-6]}, "at_rest_mib": 300.0, "peak_rss_mib": 2000.0}
    assert "NO" not in linear_report(good)
    slow = linear_report({**good, "seconds_per_token": {10: [1e-6], 100: [1.4e-6]}})
    assert "1.40 (at most 1.3: NO)" in slow and "2,000 MiB (at most 2,048: yes)" in slow
    assert "2,100 MiB (at most 2,048: NO)" in linear_report({**good, "peak_rss_mib": 2100.0})


def test_joined_notes_have_exactly_the_tokens_asked_for(tmp_path):
    (tmp_path / "a.txt").write_text("One two three.\n\n")
    (tmp_path / "b.txt").write_text("Four, five")
    nlp = blank_pipeline("en")
    texts = joined_notes(nlp, tmp_path, tokens=5, total=20)
    assert [len(nlp(text)) for text in texts] == [5, 5, 5, 5]
    assert texts == joined_notes(nlp, tmp_path, tokens=5, total=20)
    (long,) = joined_notes(nlp, tmp_path, tokens=20, total=20)
    assert "".join(texts) == long


def test_endless_batches_see_every_example_once_an_epoch_with_fresh_predictions(examples):
    batches = endless_batches(examples, lambda items: ([item] for item in items))
    epochs = [[next(batches)[0] for _ in examples] for _ in range(3)]
    for epoch in epochs:
        assert sorted(example.text for example in epoch) == sorted(example.text for example in examples)
        assert not any(example.predicted is original.predicted for example in epoch for original in examples)
    assert len({tuple(example.text for example in epoch) for epoch in epochs}) > 1


@pytest.fixture
def examples():
    from spacy.training import Example

    nlp = blank_pipeline("en")
    return [Example(nlp(text), nlp(text)) for text in "abcdefgh"]
