"""The CRF's loss by a decoder that allows for unknown tags, beside the plain likelihood, which knows of none."""

from __future__ import annotations

import time
from typing import Any

import typer

from benchmarks.common import table
from benchmarks.crf.__main__ import SHAPES, _in_turn, _load

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


def measure(sequences: int, length: int, tags: int, unknown: float, budget: float) -> dict[str, Any]:
    """Time both with their gradients in turn; `unknown` is the share of the decoder's tokens without a tag.

    With none the two losses must be the same at every call.
    """
    import torch

    from spacy_clinical_ner.layers.crf.decoders import make_decoder
    from spacy_clinical_ner.layers.crf.tag_scheme import UNKNOWN, TagScheme

    torch.set_num_threads(1)
    torch.manual_seed(0)
    decoder = make_decoder("crf", TagScheme("BIO"), (tags - 1) // 2)
    scores = torch.randn(sequences, length, decoder.num_tags)
    mask = torch.arange(length) < torch.randint(length // 4, length + 1, (sequences,)).unsqueeze(1)
    known = torch.zeros(sequences, length, dtype=torch.long)
    partly = known.masked_fill(torch.rand(known.shape) < unknown, UNKNOWN)
    crf = decoder.crf

    def step(loss: Any) -> torch.Tensor:
        leaf = scores.clone().requires_grad_()
        crf.zero_grad()
        value = loss(leaf)
        value.backward()
        return value.detach()

    def same(a: torch.Tensor, b: torch.Tensor) -> None:
        if not unknown:
            torch.testing.assert_close(a, b)

    found = _in_turn(
        lambda: step(lambda leaf: decoder.loss(leaf, partly, mask)),
        lambda: step(lambda leaf: -crf(leaf, known, mask=mask, reduction="sum")),
        same,
        budget,
        time.process_time,  # of one thread, and so the same beside other work
    )
    what = f"{unknown:.0%} of tags unknown" if unknown else "no tag unknown"
    return {
        "name": f"{(sequences, length, tags)}, {what}",
        "milliseconds": round(1000 * found["ours"], 2),
        "time_ratio": round(found["ours"] / found["theirs"], 3),
    }


@app.command()
def main(
    budget: float = typer.Option(4.0, help="Seconds for each row; more gives steadier medians."),
    record: bool = typer.Option(False, "--record", help="Add the figures to benchmarks/results/."),
) -> None:
    """What unknown tags cost: CPU time of loss and gradients over that of the likelihood of a full tagging, in turn.

    Example: python -m benchmarks.crf.unknown --record
    """
    rows = [measure(*shape, unknown, budget) for shape in SHAPES[1:4] for unknown in (0.0, 0.1)]
    typer.echo(table(list(rows[0]), [list(row.values()) for row in rows]))
    if record:
        from benchmarks.results import record as write

        setting = f"CPU time of 1 thread{_load()}; (sequences, length, tags)"
        typer.echo(f"Recorded in {write('crf unknown', rows, ('torch', 'numpy'), setting=setting)}")


if __name__ == "__main__":
    app()
