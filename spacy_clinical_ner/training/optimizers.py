"""Optimizers for `[training.optimizer]`: those that the CCKS-2019 systems were compared with.

All are Thinc Optimizers, so that schedules (of any number in their settings), clipping of gradients, L2 and averaged
parameters work as with Thinc's own. L2 is decoupled weight decay (Loshchilov and Hutter 2019) unless
`L2_is_weight_decay` is false; then it is added to the gradient. grad_clip: largest norm of the gradient of one
parameter, 0 for none. use_averages: evaluate and save exponential moving averages of the parameters.
"""

import math
from typing import Any, Dict, Optional, Tuple

from spacy.util import registry
from thinc.api import Adam as ThincAdam
from thinc.api import Optimizer
from thinc.backends import get_array_ops
from thinc.optimizers import FloatOrSeq, KeyT
from thinc.types import FloatsXd


@registry.optimizers("spacy-clinical-ner.Adam.v1")
def Adam(
    learn_rate: FloatOrSeq = 0.001,
    beta1: FloatOrSeq = 0.9,
    beta2: FloatOrSeq = 0.999,
    eps: FloatOrSeq = 1e-8,
    L2: FloatOrSeq = 0.0,
    L2_is_weight_decay: bool = True,
    grad_clip: FloatOrSeq = 1.0,
    use_averages: bool = True,
) -> Optimizer:
    """Adam (Kingma and Ba 2015, algorithm 1): Thinc's own, under a name beside the others."""
    return ThincAdam(
        learn_rate,
        beta1=beta1,
        beta2=beta2,
        eps=eps,
        L2=L2,
        L2_is_weight_decay=L2_is_weight_decay,
        grad_clip=grad_clip,
        use_averages=use_averages,
    )


@registry.optimizers("spacy-clinical-ner.RAdam.v1")
def RAdam(
    learn_rate: FloatOrSeq = 0.001,
    beta1: FloatOrSeq = 0.9,
    beta2: FloatOrSeq = 0.999,
    eps: FloatOrSeq = 1e-8,
    L2: FloatOrSeq = 0.0,
    L2_is_weight_decay: bool = True,
    grad_clip: FloatOrSeq = 1.0,
    use_averages: bool = True,
) -> Optimizer:
    """Rectified Adam (Liu et al. 2020, algorithm 2): no warm-up needed.

    Unlike Thinc's RAdam.v1 it corrects for the bias of the present step, not of the next one, and heeds `lr_scale`.
    """
    return RAdamOptimizer(
        learn_rate,
        beta1=beta1,
        beta2=beta2,
        eps=eps,
        L2=L2,
        L2_is_weight_decay=L2_is_weight_decay,
        grad_clip=grad_clip,
        use_averages=use_averages,
    )


@registry.optimizers("spacy-clinical-ner.AdaGrad.v1")
def AdaGrad(
    learn_rate: FloatOrSeq = 0.01,
    eps: FloatOrSeq = 1e-10,
    L2: FloatOrSeq = 0.0,
    L2_is_weight_decay: bool = True,
    grad_clip: FloatOrSeq = 1.0,
    use_averages: bool = True,
) -> Optimizer:
    """AdaGrad with a diagonal matrix (Duchi et al. 2011): steps shrink with the sum of all squared gradients."""
    return AdaGradOptimizer(
        learn_rate,
        eps=eps,
        L2=L2,
        L2_is_weight_decay=L2_is_weight_decay,
        grad_clip=grad_clip,
        use_averages=use_averages,
    )


@registry.optimizers("spacy-clinical-ner.RMSprop.v1")
def RMSprop(
    learn_rate: FloatOrSeq = 0.001,
    alpha: FloatOrSeq = 0.99,
    momentum: FloatOrSeq = 0.0,
    eps: FloatOrSeq = 1e-8,
    L2: FloatOrSeq = 0.0,
    L2_is_weight_decay: bool = True,
    grad_clip: FloatOrSeq = 1.0,
    use_averages: bool = True,
) -> Optimizer:
    """RMSprop (Tieleman and Hinton 2012): gradients divided by the root of their moving mean square.

    alpha: how much of the mean square is kept at each step. momentum: how much of the last step is taken again.
    """
    return RMSpropOptimizer(
        learn_rate,
        alpha=alpha,
        momentum=momentum,
        eps=eps,
        L2=L2,
        L2_is_weight_decay=L2_is_weight_decay,
        grad_clip=grad_clip,
        use_averages=use_averages,
    )


@registry.optimizers("spacy-clinical-ner.Lookahead.v1")
def Lookahead(inner: Optimizer, k: int = 5, alpha: float = 0.5) -> Optimizer:
    """Lookahead (Zhang et al. 2019, algorithm 1) around another optimizer, which owns learning rate and schedules.

    k: steps of the inner optimizer before the slow weights follow. alpha: the share of the way that they follow.
    Raises ValueError for k below 1 or alpha outside 0 to 1.

    If the inner optimizer averages, the weights that Lookahead hands out are averaged; if not, the slow weights stand
    for the averages, so that these are evaluated and saved, as the paper does.
    """
    return LookaheadOptimizer(inner, k, alpha)


