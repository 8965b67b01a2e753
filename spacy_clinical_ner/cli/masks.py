"""`clinical-ner masks`: a picture of what each task of a joint extractor may look at."""

from __future__ import annotations

from pathlib import Path
from typing import Optional

import typer


def masks(
    output: Path = typer.Argument(..., metavar="OUT.png", help="The picture to write."),
    note: Optional[Path] = typer.Option(
        None, help="A note (.txt) with its .ann: draw a relation of it. The picture then shows text of the note."
    ),
    relation: Optional[str] = typer.Option(None, metavar="ID", help="Id of the relation (R1), the first by default."),
    overwrite: bool = typer.Option(
        False, "--overwrite", help="Replace a file that this package did not draw; its own are replaced in any case."
    ),
    context: int = typer.Option(3, min=0, max=1000, help="Tokens to show on both sides of the relation's mentions."),
) -> None:
    """Draw the masks of focused attention: in the task of the entities every position attends to every other one, in
    that of a pair [CLS] sees the two mentions only (Eq. 13), or nothing else is seen at all (Eq. 14).

    Without --note the picture shows an invented finding. Each token is drawn as one position.

    Example: clinical-ner masks masks.png

    Example: clinical-ner masks masks.png --note corpus/test/note-1.txt --relation R4
    """
    from wasabi import msg

    from spacy_clinical_ner.brat import read_document, to_doc
    from spacy_clinical_ner.brat.docs import without_relations
    from spacy_clinical_ner.errors import ClinicalNerError, InputError
    from spacy_clinical_ner.joint.mask_plot import EXAMPLE, EXAMPLE_HEAD, EXAMPLE_TAIL, plot_masks
    from spacy_clinical_ner.outputs import PICTURE, check_output
    from spacy_clinical_ner.tokenization import blank_pipeline

    inputs = [] if note is None else [note, note.with_suffix(".ann")]
    check_output(output, PICTURE, inputs=inputs, overwrite=overwrite)
    if note is None:
        if relation is not None:
            raise ClinicalNerError("masks: --relation needs --note")
        plot_masks(EXAMPLE, EXAMPLE_HEAD, EXAMPLE_TAIL, output)
        msg.good(f"Saved the masks to {output}")
        return
    document = read_document(note)
    wanted = [line for line in document.relations if relation is None or line.id == relation]
    if not wanted:
        what = "no relation" if relation is None else f"no relation {relation}"
        raise InputError(note.with_suffix(".ann"), None, what)
    doc = to_doc(blank_pipeline("xx"), without_relations(document, wanted[:1]))
    found = doc._.relations
    if not found:
        raise InputError(note.with_suffix(".ann"), None, f"the mentions of {wanted[0].id} do not become tokens")
    head, tail = ((span.start, span.end) for span in (found[0].head, found[0].tail))
    first = max(0, min(head[0], tail[0]) - context)
    last = min(len(doc), max(head[1], tail[1]) + context)
    moved = [(start - first, end - first) for start, end in (head, tail)]
    plot_masks([token.text for token in doc[first:last]], moved[0], moved[1], output)
    msg.good(f"Saved the masks of {wanted[0].id} to {output}; the picture shows text of the note")
