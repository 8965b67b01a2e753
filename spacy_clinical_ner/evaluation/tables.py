"""Scores and statistics as tables for people to read in a terminal."""

from __future__ import annotations

from typing import Any, Dict, List, Mapping, Sequence, Tuple

from wasabi import Printer

from spacy_clinical_ner.evaluation.metrics import AVERAGES

_SCORE_HEADER = ("", "P", "R", "F", "95% CI of F", "gold", "tp", "fp", "fn")
_SCORE_ALIGNS = ("l", *"rrrrrrrr")


def print_metrics(metrics: Mapping[str, Any], printer: Printer) -> None:
    """Print what `scoring.metrics` gives back, in percent."""
    printer.divider(f"Character level, {metrics['documents']:,} documents")
    for name in ("strict", "relaxed"):
        rule = "label and exact offsets" if name == "strict" else "label and any shared character, one-to-one"
        _print_scores(f"Entities, {name}: {rule}", metrics["entities"][name], printer)
    if metrics["relations"] is not None:
        _print_scores("Relations, strict and directed", metrics["relations"]["strict"], printer)
    if metrics["comparison"] is not None:
        _print_comparison(metrics["comparison"], printer)
    for line in remarks(metrics):
        printer.warn(line)


def remarks(metrics: Mapping[str, Any]) -> List[str]:
    """What a reader of the figures should know about the input, one line each."""
    lines = []
    for whose, part in (("", metrics), ("the other predictions: ", metrics["comparison"] or {})):
        missing = part.get("missing_documents", [])
        if missing:
            first = ", ".join(missing[:3]) + (", ..." if len(missing) > 3 else "")
            lines.append(f"{whose}gold documents without a prediction, all missed: {len(missing)} ({first})")
    for side, count in metrics["duplicates"].items():
        if count:
            lines.append(f"{count} {side} mentions repeat another one's label and offsets: counted once")
    for side, count in metrics["repaired_lines"].items():
        if count:
            lines.append(f"{count} {side} annotation lines differ from their text or format: offsets were taken")
    return lines


def _print_scores(title: str, scores: Mapping[str, Any], printer: Printer) -> None:
    rows = [(name, *_score_row(scores[name])) for name in AVERAGES]
    types = sorted(scores["per_type"].items(), key=lambda item: (-item[1]["support"], item[0]))
    if len(types) > 1 or any(score["support"] == 0 for _, score in types):
        rows += [(label, *_score_row(score)) for label, score in types]
    print(f"\n{title}")
    _table(printer, rows, header=_SCORE_HEADER, divider=True, aligns=_SCORE_ALIGNS)


def _score_row(score: Mapping[str, Any]) -> Tuple[str, ...]:
    counts = tuple(f"{score[key]:,}" if key in score else "" for key in ("support", "tp", "fp", "fn"))
    return (*(_percent(score[key]) for key in "prf"), _range(score), *counts)


def _print_comparison(comparison: Mapping[str, Any], printer: Printer) -> None:
    parts: Dict[str, Mapping[str, Any]] = {
        f"{name} entities": scores for name, scores in comparison["entities"].items()
    }
    if comparison["relations"] is not None:
        parts["relations"] = comparison["relations"]["strict"]
    rows = [
        (
            f"{part}, {name}",
            _percent(scores[name]["f"]),
            _percent(scores[name]["other_f"]),
            f"{100 * scores[name]['difference']:+.2f}",
            _range(scores[name], sign="+"),
            f"{scores[name]['p_value']:.4f}",
        )
        for part, scores in parts.items()
        for name in AVERAGES
    ]
    header = ("", "F", "other F", "difference", "95% CI", "p")
    print("\nDifference from the other predictions, paired bootstrap over documents")
    _table(printer, rows, header=header, divider=True, aligns=("l", *"rrrrr"))


