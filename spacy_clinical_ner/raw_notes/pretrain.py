"""From raw notes to an encoder on disk: everything that `clinical-ner pretrain` does."""

from __future__ import annotations

import hashlib
import shutil
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Callable, Dict, List, Optional, Sequence, Tuple, Union

import srsly
import torch

from spacy_clinical_ner.errors import ClinicalNerError, InputError
from spacy_clinical_ner.files import replacing
from spacy_clinical_ner.outputs import ENCODER, check_output
from spacy_clinical_ner.plotting import require_plots
from spacy_clinical_ner.raw_notes.card import write_card
from spacy_clinical_ner.raw_notes.checkpoint import CheckpointFolder, Progress
from spacy_clinical_ner.raw_notes.data import MaskedNotes
from spacy_clinical_ner.raw_notes.duplicates import find_near_duplicates
from spacy_clinical_ner.raw_notes.loss_plot import plot_loss
from spacy_clinical_ner.raw_notes.network import load_masked_model, new_model, save_encoder
from spacy_clinical_ner.raw_notes.notes import RawNote, read_notes, split_held_out
from spacy_clinical_ner.raw_notes.settings import (
    CONTINUED_BATCH,
    CONTINUED_LENGTH,
    CONTINUED_RATE,
    HELD_OUT_SEQUENCES,
    PASSES,
    SIZES,
    PretrainingSettings,
)
from spacy_clinical_ner.raw_notes.start import informed_start
from spacy_clinical_ner.raw_notes.training import Trainer
from spacy_clinical_ner.transformers.loading import longest_input
from spacy_clinical_ner.transformers.vocabulary import train_tokenizer

PathLike = Union[str, Path]


@dataclass(frozen=True)
class PretrainingSummary:
    """What went into an encoder and how it went.

    near_duplicates: notes left out since they nearly repeat another; empty: since they have no text. pieces: word
    pieces in the training notes; tokens: pieces that training read in all. seconds: wall time over all resumptions.
    """

    notes_read: int
    near_duplicates: int
    empty: int
    training_notes: int
    held_out_notes: int
    pieces: int
    vocabulary: int
    parameters: int
    sequence_length: int
    batch_size: int
    steps: int
    epochs: float
    tokens: int
    first_perplexity: float
    perplexity: float
    tokens_per_second: float
    seconds: float

    def to_dict(self) -> Dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True)
class _SelectedNotes:
    train: List[RawNote]
    held_out: List[RawNote]
    read: int
    duplicates: int
    empty: int


def pretrain(
    sources: Sequence[PathLike],
    output: PathLike,
    settings: PretrainingSettings = PretrainingSettings(),
    *,
    lang: Optional[str] = None,
    gpu_id: int = -1,
    restart: bool = False,
    overwrite: bool = False,
    plots: bool = True,
    progress: bool = False,
    say: Callable[[str], None] = lambda line: None,
    report: Callable[[Dict[str, Any]], None] = lambda row: None,
) -> PretrainingSummary:
    """Train an encoder on the notes of `sources` and write it to the folder `output`, which appears whole or not.

    Until then the run keeps its state in OUTPUT.partial; called again with the same notes and settings it goes on
    from there, with the same loss curve as a run that was never stopped. lang: for the model card.
    Raises InputError for notes that cannot be read, ClinicalNerError for settings that cannot be.
    """
    started = time.monotonic()
    output = Path(output)
    given = [*sources, *([settings.start] if settings.start else [])]
    check_output(output, ENCODER, inputs=given, overwrite=overwrite)
    if plots:
        require_plots("matplotlib")
    device = _device(gpu_id)
    notes = _select(sources, settings)
    say(
        f"{notes.read:,} notes read; {notes.duplicates:,} near-duplicates and {notes.empty:,} without text left out; "
        f"{len(notes.held_out):,} held out"
    )
    torch.manual_seed(settings.seed)
    tokenizer, model, length, batch_size, rate = _build(notes, sources, settings)
    data = MaskedNotes(tokenizer, [note.text for note in notes.train], length, batch_size, settings.seed)
    held_out = MaskedNotes(tokenizer, [note.text for note in notes.held_out], length, batch_size, settings.seed)
    if not data.sequences or not held_out.sequences:
        raise InputError(Path(sources[0]), None, "no word pieces in these notes")
    say(f"{len(tokenizer):,} word pieces in the vocabulary; {len(data.notes.ids):,} in the notes: "
        f"{data.sequences:,} sequences of {length}")  # fmt: skip
    total = settings.max_steps
    if total is None and settings.max_minutes is None:
        total = PASSES * data.steps_per_epoch
    checkpoints = CheckpointFolder(output)
    if restart:
        checkpoints.remove()
    trainer = Trainer(
        model,
        data,
        held_out.held_out_batches(HELD_OUT_SEQUENCES),
        settings,
        rate=rate,
        total=total,
        device=device,
        checkpoints=checkpoints,
        identity={**asdict(settings), "notes": data.digest(), "vocabulary": _digest(tokenizer)},
        started=started,
        report=report,
        progress=progress,
    )
    if trainer.resume():
        say(f"going on at step {trainer.progress.step:,}")
    elif settings.start is None and not settings.random_start:
        informed_start(model, data.notes, settings.seed)
    done = trainer.run()
    summary = PretrainingSummary(
        notes_read=notes.read,
        near_duplicates=notes.duplicates,
        empty=notes.empty,
        training_notes=len(notes.train),
        held_out_notes=len(notes.held_out),
        pieces=len(data.notes.ids),
        vocabulary=len(tokenizer),
        parameters=sum(parameter.numel() for parameter in model.parameters()),
        sequence_length=length,
        batch_size=batch_size,
        steps=done.step,
        epochs=round(done.step / data.steps_per_epoch, 3),
        tokens=done.pieces,
        first_perplexity=done.evaluations[0]["perplexity"],
        perplexity=done.evaluations[-1]["perplexity"],
        tokens_per_second=round(done.speed(), 1),
        seconds=done.evaluations[-1]["seconds"],
    )
    _write(output, tokenizer, model, done, summary, settings, lang, plots)
    checkpoints.remove()
    return summary


