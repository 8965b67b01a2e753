"""Optimizers against torch.optim, and in the training of a recogniser."""

import numpy as np
import pytest
import torch
from spacy.schemas import ConfigSchemaTraining
from spacy.util import registry
from thinc.api import Config, Optimizer, use_ops

from tests.tagging.pipelines import crf_pipeline, make_docs, make_examples, model_config

STEPS = 25
SHAPES = [(3, 4), (5,), (2, 2, 3), (1,)]
KEYS = [(1, "W"), (1, "b"), (2, "W"), (3, "g")]
# Ours and torch's with the same settings; no clipping, which torch does not do by parameter.
PAIRS = {
    "Adam": ({"learn_rate": 0.02, "beta1": 0.8, "beta2": 0.9}, torch.optim.Adam, {"lr": 0.02, "betas": (0.8, 0.9)}),
    # Rectified from the sixth step on: both branches are there.
    "RAdam": ({"learn_rate": 0.02, "beta2": 0.9}, torch.optim.RAdam, {"lr": 0.02, "betas": (0.9, 0.9)}),
    "RAdam slow": ({"learn_rate": 0.02, "beta2": 0.999}, torch.optim.RAdam, {"lr": 0.02, "betas": (0.9, 0.999)}),
    "AdaGrad": ({"learn_rate": 0.1}, torch.optim.Adagrad, {"lr": 0.1}),
    "RMSprop": ({"learn_rate": 0.02, "alpha": 0.9}, torch.optim.RMSprop, {"lr": 0.02, "alpha": 0.9}),
    "RMSprop momentum": (
        {"learn_rate": 0.01, "momentum": 0.7},
        torch.optim.RMSprop,
        {"lr": 0.01, "alpha": 0.99, "momentum": 0.7},
    ),
}
NAMES = ["Adam", "RAdam", "AdaGrad", "RMSprop", "Lookahead"]


def config_of(name: str, **settings) -> dict:
    return {"@optimizers": f"spacy-clinical-ner.{name.split()[0]}.v1", **settings}


def make(name: str, **settings) -> Optimizer:
    return registry.resolve({"optimizer": config_of(name, **settings)})["optimizer"]


def make_lookahead(k: int = 5, alpha: float = 0.5, **inner) -> Optimizer:
    return make("Lookahead", k=k, alpha=alpha, inner=config_of("Adam", **inner))


def problem(seed: int) -> tuple[list, list]:
    """Start values, and the function that gives the gradients of a least squares problem at given values."""
    rng = np.random.default_rng(seed)
    start = [rng.normal(size=shape).astype("float32") for shape in SHAPES]
    scale = [rng.uniform(0.2, 3.0, size=shape).astype("float32") for shape in SHAPES]
    noise = [rng.normal(size=(STEPS, *shape)).astype("float32") * 0.3 for shape in SHAPES]
    return start, [lambda w, step, s=s, n=n: s * w + n[step] for s, n in zip(scale, noise)]


def run(optimizer: Optimizer, seed: int, steps: int = STEPS) -> list:
    weights, gradients = problem(seed)
    history = []
    for step in range(steps):
        for i, key in enumerate(KEYS):
            given = weights[i]
            weights[i], gradient = optimizer(key, given, gradients[i](given, step))
            assert weights[i].shape == SHAPES[i]
            assert not gradient.any()
        optimizer.step_schedules()
        history.append([w.copy() for w in weights])
    return history


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("decay", [0.0, 0.1])
@pytest.mark.parametrize("name", PAIRS)
def test_same_steps_as_torch(name: str, decay: float, seed: int) -> None:
    ours, reference, theirs = PAIRS[name]
    with use_ops("numpy"):
        history = run(make(name, grad_clip=0.0, L2=decay, L2_is_weight_decay=False, **ours), seed)
    weights, gradients = problem(seed)
    parameters = [torch.nn.Parameter(torch.from_numpy(w.copy())) for w in weights]
    optimizer = reference(parameters, weight_decay=decay, **theirs)
    for step in range(STEPS):
        for parameter, gradient in zip(parameters, gradients):
            parameter.grad = torch.from_numpy(gradient(parameter.detach().numpy(), step))
        optimizer.step()
        for parameter, mine in zip(parameters, history[step]):
            np.testing.assert_allclose(mine, parameter.detach().numpy(), rtol=2e-4, atol=2e-5)