def print_corpus(report: Mapping[str, Any], printer: Printer) -> None:
    """Print what `corpus.corpus_report` gives back."""
    entities = report["entities"]
    rows: List[Sequence[str]] = [
        (name.replace("_", " "), f"{report[name]:,}") for name in ("documents", "characters", "tokens")
    ]
    rows.append(("sentence-like units", f"{report['sentences']:,}"))
    rows += [(f"{kind} lines", f"{count:,}") for kind, count in report["lines"].items()]
    rows.append(("discontinuous mentions", f"{entities['discontinuous']:,}"))
    rows.append(("mentions with an edge inside a token", f"{entities['misaligned']:,}"))
    for name, what in (
        ("documents_without_ann", "documents without .ann"),
        ("repaired_lines", "repaired annotation lines"),
    ):
        if report[name]:
            rows.append((what, f"{report[name]:,}"))
    if entities["duplicates"]:
        rows.append(("repeated mentions", f"{entities['duplicates']:,}"))
    printer.divider("Corpus")
    _table(printer, rows, aligns=("l", "r"))
    _print_labels(entities["labels"], printer)
    _print_overlaps(report["overlaps"], printer)
    for kind in ("relations", "equivalences", "attributes"):
        if report[kind]:
            print(f"\n{kind.capitalize()}")
            counts = [(label, f"{count:,}") for label, count in report[kind].items()]
            _table(printer, counts, header=("label", "count"), divider=True, aligns=("l", "r"))
    print_ceilings(report["ceiling"], report["policy"], printer)


def _print_labels(labels: Mapping[str, Any], printer: Printer) -> None:
    header = ("label", "mentions", "documents", "tokens: mean", "median", "max", "characters: mean", "max")
    rows = [
        (
            label,
            f"{row['count']:,}",
            f"{row['documents']:,}",
            f"{row['tokens']['mean']:.1f}",
            f"{row['tokens']['median']:g}",
            f"{row['tokens']['max']:,}",
            f"{row['characters']['mean']:.1f}",
            f"{row['characters']['max']:,}",
        )
        for label, row in labels.items()
    ]
    print("\nMentions per label, each counted once")
    _table(printer, rows, header=header, divider=True, aligns=("l", *"rrrrrrr"))


def _print_overlaps(overlaps: Mapping[str, Any], printer: Printer) -> None:
    if not overlaps["mentions"]:
        print("\nNo mention overlaps another")
        return
    kinds = ("same_extent", "nested", "crossing")
    print(f"\nOverlapping pairs ({overlaps['mentions']:,} mentions)")
    _table(
        printer,
        [
            (labels.replace("_", " "), *(f"{overlaps[labels][kind]:,}" for kind in kinds))
            for labels in ("same_label", "different_label")
        ],
        header=("", *(kind.replace("_", " ") for kind in kinds)),
        divider=True,
        aligns=("l", *"rrr"),
    )


def print_ceilings(ceilings: Mapping[str, Any], policy: Mapping[str, str], printer: Printer) -> None:
    """Print the scores of the perfect model, and why it is not perfect."""
    names = {"flat": "flat (doc.ents)", "per_label": "one chain per label (doc.spans)"}
    settings = ", ".join(f"{name}: {choice}" for name, choice in policy.items())
    print(f"\nCeiling: the best strict micro F that a model can reach ({settings})")
    rows, losses = [], []
    for view, ceiling in ceilings.items():
        micro = ceiling["strict"]["micro"]
        rows.append((names[view], *(_percent(micro[key]) for key in "prf"), f"{micro['fn']:,}", f"{micro['fp']:,}"))
        losses += [(names[view], reason, f"{count:,}") for reason, count in ceiling["lost"]["reasons"].items()]
    header = ("", "P", "R", "F", "lost", "spurious")
    _table(printer, rows, header=header, divider=True, aligns=("l", *"rrrrr"))
    if losses:
        _table(printer, losses, header=("lost from", "because it", "mentions"), divider=True, aligns=("l", "l", "r"))


def _table(printer: Printer, rows: Sequence[Sequence[str]], **kwargs: Any) -> None:
    printer.table(rows, max_col=80, **kwargs)  # wasabi's default of 30 sets wider cells out of line


def _percent(value: float) -> str:
    return f"{100 * value:.2f}"


def _range(score: Mapping[str, Any], sign: str = "") -> str:
    if score["ci_low"] is None:
        return ""
    return f"{100 * score['ci_low']:{sign}.2f} to {100 * score['ci_high']:{sign}.2f}"
