"""`clinical-ner calibrate`: fit a temperature so that confidence means what it says."""

from __future__ import annotations

from pathlib import Path
from typing import Optional

import typer

from spacy_clinical_ner.cli.convert import OFFSETS_HELP, Offsets


def calibrate(
    pipeline: Path = typer.Argument(..., help="Trained pipeline: a folder or an installed package."),
    dev: Path = typer.Argument(..., help="Notes to fit on: a BRAT folder, or a .spacy file made by `convert`."),
    output: Path = typer.Argument(..., help="Where to write the calibrated pipeline."),
    test: Optional[Path] = typer.Option(None, help="Other notes, to report the calibration on without fitting."),
    component: str = typer.Option("crf_ner", help="The component to calibrate: a crf_ner or label_attention_ner."),
    report: Optional[Path] = typer.Option(None, help="Write the figures as JSON."),
    plot: Optional[Path] = typer.Option(None, help="Write a reliability diagram as PNG."),
    offsets: Offsets = typer.Option(Offsets.CHARACTERS, help=OFFSETS_HELP),
    overwrite: bool = typer.Option(False, "--overwrite", help="Replace OUTPUT if it is there."),
) -> None:
    """Divide a tagger's scores by one temperature, chosen so that confidence has the least log loss on DEV.

    The mentions that are found stay the same; only `span._.confidence` changes. Fit on notes that were not trained on.

    Example: clinical-ner calibrate training/model-best corpus/dev calibrated --test corpus/test --plot calibration.png
    """
    import srsly
    from tqdm import tqdm
    from wasabi import msg, row

    from spacy_clinical_ner.brat.reader import create_brat_corpus
    from spacy_clinical_ner.errors import ClinicalNerError, InputError
    from spacy_clinical_ner.evaluation.reliability import BINS, Reliability
    from spacy_clinical_ner.files import replacing
    from spacy_clinical_ner.outputs import PICTURE, PIPELINE, check_output, json_with
    from spacy_clinical_ner.pipelines import load_pipeline, save_pipeline
    from spacy_clinical_ner.tagging.calibration import CalibrationSet, plot_reliability
    from spacy_clinical_ner.tagging.tagger_component import CrfEntityRecognizer

    inputs = [pipeline, dev, *([test] if test else [])]
    check_output(output, PIPELINE, inputs=inputs, overwrite=overwrite)
    if report is not None:
        kind = json_with("temperature", "curves")
        check_output(report, kind, inputs=inputs, others=[output, *([plot] if plot else [])], overwrite=overwrite)
    if plot is not None:
        check_output(plot, PICTURE, inputs=inputs, others=[output], overwrite=overwrite)
    nlp = load_pipeline(str(pipeline))
    if component not in nlp.pipe_names:
        raise ClinicalNerError(f"{pipeline} has no component '{component}'; it has {', '.join(nlp.pipe_names)}")
    pipe = nlp.get_pipe(component)
    if not isinstance(pipe, CrfEntityRecognizer):
        raise ClinicalNerError(
            f"component '{component}' is neither a crf_ner nor a label_attention_ner: it cannot be calibrated"
        )

    before = nlp.pipe_names[: nlp.pipe_names.index(component)]

    def notes(path: Path) -> CalibrationSet:
        reader = create_brat_corpus(path, spans_key=pipe.spans_key or "sc", offsets=offsets.value)
        examples = list(tqdm(reader(nlp), desc=f"reading {path.name}", unit="note", disable=None))
        if all(example.reference.text.isspace() or not len(example.reference) for example in examples):
            raise InputError(path, None, "no note has text: there is nothing to calibrate with")
        for example in examples:
            for name in before:
                example.predicted = nlp.get_pipe(name)(example.predicted)
        return CalibrationSet(pipe, examples)

    held_out = notes(test) if test is not None else None
    old = pipe.temperature
    fitted = notes(dev).fit()
    curves: dict[str, Reliability] = {"dev, before": fitted.before, "dev, after": fitted.after}
    if held_out is not None:
        curves["test, before"] = held_out.reliability(old)
        curves["test, after"] = held_out.reliability(fitted.temperature)
    msg.good(f"Temperature {fitted.temperature:.3f} (before: {old:.3f})")
    widths = (12, 9, 7, 9)
    print(row(("", "mentions", "ECE", "log loss"), widths=widths))
    for name, curve in curves.items():
        print(row((name, curve.mentions, f"{curve.ece:.4f}", f"{curve.log_loss:.4f}"), widths=widths))
    with replacing(output) as temporary:
        save_pipeline(nlp, temporary)
    if report is not None:
        with replacing(report) as temporary:
            figures = {name: curve.to_dict() for name, curve in curves.items()}
            srsly.write_json(temporary, {"temperature": fitted.temperature, "bins": BINS, "curves": figures})
    if plot is not None:
        plot_reliability(plot, curves)