def test_lookahead_by_hand() -> None:
    """Gradient 1 and plain gradient descent at rate 1: fast weights go down by one, slow ones follow half way."""
    inner = {"@optimizers": "SGD.v1", "learn_rate": 1.0, "grad_clip": 0.0, "use_averages": False}
    optimizer = make("Lookahead", k=3, alpha=0.5, inner=inner)
    weights, seen, slow = np.zeros(2, dtype="float32"), [], []
    for _ in range(12):
        weights, _ = optimizer((1, "W"), weights, np.ones(2, dtype="float32"))
        seen.append(float(weights[0]))
        slow.append(float(optimizer.averages[1, "W"][1]))
    assert seen == [-1, -2, -1.5, -2.5, -3.5, -3, -4, -5, -4.5, -5.5, -6.5, -6]
    assert slow == [0, 0, -1.5, -1.5, -1.5, -3, -3, -3, -4.5, -4.5, -4.5, -6]


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize(("k", "alpha"), [(1, 0.3), (4, 0.8), (5, 0.5)])
def test_lookahead_around_torchs_adam(k: int, alpha: float, seed: int) -> None:
    history = run(make_lookahead(k, alpha, learn_rate=0.05, grad_clip=0.0), seed)
    weights, gradients = problem(seed)
    parameters = [torch.nn.Parameter(torch.from_numpy(w.copy())) for w in weights]
    slow = [parameter.detach().clone() for parameter in parameters]
    optimizer = torch.optim.Adam(parameters, lr=0.05)
    for step in range(STEPS):
        for parameter, gradient in zip(parameters, gradients):
            parameter.grad = torch.from_numpy(gradient(parameter.detach().numpy(), step))
        optimizer.step()
        if (step + 1) % k == 0:
            slow = [(1 - alpha) * s + alpha * p.detach() for s, p in zip(slow, parameters)]
            for parameter, value in zip(parameters, slow):
                parameter.data = value.clone()
        for parameter, mine in zip(parameters, history[step]):
            np.testing.assert_allclose(mine, parameter.detach().numpy(), rtol=2e-4, atol=2e-5)