class RuleOptimizer(Optimizer):
    """A Thinc Optimizer that takes its steps by `step` instead of Thinc's rules."""

    __slots__: Tuple[str, ...] = ()

    def __init__(self, learn_rate: FloatOrSeq, **settings: Any) -> None:
        super().__init__(learn_rate, use_radam=True, **settings)

    def _radam(self, ops, weights, grad, lr_scale, key, nr_upd):  # where Thinc calls its last rule
        weights -= lr_scale * self.learn_rate * self.step(ops, key, grad, nr_upd)
        return weights, grad

    def step(self, ops: Any, key: KeyT, gradient: FloatsXd, number: int) -> FloatsXd:
        """What is to be subtracted per unit of learning rate, shaped like the gradient.

        number: of the step, from 1. State lives in `mom1` and `mom2`, by key.
        """
        raise NotImplementedError

    def moment(self, ops: Any, moments: Dict[KeyT, FloatsXd], key: KeyT, like: FloatsXd) -> FloatsXd:
        """The array of a parameter, zeros at first; to be changed in place."""
        if key not in moments:
            moments[key] = ops.alloc(like.shape)
        return moments[key]


class RAdamOptimizer(RuleOptimizer):
    __slots__ = ()

    def step(self, ops: Any, key: KeyT, gradient: FloatsXd, number: int) -> FloatsXd:
        mean = self.moment(ops, self.mom1, key, gradient)
        square = self.moment(ops, self.mom2, key, gradient)
        mean += (1 - self.b1) * (gradient - mean)
        square += (1 - self.b2) * (gradient**2 - square)
        unbiased = mean / (1 - self.b1**number)
        fix2 = 1 - self.b2**number
        longest = 2 / (1 - self.b2) - 1
        length = longest - 2 * number * self.b2**number / fix2
        # With so few gradients the variance of the adaptive rate is intractable: plain momentum.
        if length <= 5:
            return unbiased
        rectify = math.sqrt((length - 4) * (length - 2) * longest / ((longest - 4) * (longest - 2) * length))
        return unbiased * (rectify * math.sqrt(fix2)) / (ops.xp.sqrt(square) + self.eps)


class AdaGradOptimizer(RuleOptimizer):
    __slots__ = ()

    def step(self, ops: Any, key: KeyT, gradient: FloatsXd, number: int) -> FloatsXd:
        total = self.moment(ops, self.mom2, key, gradient)
        total += gradient**2
        return gradient / (ops.xp.sqrt(total) + self.eps)


class RMSpropOptimizer(RuleOptimizer):
    __slots__ = ("alpha", "momentum")

    alpha: float
    momentum: float

    def __init__(self, learn_rate: FloatOrSeq, *, alpha: FloatOrSeq, momentum: FloatOrSeq, **settings: Any) -> None:
        super().__init__(learn_rate, **settings)
        self._set_attr_or_schedule("alpha", alpha)
        self._set_attr_or_schedule("momentum", momentum)

    def step(self, ops: Any, key: KeyT, gradient: FloatsXd, number: int) -> FloatsXd:
        square = self.moment(ops, self.mom2, key, gradient)
        square += (1 - self.alpha) * (gradient**2 - square)
        update = gradient / (ops.xp.sqrt(square) + self.eps)
        if not self.momentum and key not in self.mom1:
            return update
        taken = self.moment(ops, self.mom1, key, gradient)
        taken *= self.momentum
        taken += update
        return taken


def _inner(name: str) -> Any:
    """An attribute that is the inner optimizer's."""
    return property(lambda self: getattr(self.inner, name), lambda self, value: setattr(self.inner, name, value))


class LookaheadOptimizer(Optimizer):
    """slow: the slow weights by key. Everything else but `averages` belongs to `inner`."""

    __slots__ = ("alpha", "inner", "k", "running_averages", "slow")

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

    b1 = _inner("b1")
    b2 = _inner("b2")
    eps = _inner("eps")
    grad_clip = _inner("grad_clip")
    L2 = _inner("L2")
    L2_is_weight_decay = _inner("L2_is_weight_decay")
    last_seen = _inner("last_seen")
    learn_rate = _inner("learn_rate")
    mom1 = _inner("mom1")
    mom2 = _inner("mom2")
    nr_update = _inner("nr_update")
    schedules = _inner("schedules")
    use_radam = _inner("use_radam")

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
            self._average(key, weights, number)
        return weights, gradient

    def _average(self, key: KeyT, weights: FloatsXd, number: int) -> None:
        assert self.running_averages is not None
        ops = get_array_ops(weights)
        if key not in self.running_averages:
            self.running_averages[key] = ops.alloc(weights.shape)
        ops.update_averages(self.running_averages[key], weights, number)
