"""The service: what can be asked for, in which form, and the answers in words when something is wrong with it."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any, AsyncIterator, Dict, List, Optional

from fastapi import FastAPI, Query, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import FileResponse, JSONResponse, PlainTextResponse
from pydantic import BaseModel, ConfigDict, Field, create_model, field_validator
from spacy.language import Language
from spacy.tokens import Doc
from starlette.exceptions import HTTPException

from spacy_clinical_ner.annotation.piping import Job
from spacy_clinical_ner.annotation.rows import ROWS, Row, above, note_rows, standoff
from spacy_clinical_ner.annotation.runs import pipeline_fingerprint
from spacy_clinical_ner.annotation.tables import is_unicode
from spacy_clinical_ner.errors import InputError
from spacy_clinical_ner.evaluation import report
from spacy_clinical_ner.service.guard import Guard
from spacy_clinical_ner.service.worker import Busy, Make, Worker

MAX_BYTES = 10_000_000
_OWN = Path(__file__).parent / "templates"
_SHARED = Path(report.__file__).parent / "templates"  # colours and arcs are those of the report
_FILES = {"base.css": _SHARED, "arc.js": _SHARED, "page.css": _OWN, "page.js": _OWN, "api.js": _OWN}


class OneNote(BaseModel):
    """A note."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"text": "Carcinoma de mama."}]})
    text: str = Field(description="what it says; offsets count its characters as Python does")
    note_id: str = Field("note", min_length=1, description="its id, which comes back in every row")

    @field_validator("text", "note_id")
    @classmethod
    def _unicode(cls, value: str) -> str:
        if not is_unicode(value):
            raise ValueError("half of a surrogate pair is no character")
        return value


class SeveralNotes(BaseModel):
    """Several notes, of different ids."""

    model_config = ConfigDict(extra="forbid")
    notes: List[OneNote]

    @field_validator("notes")
    @classmethod
    def _different(cls, notes: List[OneNote]) -> List[OneNote]:
        if len({note.note_id for note in notes}) < len(notes):
            raise ValueError("every note needs a note_id of its own")
        return notes


_TYPES: Dict[type, Any] = {list: List[List[int]]}
RowModel = create_model(
    "Row",
    **{  # type: ignore[call-overload]
        column.name: (
            _TYPES.get(column.type, column.type) if column.required else Optional[_TYPES.get(column.type, column.type)],
            Field(description=column.meaning),
        )
        for column in ROWS
    },
)


class Failure(BaseModel):
    """A note that could not be annotated."""

    note_id: str
    reason: str = Field(description="why not; nothing of it is text of the note")


class Answer(BaseModel):
    """What was found in notes: the rows that `clinical-ner annotate --format jsonl` writes."""

    rows: List[RowModel]  # type: ignore[valid-type]
    errors: List[Failure]


class Problem(BaseModel):
    """What is wrong with a request, in words that quote nothing of it."""

    detail: str


_PROBLEMS: Dict[Any, Any] = {
    413: {"model": Problem, "description": "The body is too large"},
    422: {"model": Problem, "description": "The body is not what it should be"},
    503: {"model": Problem, "description": "Too many requests wait: try again later"},
}
THRESHOLD = Query(0.0, ge=0, le=1, description="leave out what has a lower confidence; what has none stays")
TEXT = Query(False, description="fill the column text of mentions")


