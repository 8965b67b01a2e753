"""What became of every annotation line of a folder, and of every mention on its way into tokens.

Counts and line numbers only: an audit never holds text of a note.
"""

from __future__ import annotations

from collections import Counter
from typing import Any, Dict, Iterable, List, Tuple

from wasabi import Printer

from spacy_clinical_ner.brat.align import Alignment, MentionOutcome
from spacy_clinical_ner.brat.document import DROPPED, KEPT, REPAIRED, Audit, BratDocument

STATES = (KEPT, REPAIRED, DROPPED)
_UNREADABLE = "(unreadable)"


class FolderAudit:
    """Collects documents with `add`; `to_dict` is the JSON report, `print` the table."""

    def __init__(self) -> None:
        self._files: Dict[str, Tuple[Audit, List[MentionOutcome], int, int]] = {}

    def add(self, document: BratDocument, alignment: Alignment) -> None:
        """Count one document, of which `alignment` made a Doc."""
        lost = sum(outcome.state == DROPPED for outcome in alignment.relations)
        self._files[document.name] = (document.audit, alignment.mentions, len(alignment.relations), lost)

    @property
    def dropped(self) -> int:
        """Annotation lines plus mentions that were dropped."""
        return self.line_counts()[DROPPED] + self.mention_counts()[DROPPED]

    def line_counts(self) -> Dict[str, int]:
        """Annotation lines read, kept, repaired and dropped; the last three sum to the first."""
        return _counts(state.state for audit, *_ in self._files.values() for state in audit.states)

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
        states = [state for audit, *_ in self._files.values() for state in audit.states]
        mentions = list(self._mentions())
        labels: Dict[str, Dict[str, Dict[str, int]]] = {}
        for kind, label in sorted({(state.kind, state.label or _UNREADABLE) for state in states}):
            labels.setdefault(kind, {})[label] = {}
        groups: Dict[Tuple[str, str], List[str]] = {}
        for state in states:
            groups.setdefault((state.kind, state.label or _UNREADABLE), []).append(state.state)
        for (kind, label), members in groups.items():
            labels[kind][label] = _counts(members)
        return {
            "documents": len(self._files),
            "documents_without_ann": sum(not audit.has_ann for audit, *_ in self._files.values()),
            "dropped": self.dropped,
            "lines": {
                **self.line_counts(),
                "kinds": _grouped((state.kind, state.state) for state in states),
                "labels": labels,
                "reasons": _reasons((state.state, state.reason) for state in states),
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
            "files": {name: _file(audit, outcomes) for name, (audit, outcomes, *_) in self._files.items()},
        }

    def relation_counts(self) -> Dict[str, int]:
        """Relation lines, and how many of them the Docs do not show because one of their mentions is not shown."""
        return {
            "read": sum(read for *_, read, _ in self._files.values()),
            "not_shown": sum(lost for *_, lost in self._files.values()),
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
            printer.table(
                reasons, header=("", "what", "how or why", "count"), divider=True, aligns=("l", "l", "l", "r")
            )
        if mentions["hidden_from_ents"]:
            printer.text("hidden: in the spans group, but doc.ents cannot hold it")
        if mentions["misaligned"]:
            printer.text(f"{mentions['misaligned']} mentions begin or end inside a token of the tokenizer")
        if report["documents_without_ann"]:
            printer.text(f"{report['documents_without_ann']} documents have no .ann file")

    def _mentions(self) -> Iterable[MentionOutcome]:
        return (outcome for _, outcomes, *_ in self._files.values() for outcome in outcomes)


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


def _file(audit: Audit, outcomes: List[MentionOutcome]) -> Dict[str, Any]:
    return {
        "has_ann": audit.has_ann,
        "lines": _counts(state.state for state in audit.states),
        "mentions": _counts(outcome.state for outcome in outcomes),
        "notable": [
            {
                "line": state.line,
                "kind": state.kind,
                "label": state.label,
                "state": state.state,
                "reason": state.reason,
            }
            for state in audit.states
            if state.reason
        ]
        + [
            {
                "line": outcome.entity.line,
                "kind": "mention",
                "label": outcome.entity.label,
                "state": outcome.state,
                "reason": outcome.reason,
            }
            for outcome in outcomes
            if outcome.reason
        ],
    }
