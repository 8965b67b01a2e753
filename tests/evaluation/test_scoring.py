"""Whole scores by hand, and against the CANTEMIST track's rule written down independently."""

from __future__ import annotations

import json
import os
import random
from pathlib import Path

import numpy as np
import pytest

from spacy_clinical_ner.brat import parse_standoff, read_folder, write_document
from spacy_clinical_ner.errors import ClinicalNerError
from spacy_clinical_ner.evaluation import evaluate, evaluate_folders

TEXT = "alpha beta gamma delta\nepsilon zeta eta theta iota kappa"
GOLD = (
    "T1\tA 0 5\talpha\nT2\tA 6 10\tbeta\nT3\tB 11 16\tgamma\nT4\tB 17 22\tdelta\nT5\tC 31 35;40 45\tzeta theta\n"
    "E1\tB:T4 \nR1\tNEAR Arg1:T1 Arg2:T2\t\nR2\tNEAR Arg1:T2 Arg2:T3\t\nR3\tFAR Arg1:T1 Arg2:E1\t\n"
)
# Right: T1, T3 (B gamma). Too long: T2. B delta called A. Outer extent of the discontinuous C. One D from nowhere.
PRED = (
    "T1\tA 0 5\talpha\nT2\tA 6 16\tbeta gamma\nT3\tB 11 16\tgamma\nT4\tA 17 22\tdelta\nT5\tC 31 45\tzeta eta theta\n"
    "T6\tD 46 50\tiota\nT7\tA 0 5\talpha\n"
    "R1\tNEAR Arg1:T3 Arg2:T1\t\nR2\tNEAR Arg1:T2 Arg2:T3\t\nR3\tFAR Arg1:T1 Arg2:T3\t\n"
)


def document(name, ann, text=TEXT):
    return parse_standoff(name, text, ann)


def scores(gold, pred, **kwargs):
    kwargs.setdefault("samples", 0)
    return evaluate([document("n", gold)], [document("n", pred)], **kwargs)


def figures(score, *keys):
    return tuple(score[key] for key in keys)


def test_strict_by_hand():
    strict = scores(GOLD, PRED)["entities"]["strict"]
    assert figures(strict["micro"], "tp", "fp", "fn", "support") == (2, 4, 3, 5)
    assert figures(strict["micro"], "p", "r", "f") == pytest.approx((2 / 6, 2 / 5, 4 / 11))
    by_type = {label: figures(score, "tp", "fp", "fn") for label, score in strict["per_type"].items()}
    assert by_type == {"A": (1, 2, 1), "B": (1, 0, 1), "C": (0, 1, 1), "D": (0, 1, 0)}
    # F of A is 2/5, of B 2/3, of C 0; D has no gold support and is no part of the means.
    assert strict["macro"]["f"] == pytest.approx((2 / 5 + 2 / 3 + 0) / 3)
    assert strict["weighted"]["f"] == pytest.approx((2 * 2 / 5 + 2 * 2 / 3 + 0) / 5)
    assert strict["per_type"]["D"]["support"] == 0


def test_relaxed_by_hand():
    relaxed = scores(GOLD, PRED)["entities"]["relaxed"]
    by_type = {label: figures(score, "tp", "fp", "fn") for label, score in relaxed["per_type"].items()}
    assert by_type == {"A": (2, 1, 0), "B": (1, 0, 1), "C": (1, 0, 0), "D": (0, 1, 0)}
    assert figures(relaxed["micro"], "tp", "fp", "fn") == (4, 2, 1)


def test_relations_by_hand():
    # NEAR beta-gamma has a mention with other offsets, FAR another tail: nothing is found end to end.
    relations = scores(GOLD, PRED)["relations"]["strict"]
    assert figures(relations["micro"], "tp", "fp", "fn", "support") == (0, 3, 3, 3)
    right = GOLD.replace("R1\tNEAR Arg1:T1 Arg2:T2", "R1\tNEAR Arg1:T2 Arg2:T1")  # one turned around
    relations = scores(GOLD, right)["relations"]["strict"]
    by_type = {label: figures(score, "tp", "fp", "fn") for label, score in relations["per_type"].items()}
    assert by_type == {"NEAR": (1, 1, 1), "FAR": (1, 0, 0)}
    assert relations["macro"]["f"] == pytest.approx((1 / 2 + 1) / 2)


def test_relations_are_scored_when_there_are_any_or_when_told():
    none = "T1\tA 0 5\talpha\n"
    assert scores(none, none)["relations"] is None
    assert scores(none, none, relations=True)["relations"]["strict"]["micro"]["support"] == 0
    assert scores(none, PRED)["relations"]["strict"]["micro"]["fp"] == 3
    assert scores(GOLD, none)["relations"]["strict"]["micro"]["fn"] == 3
    assert scores(GOLD, PRED, relations=False)["relations"] is None


