"""A small student from a large teacher: the CRF of the one learns the distribution of the other on raw notes.

On annotated notes, where there are such, it learns the annotations in the same steps.
"""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass
from typing import Any, Callable, Dict, Iterable, List, Optional, Sequence, Tuple, Union

import numpy
import torch
from spacy.language import Language
from spacy.tokens import Doc
from spacy.training import Example
from spacy.util import fix_random_seed, load_model_from_config, registry
from thinc.api import Config, Optimizer, set_dropout_rate, to_numpy
from thinc.types import Floats2d

from spacy_clinical_ner.bridge.array_file import ArrayFile
from spacy_clinical_ner.bridge.torch_shim import as_floats2d, as_tensor
from spacy_clinical_ner.bridge.trainable import listens
from spacy_clinical_ner.errors import ClinicalNerError
from spacy_clinical_ner.layers.crf import LinearChainCRF
from spacy_clinical_ner.layers.crf.divergence import crf_divergence
from spacy_clinical_ner.tagging.pool import decoder
from spacy_clinical_ner.tagging.tagger_component import CrfEntityRecognizer
from spacy_clinical_ner.windows.batches import group_by_length, pad_chains
from spacy_clinical_ner.windows.planning import batch_docs

NamedText = Tuple[str, str]
# A raw note, or an annotated one.
Item = Union[NamedText, Example]


@dataclass(frozen=True)
class DistillationSettings:
    """temperature: by which the scores of both are divided. batch_tokens: tokens of a batch; a longer note goes alone.

    epochs: passes over the notes, if max_steps does not end them before. dropout: of the student, while it learns.
    evaluations: on held-out notes, spread evenly over the first `epochs`.
    gold_passes: over the annotated notes, for each pass over the raw ones.
    cache_gb: room for the teacher's emissions in a temporary file, so that it reads each note once, not once an epoch.
    """

    temperature: float = 2.0
    epochs: int = 5
    max_steps: Optional[int] = None
    batch_tokens: int = 1500
    dropout: float = 0.2
    evaluations: int = 5
    seed: int = 0
    gold_passes: int = 1
    cache_gb: float = 2.0


@dataclass(frozen=True)
class Agreement:
    """How close the student is to the teacher on notes that it did not learn from.

    divergence: KL(teacher || student) at the temperature of training, nats per token. precision, recall, f: of the
    student's mentions, with the teacher's in place of gold; same edges, same label.
    """

    step: int
    divergence: float
    precision: float
    recall: float
    f: float
    seconds: float

    def to_dict(self) -> Dict[str, float]:
        return asdict(self)


def find_tagger(nlp: Language, name: str, whose: str) -> CrfEntityRecognizer:
    """The tagger of that name. Raises ClinicalNerError if there is none, if it has no CRF, or if it has a view."""
    if name not in nlp.pipe_names:
        raise ClinicalNerError(f"{whose} has no component '{name}'; it has {', '.join(nlp.pipe_names)}")
    pipe = nlp.get_pipe(name)
    if not isinstance(pipe, CrfEntityRecognizer):
        raise ClinicalNerError(f"component '{name}' of {whose} is neither a crf_ner nor a label_attention_ner")
    if pipe.view is not None:
        raise ClinicalNerError(f"component '{name}' of {whose} has a view: its tokens cannot be compared")
    return pipe


def make_student(config: Config, teacher: CrfEntityRecognizer, name: str, sample: Sequence[str], seed: int) -> Language:
    """The pipeline of a config, initialized with the labels of the teacher instead of those of a corpus.

    sample: some notes, for layers that infer their width. Raises ClinicalNerError if the two do not match: other tag
    scheme, one chain against one for each label, another decoder, or a tok2vec that the tagger shares with others.
    """
    fix_random_seed(seed)
    nlp = load_model_from_config(config, auto_fill=True)
    student = find_tagger(nlp, name, "the student")
    if listens(student.model):
        raise ClinicalNerError(f"'{name}' of the student listens to another component: give it a tok2vec of its own")
    for what in ("scheme", "spans_key"):
        one, other = (getattr(pipe, what) if what == "spans_key" else pipe.scheme.name for pipe in (student, teacher))
        if one != other:
            raise ClinicalNerError(f"the student has {what} = {one}, the teacher {other}: they must be the same")
    nlp.config["initialize"]["components"].setdefault(name, {})["labels"] = list(teacher.labels)
    nlp.initialize(lambda: [Example(nlp.make_doc(text), nlp.make_doc(text)) for text in sample])
    for pipe, whose in ((student, "student"), (teacher, "teacher")):
        if decoder(pipe.model).crf is None:
            raise ClinicalNerError(f"'{pipe.name}' of the {whose} decodes without a CRF: distillation needs one")
    return nlp