def _select(sources: Sequence[PathLike], settings: PretrainingSettings) -> _SelectedNotes:
    found = read_notes(map(Path, sources))
    filled = [note for note in found if note.text.strip()]
    repeats = find_near_duplicates([note.text for note in filled])
    distinct = [note for index, note in enumerate(filled) if index not in repeats]
    if len(distinct) < 2:
        raise InputError(Path(sources[0]), None, f"{len(distinct)} distinct notes with text; two are needed at least")
    train, held_out = split_held_out(distinct, settings.held_out)
    return _SelectedNotes(train, held_out, len(found), len(repeats), len(found) - len(filled))


def _build(
    notes: _SelectedNotes, sources: Sequence[PathLike], settings: PretrainingSettings
) -> Tuple[Any, Any, int, int, float]:
    """(tokenizer, model, sequence length, batch size, peak learning rate)."""
    if settings.start is None:
        size = SIZES[settings.size]
        length = settings.sequence_length or size.sequence_length
        wanted = settings.vocab_size or size.vocab_size
        try:
            tokenizer = train_tokenizer(
                (note.text for note in notes.train), wanted, min_notes=settings.min_notes, max_length=length
            )
        except ValueError as error:
            raise InputError(Path(sources[0]), None, f"{error}; add notes or lower --min-notes") from None
        model = new_model(size, len(tokenizer), length, tokenizer.pad_token_id)
        batch_size, rate = settings.batch_size or size.batch_size, settings.learning_rate or size.learning_rate
        return tokenizer, model, length, batch_size, rate
    tokenizer, encoder = load_masked_model(settings.start)
    longest = longest_input(tokenizer, encoder)
    length = settings.sequence_length or min(longest or CONTINUED_LENGTH, CONTINUED_LENGTH)
    if longest is not None and length > longest:
        raise ClinicalNerError(f"encoder {settings.start} reads at most {longest} pieces; lower --sequence-length")
    return (
        tokenizer,
        encoder,
        length,
        settings.batch_size or CONTINUED_BATCH,
        settings.learning_rate or CONTINUED_RATE,
    )


def _write(
    output: Path,
    tokenizer: Any,
    model: Any,
    done: Progress,
    summary: PretrainingSummary,
    settings: PretrainingSettings,
    lang: Optional[str],
    plots: bool,
) -> None:
    with replacing(output) as temporary:
        temporary.mkdir()
        save_encoder(temporary, tokenizer, model.cpu(), fresh=settings.start is None)
        srsly.write_jsonl(temporary / "loss.jsonl", done.rows())
        # Where the notes or the encoder lay is nobody's business but the writer's: names only.
        start = Path(settings.start).name if settings.start else None
        card = write_card(summary.to_dict(), {**asdict(settings), "start": start}, lang, start)
        if plots:
            plot_loss(done, temporary / "loss.png")
        else:
            card = card.replace("![Loss and perplexity](loss.png)\n\n", "")
        (temporary / "README.md").write_text(card, encoding="utf8")
        # safetensors lets nobody but the writer read the weights; they are as secret as the files beside them.
        shutil.copymode(temporary / "README.md", temporary / "model.safetensors")


def _device(gpu_id: int) -> torch.device:
    if gpu_id < 0:
        return torch.device("cpu")
    if gpu_id >= torch.cuda.device_count():
        raise ClinicalNerError(f"no GPU {gpu_id} on this machine; torch finds {torch.cuda.device_count()}")
    return torch.device("cuda", gpu_id)


def _digest(tokenizer: Any) -> str:
    pieces = sorted(tokenizer.get_vocab().items(), key=lambda item: item[1])
    return hashlib.sha256(repr(pieces).encode("utf8", "surrogatepass")).hexdigest()
