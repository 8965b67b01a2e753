"""`clinical-ner serve`: a pipeline as a service, with a page to try it."""

from __future__ import annotations

import ipaddress
import socket
from contextlib import suppress

import typer

from spacy_clinical_ner.cli.numbers import MAX_COUNT, MAX_THREADS


def serve(
    pipeline: str = typer.Argument(..., help="A pipeline: the folder that `spacy train` wrote, or a package's name."),
    host: str = typer.Option("127.0.0.1", help="Address to listen at; by default nobody else's machine reaches it."),
    port: int = typer.Option(8000, min=0, max=65535, help="Port to listen at; 0 for one that is free."),
    max_bytes: int = typer.Option(
        10_000_000, min=1, max=MAX_COUNT, help="Size of a request's body; a larger one is refused (413)."
    ),
    n_threads: int = typer.Option(1, min=1, max=MAX_THREADS, help="Threads that the pipeline computes with."),
    batch_tokens: int = typer.Option(
        20_000, min=1, max=MAX_COUNT, help="Tokens per batch, of all requests that wait; the last note may exceed it."
    ),
    spans_key: str = typer.Option("sc", help="Key of doc.spans with mentions that may overlap."),
) -> None:
    """Serve a pipeline: notes in by HTTP, mentions and relations out as JSON or BRAT.

    POST a note to /annotate, several to /annotate/batch; /docs says how. The page at / shows what is found in a note
    that is pasted there. Nothing is kept, and no note is logged.

    Example: clinical-ner serve es_cantemist_ner --port 8000
    """
    from spacy_clinical_ner.annotation.tables import needed
    from spacy_clinical_ner.bridge.memory import keep_few_shapes
    from spacy_clinical_ner.errors import ClinicalNerError
    from spacy_clinical_ner.pipelines import load_pipeline

    needed("fastapi", "serve")
    uvicorn = needed("uvicorn", "serve")
    from wasabi import msg

    from spacy_clinical_ner.service.app import create_app

    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        listening = socket.create_server((host, port), family=family)
    except OSError as error:
        raise ClinicalNerError(f"{host}, port {port}: {error.strerror or error}") from None
    keep_few_shapes()
    with listening:
        app = create_app(
            load_pipeline(pipeline), max_bytes=max_bytes, spans_key=spans_key, n_threads=n_threads,
            batch_tokens=batch_tokens,
        )  # fmt: skip
        address, bound = listening.getsockname()[:2]
        if not ipaddress.ip_address(address).is_loopback:
            msg.warn("Notes travel over the network as they are, and anybody may send some: see docs/service.md")
        shown = f"[{address}]" if ":" in address else address
        print(f"Serving {pipeline} at http://{shown}:{bound} (Ctrl+C ends it)", flush=True)
        # No access log: an address may hold anything that somebody typed into it.
        server = uvicorn.Server(uvicorn.Config(app, access_log=False, log_level="warning", server_header=False))
        with suppress(KeyboardInterrupt):  # which uvicorn raises once more when it has ended for it
            server.run(sockets=[listening])
