"""Optimizers for `[training.optimizer]`: those that the CCKS-2019 systems were compared with.

All are Thinc Optimizers, so that schedules (of any number in their settings), clipping of gradients, L2 and averaged
parameters work as with Thinc's own. L2 is decoupled weight decay (Loshchilov and Hutter 2019) unless
`L2_is_weight_decay` is false; then it is added to the gradient. grad_clip: largest norm of the gradient of one
parameter, 0 for none. use_averages: evaluate and save exponential moving averages of the parameters.
"""

from typing import Any, Callable, Dict, Optional, Tuple

import torch
from spacy.util import registry
from thinc.api import Adam as ThincAdam
from thinc.api import Optimizer
from thinc.backends import get_array_ops
from thinc.optimizers import FloatOrSeq, KeyT
from thinc.types import FloatsXd

from spacy_clinical_ner.bridge.factories import takes_settings_of

_TINY = 1e-30


def _shared(
    L2: FloatOrSeq = 0.0, L2_is_weight_decay: bool = True, grad_clip: FloatOrSeq = 1.0, use_averages: bool = True
) -> None:
    """The settings that Thinc sees to, whatever the rule."""


@registry.optimizers("spacy-clinical-ner.Adam.v1")
@takes_settings_of(_shared)
def Adam(
    learn_rate: FloatOrSeq = 0.001,
    beta1: FloatOrSeq = 0.9,
    beta2: FloatOrSeq = 0.999,
    eps: FloatOrSeq = 1e-8,
    **shared: Any,
) -> Optimizer:
    """Adam (Kingma and Ba 2015, algorithm 1): Thinc's own, under a name beside the others."""
    return ThincAdam(learn_rate, beta1=beta1, beta2=beta2, eps=eps, **shared)


@registry.optimizers("spacy-clinical-ner.RAdam.v1")
@takes_settings_of(Adam)
def RAdam(**settings: Any) -> Optimizer:
    """Rectified Adam (Liu et al. 2020, algorithm 2): no warm-up needed. Settings are those of `Adam`.

    Unlike Thinc's RAdam.v1 it corrects for the bias of the present step, not of the next one, and heeds `lr_scale`.
    """
    return TorchOptimizer(torch.optim.RAdam, **settings)


@registry.optimizers("spacy-clinical-ner.AdaGrad.v1")
@takes_settings_of(_shared)
def AdaGrad(learn_rate: FloatOrSeq = 0.01, eps: FloatOrSeq = 1e-10, **shared: Any) -> Optimizer:
    """AdaGrad with a diagonal matrix (Duchi et al. 2011): steps shrink with the sum of all squared gradients."""
    return TorchOptimizer(torch.optim.Adagrad, learn_rate, eps=eps, **shared)


@registry.optimizers("spacy-clinical-ner.RMSprop.v1")
@takes_settings_of(_shared)
def RMSprop(
    learn_rate: FloatOrSeq = 0.001,
    alpha: FloatOrSeq = 0.99,
    momentum: FloatOrSeq = 0.0,
    eps: FloatOrSeq = 1e-8,
    **shared: Any,
) -> Optimizer:
    """RMSprop (Tieleman and Hinton 2012): gradients divided by the root of their moving mean square.

    alpha: how much of the mean square is kept at each step. momentum: how much of the last step is taken again.
    """
    return TorchOptimizer(torch.optim.RMSprop, learn_rate, alpha=alpha, momentum=momentum, eps=eps, **shared)


@registry.optimizers("spacy-clinical-ner.Lookahead.v1")
def Lookahead(inner: Optimizer, k: int = 5, alpha: float = 0.5) -> Optimizer:
    """Lookahead (Zhang et al. 2019, algorithm 1) around another optimizer, which owns learning rate and schedules.

    k: steps of the inner optimizer before the slow weights follow. alpha: the share of the way that they follow.
    Raises ValueError for k below 1 or alpha outside 0 to 1.

    If the inner optimizer averages, the weights that Lookahead hands out are averaged; if not, the slow weights stand
    for the averages, so that these are evaluated and saved, as the paper does.
    """
    return LookaheadOptimizer(inner, k, alpha)