def planned_steps(notes: Sequence[NamedText], settings: DistillationSettings, gold: Sequence[Example] = ()) -> int:
    """Steps that `Distillation.run` will take on these notes: what the schedule of a learning rate should end at."""
    epochs = range(settings.epochs)
    steps = sum(len(_batches(_of_epoch(notes, gold, epoch, settings), settings.batch_tokens)) for epoch in epochs)
    return steps if settings.max_steps is None else min(steps, settings.max_steps)


def _of_epoch(
    notes: Sequence[NamedText], gold: Sequence[Example], epoch: int, settings: DistillationSettings
) -> List[Item]:
    items: List[Item] = [*notes, *list(gold) * settings.gold_passes]
    return [items[i] for i in numpy.random.default_rng([settings.seed, epoch]).permutation(len(items))]


def _batches(items: Iterable[Item], batch_tokens: int) -> List[List[Item]]:
    """By the number of words between white space, before any tokenizer has read the notes."""
    batches: List[List[Item]] = []
    words = 0
    for item in items:
        text = item.reference.text if isinstance(item, Example) else item[1]
        size = len(text) // 5 + 1  # characters of a word with its space; near enough for Chinese, too
        if not batches or words + size > batch_tokens:
            batches.append([])
            words = 0
        batches[-1].append(item)
        words += size
    return batches


