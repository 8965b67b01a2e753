"""Pictures of a corpus as PNG: entities per label, lengths of sentences, and, only if asked for, a cloud of words.

Needs the extra `plots`. The first two show numbers and labels; the word cloud shows words of the notes.
"""

from __future__ import annotations

import io
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any, Dict, Iterable, List, Mapping, Optional, Set, Union

from spacy_clinical_ner import plotting
from spacy_clinical_ner.brat import BratDocument
from spacy_clinical_ner.files import replacing
from spacy_clinical_ner.outputs import SIGNATURE
from spacy_clinical_ner.tokenization import HasTokenizer

_BAR, _INK, _GRID = "#3b6ea5", "#222222", "#dddddd"
_MOST_WORDS, _MOST_LABELS = 150, 40


def plot_entities(labels: Mapping[str, int], path: Union[str, Path]) -> None:
    """Bar chart of mentions per label, most frequent on top; the axis is logarithmic if the counts differ widely.

    Of many labels the most frequent are drawn; stats.json has all.
    """
    rows = sorted(labels.items(), key=lambda row: (row[1], row[0]))[-_MOST_LABELS:]
    figure = plotting.new_figure(8.0, max(2.2, 1.3 + 0.24 * len(rows)), [label for label, _ in rows])
    axes = figure.add_subplot()
    counts = [count for _, count in rows]
    bars = axes.barh(range(len(rows)), counts, color=_BAR, height=0.72)
    axes.set_yticks(range(len(rows)), [label for label, _ in rows], parse_math=False)  # a label may hold a $
    wide = bool(counts) and max(counts) > 50 * max(1, min(counts))
    if wide:
        axes.set_xscale("log")
        axes.set_xlim(0.8, max(counts) * 2.2)
    else:
        axes.set_xlim(0, max(counts, default=0) * 1.12 + 1)
    axes.bar_label(bars, labels=[f"{count:,}" for count in counts], padding=3, fontsize=8, color=_INK)
    axes.set_ylim(-0.7, max(len(rows), 1) - 0.3)
    drawn = "" if len(rows) == len(labels) else f"the {len(rows)} most frequent of "
    total = f"{sum(labels.values()):,} mentions, {drawn}{len(labels):,} label{'s' * (len(labels) != 1)}"
    axes.set_title(f"Mentions per label ({total})")
    axes.set_xlabel("mentions, logarithmic scale" if wide else "mentions")
    axes.tick_params(axis="y", length=0, labelsize=9)
    axes.xaxis.set_major_formatter("{x:,.0f}")
    _finish(axes, "x")
    plotting.save_figure(figure, path)


def plot_sentence_lengths(lengths: Mapping[str, int], path: Union[str, Path]) -> None:
    """Histogram of tokens per sentence-like unit ({length: how many}); the longest 0.5 % share the last bar."""
    counts = {int(length): count for length, count in lengths.items()}
    total = sum(counts.values())
    figure = plotting.new_figure(8.0, 4.2)
    axes = figure.add_subplot()
    axes.set_xlabel("tokens, white space left out")
    if total:
        most = _percentile(counts, 0.995)
        width = max(1, -(-most // 40))
        bins: Counter = Counter()
        for length, count in counts.items():
            bins[min((length - 1) // width, most // width)] += count
        longest = max(counts)
        axes.bar([bin * width + 0.5 for bin in bins], list(bins.values()), width * 0.9, align="edge", color=_BAR)
        axes.set_ylim(0, max(bins.values()) * 1.12)  # room for the word beside the median
        median = _percentile(counts, 0.5)
        axes.axvline(median, color=_INK, linestyle="--", linewidth=1)
        axes.annotate(
            f"median {median}",
            (median, 1.0),
            xycoords=("data", "axes fraction"),
            xytext=(5, -12),
            textcoords="offset points",
            fontsize=9,
            color=_INK,
        )
        if longest > most:
            first = most // width * width + 1
            axes.set_xlabel(f"tokens, white space left out (last bar: {first} and more, at most {longest:,})")
    axes.set_title(f"Sentence-like units by length ({total:,} units)")
    axes.set_ylabel("units")
    axes.yaxis.set_major_formatter("{x:,.0f}")
    _finish(axes, "y")
    plotting.save_figure(figure, path)


def mention_words(nlp: HasTokenizer, documents: Iterable[BratDocument], min_documents: int = 2) -> Dict[str, int]:
    """How often each word stands in a mention, case folded, without stop words of the language, numbers and signs.

    Words that fewer than `min_documents` notes have in their mentions are left out: what only one note says may point
    to its patient. Han characters are no words by themselves, so a mention with such stands whole.
    """
    counts: Counter = Counter()
    documents_with: Dict[str, Set[str]] = defaultdict(set)
    for document in documents:
        for entity in document.entities:
            for word in _words(nlp, entity.text):
                counts[word] += 1
                documents_with[word].add(document.name)
    return {word: count for word, count in counts.most_common() if len(documents_with[word]) >= min_documents}


def _words(nlp: HasTokenizer, text: str) -> List[str]:
    if plotting.has_cjk(text):
        return ["".join(text.split())]
    tokens = nlp.tokenizer(text)
    return [token.lower_ for token in tokens if len(token) > 1 and token.is_alpha and not token.is_stop]


def plot_word_cloud(words: Mapping[str, int], path: Union[str, Path]) -> Optional[str]:
    """Draw the most frequent words; gives back why nothing was drawn, or None if it was."""
    if not words:
        return "no word stands in the mentions of two notes or more: no word cloud"
    font = None
    if plotting.has_cjk("".join(words)):
        font = plotting.find_cjk_font("".join(words))
        if font is None:
            return "no font with Chinese characters on this machine (for example Noto Sans CJK): no word cloud"
    cloud = plotting.optional_module("wordcloud").WordCloud(
        width=1200,
        height=700,
        background_color="white",
        colormap="viridis",
        max_words=_MOST_WORDS,
        font_path=font,
        random_state=0,
        prefer_horizontal=0.95,
    )
    picture = cloud.generate_from_frequencies(dict(words)).to_image()
    data = io.BytesIO()
    png = plotting.optional_module("PIL.PngImagePlugin").PngInfo()
    for key, value in SIGNATURE.items():
        png.add_text(key, value)
    picture.save(data, "PNG", pnginfo=png)
    with replacing(path) as temporary:
        temporary.write_bytes(data.getvalue())
    return None


def _finish(axes: Any, grid: str) -> None:
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    axes.grid(axis=grid, color=_GRID, linewidth=0.7)
    axes.set_axisbelow(True)


def _percentile(counts: Mapping[int, int], share: float) -> int:
    """The smallest length that at least `share` of the units do not exceed."""
    total, seen = sum(counts.values()), 0
    for length in sorted(counts):
        seen += counts[length]
        if seen >= share * total:
            return length
    return 0