class TorchOptimizer(Optimizer):
    """A Thinc Optimizer that takes its steps by an optimizer of torch instead of Thinc's rules.

    rule: class of the torch optimizer; each parameter gets one of its own, since Thinc hands them over one by one.
    settings: those of the torch optimizer that a Thinc Optimizer does not have (any may be a schedule), and Thinc's.
    """

    def __init__(
        self,
        rule: Callable[..., torch.optim.Optimizer],
        learn_rate: FloatOrSeq,
        alpha: Optional[FloatOrSeq] = None,
        momentum: Optional[FloatOrSeq] = None,
        **settings: Any,
    ) -> None:
        super().__init__(learn_rate, use_radam=True, **settings)
        self.rule = rule
        self.by_key: Dict[KeyT, torch.optim.Optimizer] = {}
        for name, value in (("alpha", alpha), ("momentum", momentum)):
            if value is not None:
                self._set_attr_or_schedule(name, value)

    def _radam(self, ops, weights, grad, lr_scale, key, nr_upd):  # where Thinc calls its last rule
        if key not in self.by_key:
            self.by_key[key] = self.rule([torch.nn.Parameter(torch.as_tensor(weights))], lr=1.0)
        optimizer = self.by_key[key]
        (group,) = optimizer.param_groups
        present = {"betas": (self.b1, self.b2), **vars(self), "eps": self.eps, "lr": lr_scale * self.learn_rate}
        group.update((name, value) for name, value in present.items() if name in optimizer.defaults)
        if "momentum" in self.schedules:  # torch keeps the last step only if it has momentum from the first step on
            group["momentum"] = max(group["momentum"], _TINY)
        (parameter,) = group["params"]
        # The same memory, on a GPU too.
        parameter.data, parameter.grad = torch.as_tensor(weights), torch.as_tensor(grad)
        optimizer.step()
        parameter.grad = None
        return weights, grad


def _of_inner(name: str) -> property:
    """An attribute that is the inner optimizer's."""
    return property(lambda self: getattr(self.inner, name), lambda self, value: setattr(self.inner, name, value))


class LookaheadOptimizer(Optimizer):
    """slow: the slow weights by key. Everything else but `averages` belongs to `inner`."""

    def __init__(self, inner: Optimizer, k: int, alpha: float) -> None:
        if k < 1 or not 0 <= alpha <= 1:
            raise ValueError(f"k must be at least 1 and alpha between 0 and 1, not {k} and {alpha}")
        self.inner = inner
        self.k = k
        self.alpha = alpha
        self.slow: Dict[KeyT, FloatsXd] = {}
        self.running_averages: Optional[Dict[KeyT, FloatsXd]] = inner.averages
        # The inner optimizer would average the fast weights.
        inner.averages = None

    @property
    def averages(self) -> Optional[Dict[KeyT, FloatsXd]]:  # type: ignore[override]
        return self.slow if self.running_averages is None else self.running_averages

    def step_schedules(self) -> None:
        self.inner.step_schedules()

    def __call__(
        self, key: KeyT, weights: FloatsXd, gradient: FloatsXd, *, lr_scale: float = 1.0
    ) -> Tuple[FloatsXd, FloatsXd]:
        if len(gradient) < 1:
            return weights, gradient
        if key not in self.slow:
            self.slow[key] = weights.copy()
        slow = self.slow[key]
        weights, gradient = self.inner(key, weights, gradient, lr_scale=lr_scale)
        number = self.inner.nr_update[key]
        if number % self.k == 0:
            slow += self.alpha * (weights - slow)
            weights = slow.copy()
        if self.running_averages is not None:
            ops = get_array_ops(weights)
            if key not in self.running_averages:
                self.running_averages[key] = ops.alloc(weights.shape)
            ops.update_averages(self.running_averages[key], weights, number)
        return weights, gradient


for _name in set(Optimizer.__slots__) - {"averages"}:
    setattr(LookaheadOptimizer, _name, _of_inner(_name))
