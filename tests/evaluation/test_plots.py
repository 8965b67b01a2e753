"""Pictures are drawn, show what they should, and show words of notes only where they may."""

from __future__ import annotations

import importlib
import re

import pytest

from spacy_clinical_ner import plotting
from spacy_clinical_ner.brat import parse_standoff
from spacy_clinical_ner.errors import ClinicalNerError
from spacy_clinical_ner.evaluation import plots
from spacy_clinical_ner.tokenization import blank_pipeline

PNG = b"\x89PNG\r\n\x1a\n"


@pytest.fixture()
def axes(monkeypatch):
    """The axes of every figure that is saved."""
    pytest.importorskip("matplotlib")
    saved = []
    save = plotting.save_figure

    def keep(figure, path):
        saved.append(figure.axes[0])
        save(figure, path)

    monkeypatch.setattr(plotting, "save_figure", keep)
    return saved


def widths(axis):
    return [bar.get_width() for bar in axis.patches]


def test_entities_are_sorted_with_their_counts(tmp_path, axes):
    plots.plot_entities({"Drug": 3, "Age": 40, "Dose": 3}, tmp_path / "entities.png")
    assert (tmp_path / "entities.png").read_bytes().startswith(PNG)
    (axis,) = axes
    assert [label.get_text() for label in axis.get_yticklabels()] == ["Dose", "Drug", "Age"]
    assert widths(axis) == [3, 3, 40]
    assert axis.get_xscale() == "linear"
    assert {"40", "3"} <= {text.get_text() for text in axis.texts}


def test_widely_differing_counts_get_a_logarithmic_axis_and_room_for_41_labels(tmp_path, axes):
    plots.plot_entities({f"Label_{i}": 2**i for i in range(12)}, tmp_path / "few.png")
    plots.plot_entities({f"Label_{i}": 1 + i for i in range(41)}, tmp_path / "many.png")
    assert axes[0].get_xscale() == "log"
    assert "logarithmic" in axes[0].get_xlabel()
    assert axes[1].figure.get_figheight() > 2 * axes[0].figure.get_figheight()


def test_no_entities_and_no_sentences_still_give_pictures(tmp_path, axes):
    plots.plot_entities({}, tmp_path / "entities.png")
    plots.plot_sentence_lengths({}, tmp_path / "lengths.png")
    assert len(list(tmp_path.glob("*.png"))) == 2


def test_sentence_lengths_by_hand(tmp_path, axes):
    plots.plot_sentence_lengths({"1": 5, "2": 10, "4": 6}, tmp_path / "lengths.png")
    (axis,) = axes
    heights = {round(bar.get_x() + bar.get_width() / 2): bar.get_height() for bar in axis.patches}
    assert heights == {1: 5, 2: 10, 4: 6}
    assert [text.get_text() for text in axis.texts] == ["median 2"]
    assert "21 units" in axis.get_title()


def test_the_longest_sentences_share_the_last_bar(tmp_path, axes):
    plots.plot_sentence_lengths({"10": 900, "20": 98, "5000": 2}, tmp_path / "lengths.png")
    (axis,) = axes
    assert sum(bar.get_height() for bar in axis.patches) == 1000
    assert max(bar.get_x() for bar in axis.patches) < 30
    assert "at most 5,000" in axis.get_xlabel()


def documents(*annotations):
    """One document per item, a list of mention texts."""
    result = []
    for number, mentions in enumerate(annotations):
        text, lines = "", []
        for index, mention in enumerate(mentions, start=1):
            lines.append(f"T{index}\tA {len(text)} {len(text) + len(mention)}\t{mention}\n")
            text += mention + "\n"
        result.append(parse_standoff(str(number), text, "".join(lines)))
    return result


def test_words_of_one_note_alone_stop_words_and_numbers_are_left_out():
    notes = documents(["Carcinoma de mama", "carcinoma T4", "Smith"], ["carcinoma de pulmón", "mama 12", "Smiths"])
    assert plots.mention_words(blank_pipeline("es"), notes) == {"carcinoma": 3, "mama": 2}


def test_chinese_mentions_stand_whole():
    notes = documents(["2型糖尿病", "胰岛素"], ["2型糖尿病"])
    assert plots.mention_words(blank_pipeline("zh"), notes) == {"2型糖尿病": 2}


def test_a_word_cloud_is_drawn(tmp_path):
    pytest.importorskip("wordcloud")
    assert plots.plot_word_cloud({"carcinoma": 3, "mama": 2}, tmp_path / "cloud.png") is None
    assert (tmp_path / "cloud.png").read_bytes().startswith(PNG)


def test_a_word_cloud_that_cannot_be_drawn_says_why(tmp_path, monkeypatch):
    pytest.importorskip("wordcloud")
    monkeypatch.setattr(plotting, "find_cjk_font", lambda text: None)
    assert "no font with Chinese characters" in plots.plot_word_cloud({"糖尿病": 2}, tmp_path / "cloud.png")
    assert "no word" in plots.plot_word_cloud({}, tmp_path / "cloud.png")
    assert not list(tmp_path.iterdir())


def test_a_font_is_taken_only_if_it_has_the_signs(monkeypatch):
    pytest.importorskip("matplotlib")
    monkeypatch.setattr(plotting, "_CJK", re.compile("[a-z\ue000]"))
    assert plotting.find_cjk_font("word").lower().endswith((".ttf", ".otf", ".ttc"))
    monkeypatch.setattr(plotting, "_CJK", re.compile("\U0010fffd"))
    assert plotting.find_cjk_font("\U0010fffd") is None


def test_a_missing_library_is_named_with_the_extra(monkeypatch):
    def refuse(name):
        raise ImportError(name)

    monkeypatch.setattr(importlib, "import_module", refuse)
    with pytest.raises(ClinicalNerError, match=r"wordcloud.*spacy-clinical-ner\[plots\]"):
        plotting.require_plots("wordcloud")