def create_app(
    nlp: Language,
    *,
    max_bytes: int = MAX_BYTES,
    spans_key: str = "sc",
    n_threads: int = 1,
    batch_tokens: int = 20_000,
) -> FastAPI:
    """The service over a pipeline. The options are those of `clinical-ner serve`."""
    worker = Worker(nlp, n_threads=n_threads, batch_tokens=batch_tokens)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        yield
        await asyncio.to_thread(worker.close)

    meta = pipeline_fingerprint(nlp)
    app = FastAPI(
        title=f"{meta['name']} {meta['version']}", version=version("spacy-clinical-ner"), lifespan=lifespan,
        description="Mentions and relations in clinical notes.", docs_url=None, redoc_url=None,
    )  # fmt: skip
    app.add_middleware(Guard, max_bytes=max_bytes)
    app.add_exception_handler(RequestValidationError, _unprocessable)
    app.add_exception_handler(HTTPException, _refused)

    def rows_of(job: Job, doc: Doc, *, text: bool, threshold: float) -> List[Row]:
        return above(note_rows(doc, job.id, spans_key=spans_key, text=text), threshold)

    @app.post("/annotate", responses={200: {"model": Answer}, **_PROBLEMS}, summary="Annotate a note")
    async def annotate(note: OneNote, threshold: float = THRESHOLD, text: bool = TEXT) -> Any:
        """A row for every mention, in the order of their offsets, then one for every relation."""
        return await _found(worker, [note], partial(rows_of, text=text, threshold=threshold))

    @app.post("/annotate/batch", responses={200: {"model": Answer}, **_PROBLEMS}, summary="Annotate several notes")
    async def annotate_batch(batch: SeveralNotes, threshold: float = THRESHOLD, text: bool = TEXT) -> Any:
        """The rows of each note, one after the other. A note that fails costs no other."""
        return await _found(worker, batch.notes, partial(rows_of, text=text, threshold=threshold))

    @app.post("/annotate/brat", response_class=PlainTextResponse, responses=_PROBLEMS, summary="Annotate as BRAT")
    async def annotate_brat(note: OneNote, threshold: float = THRESHOLD) -> Any:
        """The .ann that goes beside the note."""

        def ann(job: Job, doc: Doc) -> str:
            return standoff(doc, rows_of(job, doc, text=False, threshold=threshold), spans_key=spans_key)

        [made] = await _made(worker, [note], ann)
        if isinstance(made, InputError):
            raise HTTPException(422, made.reason)
        return PlainTextResponse(made)

    @app.get("/health", summary="Is it there?", responses={503: {"model": Problem}})
    async def health() -> Dict[str, str]:
        """Whether notes can be annotated."""
        if not worker.alive:
            raise HTTPException(503, "the pipeline has stopped")
        return {"status": "ok"}

    @app.get("/version", summary="What is it?")
    async def versions() -> Dict[str, Any]:
        """Versions of the software, and name, version and checksum of the pipeline."""
        return {"pipeline": meta, **{name: version(name) for name in ("spacy-clinical-ner", "spacy")}}

    @app.get("/", include_in_schema=False)
    async def page() -> Any:
        return FileResponse(_OWN / "page.html")

    @app.get("/docs", include_in_schema=False)
    async def documentation() -> Any:
        return FileResponse(_OWN / "api.html")

    @app.get("/static/{name}", include_in_schema=False)
    async def static(name: str) -> Any:
        if name not in _FILES:
            raise HTTPException(404)
        return FileResponse(_FILES[name] / name)

    return app


async def _made(worker: Worker, notes: List[OneNote], make: Make) -> List[Any]:
    jobs = [Job(note.note_id, text=note.text) for note in notes]
    try:
        return await asyncio.wrap_future(worker.submit(jobs, make))
    except Busy:
        raise HTTPException(503, "too many requests wait: try again later", {"retry-after": "1"}) from None


async def _found(worker: Worker, notes: List[OneNote], make: Make) -> JSONResponse:
    rows: List[Row] = []
    errors = []
    for note, made in zip(notes, await _made(worker, notes, make)):
        if isinstance(made, InputError):
            errors.append({"note_id": note.note_id, "reason": made.reason})
        else:
            rows += made
    return JSONResponse({"rows": rows, "errors": errors})


_KNOWN = {"body", "query", "notes", "text", "note_id", "threshold"}


async def _unprocessable(request: Request, error: Exception) -> JSONResponse:
    """FastAPI's own answer would quote the note, and names of fields that it does not know may be anything."""
    assert isinstance(error, RequestValidationError)
    found = []
    for each in error.errors()[:5]:
        place = [str(part) for part in each["loc"] if isinstance(part, int) or part in _KNOWN]
        unknown = " (a field that is not known)" if each["type"] == "extra_forbidden" else ""
        if each["type"] == "json_invalid":
            place = place[:1]
        found.append(f"{'.'.join(place)}: {each['msg']}{unknown}")
    more = len(error.errors()) - len(found)
    return JSONResponse({"detail": "; ".join(found) + (f"; and {more} more" if more else "")}, 422)


async def _refused(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)
    # A body that no parser of JSON takes (not UTF-8, or lists within lists without end) is a bad body like any other.
    status, words = error.status_code, error.detail
    if status == 400:
        status, words = 422, "body: not JSON in UTF-8 that can be read"
    return JSONResponse({"detail": words}, status, error.headers)
