"""What real files have and clean text lacks: misspellings, CRLF, byte order marks, odd spaces, hard line breaks."""

from __future__ import annotations

import re
from random import Random
from typing import List

from generator.derive import pick
from generator.drafts import Draft, Edit

_LONG_WORD = re.compile(r"[^\W\d_]{7,}")
_BEFORE_UNIT = re.compile(r"(?<=\d) (?=%|(?:cm|mm|mg|g|ml|kg|U|IU|Gy|mmHg|mmol|bpm)\b)")
_ACCENTS = str.maketrans("áéíóúü", "aeiouu")


def misspell(draft: Draft, random: Random, share: float = 0.02) -> None:
    """Give a share of the long words a slip of the keyboard, or none to their accent."""
    edits: List[Edit] = []
    for word in _LONG_WORD.finditer(draft.text):
        if random.random() >= share or "\u4e00" <= word[0][0] <= "\u9fff":
            continue
        letters, at = word[0], 2 + int(random.random() * (len(word[0]) - 4))
        bare = letters.translate(_ACCENTS)
        swapped = letters[:at] + letters[at + 1] + letters[at] + letters[at + 2 :]
        edits.append((word.start(), word.end(), bare if bare != letters else swapped))
    draft.edit(edits)


def run_together(draft: Draft, random: Random) -> None:
    """Lose the space after one mention, so that it ends inside a token."""
    ends = [mention.fragments[-1][1] for mention in draft.mentions]
    words = [end for end in ends if re.fullmatch(r"\w \w", draft.text[end - 1 : end + 2])]
    if words:
        end = pick(random, words)
        draft.edit([(end, end + 1, "")])


def odd_spaces(draft: Draft, random: Random) -> None:
    """Put a no-break or a thin space between some numbers and their units."""
    gaps = [gap.start() for gap in _BEFORE_UNIT.finditer(draft.text)]
    draft.edit([(gap, gap + 1, pick(random, "\u00a0\u2009\u202f")) for gap in gaps if random.random() < 0.7])


def wrap(draft: Draft, random: Random) -> None:
    """Break lines hard at a fixed number of characters, mentions or not, like an old printout."""
    width = 24 + int(random.random() * 16)
    edits: List[Edit] = []
    start = 0
    for line in draft.text.split("\n"):
        edits += [(cut, cut, "\n") for cut in range(start + width, start + len(line), width)]
        start += len(line) + 1
    draft.edit(edits)


def carriage_returns(draft: Draft, random: Random) -> None:
    """End every line with CRLF."""
    draft.edit([(gap.start(), gap.end(), "\r\n") for gap in re.finditer("\n", draft.text)])


def byte_order_mark(draft: Draft, random: Random) -> None:
    """Begin with a byte order mark, which counts as a character."""
    draft.edit([(0, 0, "\ufeff")])


def no_final_newline(draft: Draft, random: Random) -> None:
    """End the note, like many a saved text field, without a line break."""
    end = len(draft.text.rstrip("\n"))
    if end < len(draft.text):
        draft.edit([(end, len(draft.text), "")])
