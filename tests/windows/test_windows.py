import random

import pytest
from spacy.tokens import Doc

from spacy_clinical_ner.tokenization import blank_pipeline
from spacy_clinical_ner.windows.batches import group_by_length
from spacy_clinical_ner.windows.planning import cut, plan_windows
from spacy_clinical_ner.windows.sentences import sentence_ends, sentence_starts

VOCAB = blank_pipeline("es").vocab  # a bare Vocab does not know white space


def test_sentence_ends_at_signs_line_ends_and_the_last_token():
    words = ["Dolor", ".", "Sin", "\n\n", "fiebre", "\t", "alta", "。", "fin"]
    assert sentence_ends(Doc(VOCAB, words=words)).tolist() == [2, 4, 8, 9]
    assert sentence_ends(Doc(VOCAB)).tolist() == []


def test_cut_packs_whole_sentences():
    assert cut(20, [4, 9, 13, 20], 10) == [9, 13, 20]
    assert cut(20, [4, 9, 13, 20], 20) == [20]
    assert cut(20, [18, 20], 5) == [5, 10, 15, 20]
    assert cut(0, [], 5) == []
    with pytest.raises(ValueError):
        cut(3, [3], 0)


def test_cores_cover_every_token_once_and_never_leave_the_note():
    rng = random.Random(0)
    for _ in range(200):
        docs = [
            Doc(VOCAB, words=rng.choices(["a", "b", ".", "\n"], weights=[8, 8, 1, 1], k=length))
            for length in rng.choices([0, 1, 2, 7, 40, 90], k=rng.randint(1, 4))
        ]
        size, context = rng.randint(1, 20), rng.randint(0, 6)
        windows = plan_windows(docs, size, context)
        covered = [i for w in windows for i in range(w.start, w.end)]
        assert covered == list(range(sum(map(len, docs))))
        edges = [0]
        for doc in docs:
            edges.append(edges[-1] + len(doc))
        for w in windows:
            assert 0 < w.end - w.start <= size
            first = max(edge for edge in edges if edge <= w.start)
            last = min(edge for edge in edges if edge >= w.end)
            assert w.context_start == max(first, w.start - context)
            assert w.context_end == min(last, w.end + context)


def test_batches_hold_everything_once_within_the_limit():
    rng = random.Random(1)
    for _ in range(100):
        lengths = [rng.randint(1, 50) for _ in range(rng.randint(1, 30))]
        groups = group_by_length(lengths, 64)
        assert sorted(i for group in groups for i in group) == list(range(len(lengths)))
        for group in groups:
            assert len(group) == 1 or len(group) * max(lengths[i] for i in group) <= 64


def test_cut_without_packing_gives_one_sentence_each():
    assert cut(20, [4, 9, 13, 20], 10, pack=False) == [4, 9, 13, 20]
    assert cut(20, [4, 20], 6, pack=False) == [4, 10, 16, 20]
    assert cut(3, [1, 2, 3], 1, pack=False) == [1, 2, 3]
    assert cut(0, [], 5, pack=False) == []


def test_sentences_of_the_doc_come_first():
    words = ["Dolor", ".", "Sin", "fiebre"]
    assert sentence_ends(Doc(VOCAB, words=words, sent_starts=[1, -1, -1, 1])).tolist() == [3, 4]
    assert [w.end for w in plan_windows([Doc(VOCAB, words=words)], 10, 0, pack=False)] == [2, 4]


def test_groups_with_a_bound_on_padding_come_longest_first():
    rng = random.Random(0)
    for _ in range(100):
        lengths = [rng.randint(1, 130) for _ in range(rng.randint(0, 60))]
        limit = rng.choice([1, 64, 300, 10_000])
        groups = group_by_length(lengths, limit, max_ratio=1.25, longest_first=True)
        assert sorted(i for group in groups for i in group) == list(range(len(lengths)))
        for group in groups:
            members = [lengths[i] for i in group]
            assert len(group) == 1 or max(members) * len(group) <= limit
            assert max(members) <= 1.25 * min(members)
        longest = [max(lengths[i] for i in group) for group in groups]
        assert longest == sorted(longest, reverse=True)


def test_what_has_no_length_is_in_no_group():
    assert group_by_length([0, 3, 0, 1], 10) == [[3, 1]]


def test_what_closes_a_sentence_stays_with_it():
    words = ["Dolor", ".", ")", "\t", "Sin", "\n", "\n", "fiebre", "?", "!", "Fin"]
    doc = Doc(VOCAB, words=words)
    assert sentence_ends(doc).tolist() == [2, 6, 7, 9, 10, 11]
    assert sentence_starts(doc).tolist() == [4, 7, 10]
    assert sentence_starts(Doc(VOCAB, words=["Dolor", ".", "\n"])).tolist() == []
    assert sentence_starts(Doc(VOCAB)).tolist() == []
    assert sentence_starts(Doc(VOCAB, words=["a", "b", "c"], sent_starts=[1, 0, 1])).tolist() == [2]


@pytest.mark.parametrize("sentences, size, cores", [([4, 8, 10], 8, [8, 10]), ([5, 10, 15, 20], 10, [10, 20])])
def test_a_sentence_that_just_fits_is_in_the_window(sentences, size, cores):
    assert cut(sentences[-1], sentences, size) == cores