def test_gold_against_itself_is_perfect():
    result = scores(GOLD, GOLD, samples=50)
    for part in (*result["entities"].values(), result["relations"]["strict"]):
        for average in ("micro", "macro", "weighted"):
            assert figures(part[average], "p", "r", "f", "ci_low", "ci_high") == (1, 1, 1, 1, 1)


def test_missing_documents_are_missed_and_named_and_repeats_counted():
    gold = [document("one", GOLD), document("two", "T1\tA 0 5\talpha\n")]
    result = evaluate(gold, [document("one", PRED)], samples=0)
    assert result["documents"] == 2
    assert result["missing_documents"] == ["two"]
    assert result["duplicates"] == {"gold": 0, "predicted": 1}
    assert figures(result["entities"]["strict"]["micro"], "tp", "fp", "fn") == (2, 4, 4)


def test_lines_whose_text_differs_are_counted_as_repaired():
    assert scores("T1\tA 0 5\talpha \n", "T1\tA 0 5\talpha\n")["repaired_lines"] == {"gold": 1, "predicted": 0}


def test_no_document_is_an_error():
    with pytest.raises(ClinicalNerError, match="no gold document"):
        evaluate([], [])


def test_nothing_annotated_and_nothing_predicted_is_zero_not_a_crash():
    result = scores("", "", samples=20)
    assert figures(result["entities"]["strict"]["micro"], "p", "r", "f", "ci_low") == (0, 0, 0, None)


def noisy_corpus(seed, documents=12):
    """Gold and two sets of predictions with hits, misses, wrong labels and shifted offsets."""
    generator = random.Random(seed)
    text = "x" * 200

    def ann(rows):
        return "".join(f"T{i}\t{label} {start} {end}\t{'x' * (end - start)}\n" for i, (label, start, end) in rows)

    def change(rows, quality):
        for label, start, end in rows:
            luck = generator.random()
            if luck < quality:
                yield label, start, end
            elif luck < quality + 0.1:
                yield label, start, end + 1
            elif luck < quality + 0.2:
                yield generator.choice("AB"), start, end

    folders = ([], [], [])
    for number in range(documents):
        rows = [(generator.choice("AB"), i * 10, i * 10 + generator.randint(2, 8)) for i in range(12)]
        for folder, chosen in zip(folders, (rows, change(rows, 0.75), change(rows, 0.5))):
            folder.append(document(str(number), ann(enumerate(chosen, 1)), text))
    return folders


def write_all(documents, folder):
    for one in documents:
        write_document(one, folder / f"{one.name}.txt")
    return folder


def track_rule(gold_dir: Path, pred_dir: Path):
    """Micro P, R, F of unique (document, start, end, label) rows, read with nothing but split: the track's rule."""

    def rows(folder):
        found = set()
        for path in sorted(folder.glob("*.ann")):
            for line in path.read_text(encoding="utf8").split("\n"):
                if line.startswith("T"):
                    label, start, end = line.split("\t")[1].split(" ")
                    found.add((path.stem, int(start), int(end), label))
        return found

    gold, pred = rows(gold_dir), rows(pred_dir)
    hits = len(gold & pred)
    p, r = hits / len(pred), hits / len(gold)
    return p, r, 2 * p * r / (p + r)


def test_strict_micro_is_the_cantemist_rule(tmp_path):
    gold, pred, _ = noisy_corpus(1)
    write_all(gold, tmp_path / "gold")
    write_all(pred[:-1], tmp_path / "pred")
    micro = evaluate_folders(tmp_path / "gold", tmp_path / "pred", samples=0)["entities"]["strict"]["micro"]
    expected = track_rule(tmp_path / "gold", tmp_path / "pred")
    assert 0.5 < expected[2] < 0.95
    assert figures(micro, "p", "r", "f") == pytest.approx(expected, abs=1e-12)


@pytest.mark.data
@pytest.mark.skipif(not os.environ.get("CLINICAL_NER_DATA"), reason="CLINICAL_NER_DATA is not set: no CANTEMIST")
def test_strict_micro_is_the_cantemist_rule_on_cantemist(tmp_path):
    folder = Path(os.environ["CLINICAL_NER_DATA"]) / "cantemist" / "dev2"
    generator = random.Random(5)
    for gold in read_folder(folder):
        if generator.random() < 0.05:
            continue
        rows = []
        for entity in gold.entities:
            luck = generator.random()
            rows += [(entity.start, entity.end)] * (luck < 0.8)
            rows += [(entity.start, entity.end - 1)] * (luck > 0.7 and entity.end - entity.start > 1)
        lines = (
            f"T{number}\tMORFOLOGIA_NEOPLASIA {start} {end}\t{gold.text[start:end]}\n"
            for number, (start, end) in enumerate(rows, start=1)
        )
        (tmp_path / f"{gold.name}.ann").write_text("".join(lines), encoding="utf8")
    micro = evaluate_folders(folder, tmp_path, samples=0)["entities"]["strict"]["micro"]
    expected = track_rule(folder, tmp_path)
    assert 0.5 < expected[2] < 0.95
    assert figures(micro, "p", "r", "f") == pytest.approx(expected, abs=1e-12)


