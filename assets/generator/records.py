"""Notes as the JSON lines of CCKS-2019: one record a line, with the types' Chinese names."""

from __future__ import annotations

import json
from typing import Dict, Iterable, Tuple

from generator.drafts import Draft

# What a file of the sample holds: split, its first and last note, and whether it begins with a byte order mark and
# ends its lines with CRLF, as one of the published files does.
FILES: Dict[str, Tuple[str, int, int, bool]] = {
    "training_part1.txt": ("train", 1, 30, True),
    "training_part2.txt": ("train", 31, 60, False),
    "dev.json": ("dev", 1, 16, False),
    "test_set_with_answer.json": ("test", 1, 16, False),
}


def record(draft: Draft) -> str:
    """The JSON of a note; its mentions must be of one piece each."""
    entities = []
    for mention in sorted(draft.mentions, key=lambda m: (m.fragments, m.label)):
        ((start, end),) = mention.fragments
        entities.append({"label_type": mention.label, "overlap": 0, "start_pos": start, "end_pos": end})
    return json.dumps({"originalText": draft.text, "entities": entities}, ensure_ascii=False)


def json_lines(drafts: Iterable[Draft], *, windows: bool) -> bytes:
    """windows: a byte order mark first, and CRLF after each line."""
    ending = "\r\n" if windows else "\n"
    text = "".join(record(draft) + ending for draft in drafts)
    return text.encode("utf-8-sig" if windows else "utf8")