def test_lookahead_that_does_not_look_back_is_its_inner_optimizer() -> None:
    alone, ahead = make("Adam", learn_rate=0.05), make_lookahead(k=3, alpha=1.0, learn_rate=0.05)
    for mine, theirs in zip(run(ahead, 0), run(alone, 0)):
        for a, b in zip(mine, theirs):
            np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)
    for key in KEYS:
        np.testing.assert_allclose(ahead.averages[key], alone.averages[key], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("k", [3, 4])
def test_averages_of_lookahead_are_those_of_the_weights_it_gives(k: int) -> None:
    optimizer = make_lookahead(k, learn_rate=0.05)
    history = run(optimizer, 1)
    expected = np.zeros(SHAPES[0])
    for number, weights in enumerate(history, start=1):
        expected += (1 - min((1 + number) / (10 + number), 0.9999)) * (weights[0] - expected)
    np.testing.assert_allclose(optimizer.averages[KEYS[0]], expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("k", "alpha"), [(0, 0.5), (5, -0.1), (5, 1.1)])
def test_lookahead_refuses_impossible_settings(k: int, alpha: float) -> None:
    with pytest.raises(ValueError, match="k must be at least 1"):
        make_lookahead(k, alpha)


@pytest.mark.parametrize("name", NAMES)
def test_schedules_clipping_decay_and_averages_are_thincs(name: str) -> None:
    """A learning rate of nothing after the first step, so that only weight decay could move anything."""
    settings = {"learn_rate": [0.1, 0.1, 0.0], "grad_clip": 0.5, "L2": 0.01}
    optimizer = make_lookahead(k=5, **settings) if name == "Lookahead" else make(name, **settings)
    assert isinstance(optimizer, Optimizer)
    assert optimizer.learn_rate == 0.1
    history = run(optimizer, 2, steps=6)
    assert optimizer.learn_rate == 0.0
    assert any((a != b).any() for a, b in zip(history[0], history[1]))
    if name != "Lookahead":
        for a, b in zip(history[2], history[5]):
            np.testing.assert_array_equal(a, b)
    assert set(optimizer.averages) == set(KEYS)
    optimizer.learn_rate = 0.3
    assert optimizer.learn_rate == 0.3
    before = np.ones(3, dtype="float32")
    after, _ = optimizer((9, "W"), before.copy(), np.zeros(3, dtype="float32"))
    np.testing.assert_allclose(after, before * (1 - 0.3 * 0.01), rtol=1e-5)


@pytest.mark.parametrize("name", ["RAdam", "AdaGrad", "RMSprop"])
def test_learning_rate_scale_of_a_parameter(name: str) -> None:
    moved = []
    for scale in (1.0, 0.5):
        weights = np.zeros(3, dtype="float32")
        make(name)((1, "W"), weights, np.ones(3, dtype="float32"), lr_scale=scale)
        moved.append(weights)
    np.testing.assert_allclose(moved[1], moved[0] / 2, rtol=1e-6)


def test_momentum_may_start_at_nothing() -> None:
    """By hand, with gradients of 1 and a mean square that holds still: steps of 1, then 1.5, then 1.75."""
    optimizer = make("RMSprop", learn_rate=1.0, alpha=0.0, eps=0.0, momentum=[0.0, 0.5, 0.5])
    weights, history = np.zeros(2, dtype="float32"), []
    for _ in range(3):
        weights, _ = optimizer((1, "W"), weights, np.ones(2, dtype="float32"))
        history.append(float(weights[0]))
        optimizer.step_schedules()
    np.testing.assert_allclose(history, [-1.0, -2.5, -4.25], rtol=1e-6)


@pytest.mark.parametrize("name", NAMES)
def test_gradients_are_clipped_to_their_norm(name: str) -> None:
    """Of two gradients in one direction, both above the bound, the same step follows."""
    results = []
    for size in (2.0, 200.0):
        # AdaGrad and the others are blind to the size of the first gradient: eps makes them see it.
        settings = {"grad_clip": 1.0, "eps": 1.0}
        optimizer = make_lookahead(**settings) if name == "Lookahead" else make(name, **settings)
        results.append(optimizer((1, "W"), np.zeros(4, dtype="float32"), np.full(4, size, dtype="float32"))[0])
    assert results[0].any()
    np.testing.assert_allclose(results[0], results[1], rtol=1e-5)


@pytest.mark.parametrize("name", NAMES)
def test_empty_gradient_is_left_alone(name: str) -> None:
    optimizer = make_lookahead() if name == "Lookahead" else make(name)
    weights, _ = optimizer((1, "W"), np.zeros((0, 3), dtype="float32"), np.zeros((0, 3), dtype="float32"))
    assert weights.shape == (0, 3)


def test_config_of_a_training() -> None:
    config = Config().from_str(
        """
[training]
seed = 0
gpu_allocator = null
dropout = 0.1
accumulate_gradient = 1
patience = 10
max_epochs = 0
max_steps = 10
eval_frequency = 5
score_weights = {}
frozen_components = []
annotating_components = []
before_to_disk = null
before_update = null
train_corpus = "corpora.train"
dev_corpus = "corpora.dev"

[training.batcher]
@batchers = "spacy.batch_by_words.v1"
size = 10
discard_oversize = false
tolerance = 0.2

[training.logger]
@loggers = "spacy.ConsoleLogger.v1"

[training.optimizer]
@optimizers = "spacy-clinical-ner.Lookahead.v1"
k = 6
alpha = 0.8

[training.optimizer.inner]
@optimizers = "spacy-clinical-ner.RAdam.v1"

[training.optimizer.inner.learn_rate]
@schedules = "warmup_linear.v1"
warmup_steps = 4
total_steps = 10
initial_rate = 0.001
"""
    )
    optimizer = registry.resolve(config["training"], schema=ConfigSchemaTraining)["optimizer"]
    assert optimizer.learn_rate == 0.0
    optimizer.step_schedules()
    assert optimizer.learn_rate == 0.00025


@pytest.mark.parametrize(("name", "averages"), [*((name, True) for name in NAMES), ("Lookahead", False)])
def test_trains_a_recogniser(name: str, averages: bool) -> None:
    rate = {"Adam": 0.01, "RAdam": 0.02, "AdaGrad": 0.05, "RMSprop": 0.01, "Lookahead": 0.02}[name]
    settings = {"learn_rate": rate, "use_averages": averages}
    optimizer = make_lookahead(**settings) if name == "Lookahead" else make(name, **settings)
    nlp = crf_pipeline(model=model_config())
    examples = make_examples(nlp, make_docs(nlp, 6))
    nlp.initialize(lambda: examples, sgd=optimizer)
    for _ in range(60):
        nlp.update(examples, sgd=optimizer, drop=0.0)
    assert nlp.evaluate(examples)["ents_f"] > 0.95
    if optimizer.averages:
        with nlp.use_params(optimizer.averages):
            assert nlp.evaluate(examples)["ents_f"] > 0.95