def test_the_interval_surrounds_the_figure_and_is_reproducible():
    gold, pred, _ = noisy_corpus(2)
    first, again = (evaluate(gold, pred, samples=200, seed=3) for _ in range(2))
    assert first == again
    for rule in ("strict", "relaxed"):
        for average in ("micro", "macro", "weighted"):
            score = first["entities"][rule][average]
            assert 0 < score["ci_low"] < score["f"] < score["ci_high"] < 1
            assert score["p_ci_low"] <= score["p"] <= score["p_ci_high"]
            assert score["r_ci_low"] <= score["r"] <= score["r_ci_high"]
    assert (
        first["entities"]["strict"]["micro"] != evaluate(gold, pred, samples=200, seed=4)["entities"]["strict"]["micro"]
    )


def test_the_interval_of_a_rare_label_is_of_the_resamples_that_hold_it():
    gold = [document("rare", "T1\tB 6 10\tbeta\nT2\tA 0 5\talpha\n")]
    gold += [document(str(number), "T1\tA 0 5\talpha\n") for number in range(5)]
    result = evaluate(gold, gold, samples=100)["entities"]["strict"]["per_type"]["B"]
    assert figures(result, "f", "ci_low", "ci_high") == (1, 1, 1)


def test_the_interval_equals_brute_force_over_documents():
    gold, pred, _ = noisy_corpus(6, documents=7)
    micro = evaluate(gold, pred, samples=80, seed=9)["entities"]["strict"]["micro"]
    sets = [[{(e.label, e.start, e.end) for e in one.entities} for one in documents] for documents in (gold, pred)]
    values = []
    for draw in np.random.default_rng(9).integers(7, size=(80, 7)):
        hits = sum(len(sets[0][d] & sets[1][d]) for d in draw)
        size = sum(len(sets[0][d]) + len(sets[1][d]) for d in draw)
        values.append(2 * hits / size)
    assert figures(micro, "ci_low", "ci_high") == pytest.approx(np.percentile(values, [2.5, 97.5]))


def test_comparison_of_two_systems(tmp_path):
    gold, good, bad = (write_all(part, tmp_path / name) for part, name in zip(noisy_corpus(4), ("g", "p", "o")))
    result = evaluate_folders(gold, good, compare=bad, samples=300)
    for rule in ("strict", "relaxed"):
        for average in ("micro", "macro", "weighted"):
            row = result["comparison"]["entities"][rule][average]
            assert row["f"] == result["entities"][rule][average]["f"]
            assert row["other_f"] == evaluate_folders(gold, bad, samples=0)["entities"][rule][average]["f"]
            assert row["difference"] == pytest.approx(row["f"] - row["other_f"])
            assert row["ci_low"] <= row["difference"] <= row["ci_high"]
    assert result["comparison"]["entities"]["strict"]["micro"]["p_value"] < 0.05
    assert result["comparison"]["relations"] is None
    same = evaluate_folders(gold, good, compare=good, samples=50)["comparison"]["entities"]["strict"]["micro"]
    assert figures(same, "difference", "ci_low", "ci_high", "p_value") == (0, 0, 0, 1)


def test_a_comparison_may_bring_labels_that_the_first_system_lacks(tmp_path):
    gold = write_all([document("n", GOLD)], tmp_path / "g")
    first = write_all([document("n", "T1\tA 0 5\talpha\n")], tmp_path / "p")
    other = write_all([document("n", PRED)], tmp_path / "o")
    row = evaluate_folders(gold, first, compare=other, samples=10)["comparison"]["entities"]["strict"]["micro"]
    assert figures(row, "f", "other_f") == pytest.approx((2 / 6, 4 / 11))


def test_the_schema():
    result = scores(GOLD, PRED, samples=10)
    assert list(result) == [
        "schema_version",
        "level",
        "documents",
        "missing_documents",
        "duplicates",
        "repaired_lines",
        "bootstrap",
        "entities",
        "relations",
        "comparison",
    ]
    assert result["level"] == "character"
    assert result["bootstrap"] == {"samples": 10, "seed": 0, "confidence": 0.95, "unit": "document"}
    score = {"p", "r", "f", "support", "ci_low", "ci_high", "p_ci_low", "p_ci_high", "r_ci_low", "r_ci_high"}
    for part in (*result["entities"].values(), result["relations"]["strict"]):
        assert set(part) == {"micro", "macro", "weighted", "per_type"}
        assert set(part["micro"]) == score | {"tp", "fp", "fn"}
        assert set(part["macro"]) == set(part["weighted"]) == score
        assert all(set(row) == score | {"tp", "fp", "fn"} for row in part["per_type"].values())
    for word in TEXT.split():
        assert word not in json.dumps(result)