class Distillation:
    """Trains the tagger `name` of `student` to the distribution that the one of `teacher` has over taggings.

    The loss of a batch is the mean over its notes of T^2 KL(teacher || student) for raw notes, and of the negative
    log-likelihood of the annotations for annotated ones, which the teacher is not asked about: it is surer of notes
    that it was trained on than of any that are new to it.

    notes, held_out: (name, text). gold: annotated notes, their predicted Docs cut by the student's tokenizer (but for
    `gold_tokens`). The student must come from `make_student`.

    Raises ValueError for a label in `gold` that the teacher does not have.
    """

    def __init__(
        self,
        teacher: Language,
        student: Language,
        name: str,
        notes: Sequence[NamedText],
        held_out: Sequence[NamedText],
        settings: DistillationSettings = DistillationSettings(),
        gold: Sequence[Example] = (),
    ) -> None:
        self.teacher_nlp, self.student_nlp = teacher, student
        self.teacher, self.student = (
            find_tagger(nlp, name, whose) for nlp, whose in ((teacher, "the teacher"), (student, "the student"))
        )
        self.notes, self.held_out, self.settings = list(notes), list(held_out), settings
        self.gold = [example for example in gold if self.student.teaches(example)]
        self.student.check_labels({span.label_ for eg in self.gold for span in self.student.gold_spans(eg.reference)})
        self._kept = ArrayFile(int(settings.cache_gb * 2**30))
        names = teacher.pipe_names
        self._before = names[: names.index(name)]
        self._began = time.monotonic()

    def run(
        self,
        optimizer: Optional[Optimizer] = None,
        report: Callable[[Agreement], None] = lambda agreement: None,
        watch: Callable[[Iterable[Any]], Iterable[Any]] = lambda batches: batches,
    ) -> List[Agreement]:
        """Train; gives the agreement before, at intervals and at the end.

        optimizer: that of the student's config by default; its averaged weights, if it keeps such, are those that stay.
        watch: wraps the batches of each pass, for a progress bar.
        """
        settings = self.settings
        if optimizer is None:
            block = self.student_nlp.config.interpolate()["training"]["optimizer"]
            optimizer = registry.resolve({"optimizer": block})["optimizer"]
        found = [self.agreement(0)]
        report(found[0])
        every = max(1, settings.epochs // settings.evaluations)
        step = 0
        for epoch in range(settings.epochs):
            items = _of_epoch(self.notes, self.gold, epoch, settings)
            for batch in watch(_batches(items, settings.batch_tokens)):
                if settings.max_steps is not None and step >= settings.max_steps:
                    break
                self._step(batch, optimizer)
                step += 1
            done = epoch + 1 == settings.epochs or (settings.max_steps is not None and step >= settings.max_steps)
            if done or (epoch + 1) % every == 0:
                with self.student_nlp.use_params(optimizer.averages or {}):
                    found.append(self.agreement(step))
                report(found[-1])
            if done:
                break
        if optimizer.averages:
            # `use_params` lends the averages for as long as it lasts; what is given back is stored from within.
            with self.student_nlp.use_params(optimizer.averages):
                kept = self.student.to_bytes()
            self.student.from_bytes(kept)
        return found

    def agreement(self, step: int) -> Agreement:
        """Compare student and teacher on the held-out notes."""
        divergence, tokens, common, ours, theirs = 0.0, 0, 0, 0, 0
        for texts in _batches(self.held_out, self.settings.batch_tokens):
            docs, target = self._read(texts)
            if not docs:
                continue
            emissions = self.student.model.predict(docs)
            with torch.no_grad():
                scores = [as_tensor(self.student.model, array) for array in emissions]
                divergence += float(self._divergence(scores, target))
            tokens += sum(map(len, docs))
            for one, other in zip(self.student.decode(emissions), self.teacher.decode(target)):
                found, expected = ({mention[:3] for mention in mentions} for mentions in (one, other))
                common += len(found & expected)
                ours += len(found)
                theirs += len(expected)
        return Agreement(
            step=step,
            divergence=divergence / max(1, tokens),
            precision=common / max(1, ours),
            recall=common / max(1, theirs),
            f=2 * common / max(1, ours + theirs),
            seconds=time.monotonic() - self._began,
        )

    def _step(self, items: Sequence[Item], optimizer: Optimizer) -> None:
        docs, target = self._read(items)
        lesson = self.student.lesson([item for item in items if isinstance(item, Example)])
        n_raw, n_all = len(docs), len(docs) + len(lesson.reads)
        if not n_all:
            return
        set_dropout_rate(self.student.model, self.settings.dropout)
        emissions, backprop = self.student.model.begin_update([*docs, *lesson.reads])
        leaves = [as_tensor(self.student.model, array).requires_grad_() for array in emissions[:n_raw]]
        if leaves:
            # Hinton et al. (2015): softened by T, gradients shrink by T squared.
            (self._divergence(leaves, target) * (self.settings.temperature**2 / n_all)).backward()
        _, gradients = self.student.scaled_loss(emissions[n_raw:], lesson.targets, 1.0 / n_all)
        backprop([*(as_floats2d(self.student.model, leaf.grad) for leaf in leaves), *gradients])
        self.student.finish_update(optimizer)
        optimizer.step_schedules()

    def _read(self, items: Sequence[Item]) -> Tuple[List[Doc], List[Floats2d]]:
        """The student's Docs of the raw notes that are not empty, and the teacher's emissions for them."""
        notes = [item for item in items if not isinstance(item, Example)]
        docs = [doc for doc in (self.student_nlp.make_doc(text) for _, text in notes) if len(doc)]
        names = [name for name, text in notes if text]
        sources = [doc.text.encode("utf8", "surrogatepass") for doc in docs]
        kept = [self._kept.get(source) for source in sources]
        new = [i for i, array in enumerate(kept) if array is None]
        ops: Any = self.student.model.ops
        emissions = {i: ops.asarray(array) for i, array in enumerate(kept) if array is not None}
        for i, array in zip(new, self._ask([names[i] for i in new], [docs[i] for i in new])):
            emissions[i] = array
            self._kept.put(sources[i], to_numpy(array))
        return docs, [emissions[i] for i in range(len(docs))]

    def _ask(self, names: Sequence[str], docs: Sequence[Doc]) -> List[Floats2d]:
        """The teacher's emissions for notes that the student has cut into `docs`."""
        read = [self.teacher_nlp.make_doc(doc.text) for doc in docs]
        for name, ours, theirs in zip(names, docs, read):
            if [token.text for token in ours] != [token.text for token in theirs]:
                raise ClinicalNerError(f"note {name}: teacher and student cut it into other tokens; use one tokenizer")
        emissions: List[Floats2d] = []
        for batch in batch_docs(read, len(read) or 1, self.teacher.max_batch_tokens):
            for name in self._before:
                pipe: Any = self.teacher_nlp.get_pipe(name)
                batch = list(pipe.pipe(batch)) if hasattr(pipe, "pipe") else [pipe(doc) for doc in batch]
            emissions += self.teacher.model.predict(batch)
        return emissions

    def _divergence(self, ours: Sequence[torch.Tensor], theirs: Sequence[Floats2d]) -> torch.Tensor:
        chains = self.student.model.attrs["chains"]
        total = torch.zeros((), dtype=torch.float64)
        target = [as_tensor(self.student.model, array) for array in theirs]
        student, teacher = (decoder(pipe.model).crf for pipe in (self.student, self.teacher))
        assert isinstance(student, LinearChainCRF) and isinstance(teacher, LinearChainCRF)
        for group in group_by_length([len(array) for array in ours], self.student.max_batch_tokens):
            emissions, mask = pad_chains([ours[i] for i in group], chains)
            expected, _ = pad_chains([target[i] for i in group], chains)
            total = total + crf_divergence(student, emissions, teacher, expected, mask, self.settings.temperature)
        return total
