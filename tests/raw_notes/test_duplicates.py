from __future__ import annotations

import random
from typing import Dict, List, Set, Tuple

import pytest

from spacy_clinical_ner.raw_notes.duplicates import find_near_duplicates


def shingles(text: str) -> Set[Tuple[str, ...]]:
    words = text.casefold().split()
    size = max(1, min(5, len(words)))
    return {tuple(words[i : i + size]) for i in range(len(words) - size + 1)} or {()}


def by_hand(texts: List[str], threshold: float) -> Dict[int, int]:
    kept: List[int] = []
    repeats: Dict[int, int] = {}
    for index, text in enumerate(texts):
        one = shingles(text)
        for other in kept:
            two = shingles(texts[other])
            if len(one & two) / len(one | two) >= threshold:
                repeats[index] = other
                break
        else:
            kept.append(index)
    return repeats


def changed(generator: random.Random, words: List[str], changes: int) -> List[str]:
    copy = list(words)
    for _ in range(changes):
        copy[generator.randrange(len(copy))] = f"w{generator.randrange(1000)}"
    return copy


@pytest.mark.parametrize("seed", range(10))
def test_finds_what_comparing_all_pairs_finds(seed: int) -> None:
    generator = random.Random(seed)
    texts: List[str] = []
    for _ in range(12):
        words = [f"w{generator.randrange(60)}" for _ in range(generator.choice([0, 2, 5, 40, 200]))]
        for _ in range(4):
            texts.append(" ".join(changed(generator, words, generator.randrange(5) if words else 0)))
    generator.shuffle(texts)
    expected = by_hand(texts, 0.8)
    assert expected
    assert find_near_duplicates(texts, 0.8) == expected


def test_case_and_white_space_do_not_make_a_note_another() -> None:
    assert find_near_duplicates(["Dolor leve de pecho hoy mismo", "dolor  LEVE\nde pecho hoy mismo"]) == {1: 0}


def test_order_of_words_does() -> None:
    words = [f"w{i}" for i in range(50)]
    assert find_near_duplicates([" ".join(words), " ".join(reversed(words))]) == {}


def test_threshold_counts() -> None:
    words = [f"w{i}" for i in range(104)]
    other = " ".join([*words[:52], "new", *words[53:]])  # 95 of 100 shingles in common: 95 / 105
    assert find_near_duplicates([" ".join(words), other], 0.9) == {1: 0}
    assert find_near_duplicates([" ".join(words), other], 0.91) == {}


def test_copy_of_a_copy_points_at_the_note_that_is_kept() -> None:
    words = [f"w{i}" for i in range(200)]
    assert find_near_duplicates([" ".join(words)] * 3 + ["other"]) == {1: 0, 2: 0}
