"""What became of every annotation line of a folder, and of every mention on its way into tokens.

Counts and line numbers only: an audit never holds text of a note.
"""

from __future__ import annotations

from collections import Counter
from typing import Any, Dict, Iterable, List, NamedTuple, Tuple

from wasabi import Printer

from spacy_clinical_ner.brat.align import Alignment, MentionOutcome
from spacy_clinical_ner.brat.document import DROPPED, KEPT, REPAIRED, Audit, BratDocument, LineState

STATES = (KEPT, REPAIRED, DROPPED)
_UNREADABLE = "(unreadable)"


class _File(NamedTuple):
    lines: Audit
    mentions: List[MentionOutcome]
    relations: int
    relations_not_shown: int


class FolderAudit:
    """Collects documents with `add`; `to_dict` is the JSON report, `print` the table."""

    def __init__(self) -> None:
        self._files: Dict[str, _File] = {}

    def add(self, document: BratDocument, alignment: Alignment) -> None:
        """Count one document, of which `alignment` made a Doc."""
        lost = sum(outcome.state == DROPPED for outcome in alignment.relations)
        self._files[document.name] = _File(document.audit, alignment.mentions, len(alignment.relations), lost)

    @property
    def dropped(self) -> int:
        """Annotation lines plus mentions that were dropped."""
        return self.line_counts()[DROPPED] + self.mention_counts()[DROPPED]

    def line_counts(self) -> Dict[str, int]:
        """Annotation lines read, kept, repaired and dropped; the last three sum to the first."""
        return _counts(state.state for state in self._lines())

    def mention_counts(self) -> Dict[str, int]:
        """Mentions read, kept, repaired and dropped on the way into tokens."""
        return _counts(outcome.state for outcome in self._mentions())

    def to_dict(self) -> Dict[str, Any]:
        """The report as plain data.

        lines: totals, then per kind of line, per label (of each kind) and per reason.
        mentions: totals, then per label and per reason; `hidden_from_ents` are in the spans group only, by reason;
            `misaligned` begin or end inside a token of the tokenizer.
        relations: lines read, and those not shown because a mention was not.
        files: per file the totals and every line that was not simply kept, by number.
        """
        lines = list(self._lines())
        mentions = list(self._mentions())
        kinds = _grouped((line.kind, line.state) for line in lines)
        return {
            "documents": len(self._files),
            "documents_without_ann": sum(not file.lines.has_ann for file in self._files.values()),
            "dropped": self.dropped,
            "lines": {
                **self.line_counts(),
                "kinds": kinds,
                "labels": {
                    kind: _grouped((line.label or _UNREADABLE, line.state) for line in lines if line.kind == kind)
                    for kind in kinds
                },
                "reasons": _reasons((line.state, line.reason) for line in lines),
            },
            "mentions": {
                **self.mention_counts(),
                "misaligned": sum(outcome.misaligned for outcome in mentions),
                "hidden_from_ents": dict(
                    sorted(Counter(outcome.hidden for outcome in mentions if outcome.hidden).items())
                ),
                "labels": _grouped((outcome.entity.label, outcome.state) for outcome in mentions),
                "reasons": _reasons((outcome.state, outcome.reason) for outcome in mentions),
            },
            "relations": self.relation_counts(),
            "files": {name: _report(file) for name, file in self._files.items()},
        }

    def relation_counts(self) -> Dict[str, int]:
        """Relation lines, and how many of them the Docs do not show because one of their mentions is not shown."""
        return {
            "read": sum(file.relations for file in self._files.values()),
            "not_shown": sum(file.relations_not_shown for file in self._files.values()),
        }

    def print(self, printer: Printer) -> None:
        """Print the totals, and the reasons where there are any."""
        report = self.to_dict()
        lines, mentions = report["lines"], report["mentions"]
        header = ("", "read", *STATES)
        rows = [(f"{kind} lines", *_row(counts)) for kind, counts in lines["kinds"].items()]
        rows.append(("all lines", *_row(lines)))
        rows.append(("mentions as tokens", *_row(mentions)))
        printer.divider(f"{report['documents']} documents")
        printer.table(rows, header=header, divider=True, aligns=("l", "r", "r", "r", "r"))
        reasons = [
            (row["state"], level, row["reason"], row["count"])
            for level, part in (("line", lines), ("mention", mentions))
            for row in part["reasons"]
        ]
        reasons += [("hidden", "mention", why, count) for why, count in mentions["hidden_from_ents"].items()]
        if report["relations"]["not_shown"]:
            reasons.append(("hidden", "relation", "one of its mentions is not shown", report["relations"]["not_shown"]))
        if reasons:
            columns = ("", "what", "how or why", "count")
            printer.table(reasons, header=columns, divider=True, aligns=("l", "l", "l", "r"), max_col=80)
        if mentions["hidden_from_ents"]:
            printer.text("hidden: in the spans group, but doc.ents cannot hold it")
        if mentions["misaligned"]:
            printer.text(f"{mentions['misaligned']} mentions begin or end inside a token of the tokenizer")
        if report["documents_without_ann"]:
            printer.text(f"{report['documents_without_ann']} documents have no .ann file")

    def _lines(self) -> Iterable[LineState]:
        return (line for file in self._files.values() for line in file.lines.states)

    def _mentions(self) -> Iterable[MentionOutcome]:
        return (outcome for file in self._files.values() for outcome in file.mentions)


def _counts(states: Iterable[str]) -> Dict[str, int]:
    counter = Counter(states)
    return {"read": sum(counter.values()), **{state: counter[state] for state in STATES}}


def _grouped(pairs: Iterable[Tuple[str, str]]) -> Dict[str, Dict[str, int]]:
    groups: Dict[str, List[str]] = {}
    for key, state in pairs:
        groups.setdefault(key, []).append(state)
    return {key: _counts(groups[key]) for key in sorted(groups)}


def _reasons(pairs: Iterable[Tuple[str, str]]) -> List[Dict[str, Any]]:
    counter = Counter((state, reason) for state, reason in pairs if reason)
    return [{"state": state, "reason": reason, "count": n} for (state, reason), n in sorted(counter.items())]


def _row(counts: Dict[str, Any]) -> Tuple[int, ...]:
    return tuple(counts[name] for name in ("read", *STATES))


def _report(file: _File) -> Dict[str, Any]:
    notable = [(line.line, line.kind, line.label, line.state, line.reason) for line in file.lines.states]
    notable += [
        (outcome.entity.line, "mention", outcome.entity.label, outcome.state, outcome.reason)
        for outcome in file.mentions
    ]
    return {
        "has_ann": file.lines.has_ann,
        "lines": _counts(line.state for line in file.lines.states),
        "mentions": _counts(outcome.state for outcome in file.mentions),
        "notable": [dict(zip(("line", "kind", "label", "state", "reason"), row)) for row in notable if row[-1]],
    }
