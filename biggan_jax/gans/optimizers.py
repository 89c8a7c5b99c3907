"""Optimizers and learning-rate schedules from config values."""

import jax
import jax.numpy as jnp
import optax


def build(config, net: str, updates_per_step: float, clip: float = 0.0, lazy: int = 0) -> optax.GradientTransformation:
    """The optimizer of `net`, "g" or "d", of which a training step makes `updates_per_step` updates; with `clip` its
    weights stay within it after each of them. `lazy`: steps between updates of a regularizer, see `lazily`.
    """
    o = config.optimizer
    rate = learning_rate(config, net, updates_per_step, lazy)
    if o.name == "adam":
        optimizer = adam(rate, *(beta ** lazily(lazy) for beta in betas(o, net)), o.eps)
    elif o.name == "sgd":
        optimizer = sgd(rate, o.momentum, o.final_momentum, o.momentum_steps)
    else:
        optimizer = rmsprop(rate, o.decay, o.eps)
    return optax.chain(optimizer, clipped(clip)) if clip else optimizer


def betas(o, net: str) -> tuple[float, float]:
    """Adam's beta1 and beta2 for `net`, of the config's values `o`."""
    return tuple(o[key] if net == "g" or o[f"d_{key}"] is None else o[f"d_{key}"] for key in ("beta1", "beta2"))


def lazily(every: int) -> float:
    """The share c = k / (k + 1) of a step that each update is, where a regularizer has an update of its own every k
    steps: Adam takes c times its learning rate and its betas to the power c (Karras et al. 2020, Appendix B). 0: 1.
    """
    return every / (every + 1) if every else 1.0


def learning_rate(config, net: str, updates_per_step: float = 1, lazy: int = 0):
    """The learning rate of `net`, "g" or "d", as a function of the number of its updates, of which a training step
    makes `updates_per_step`. `lazy`: see `lazily`.
    """
    o = config.optimizer
    rate = o[f"{net}_lr"] * lazily(lazy)
    rate = schedule(rate, o[f"{net}_schedule"], o.warmup_steps, config.num_steps, updates_per_step, o.decay_start)
    if o.halve_every:
        rate = halved(rate, o.halve_every * updates_per_step)
    divisor = o.get("divisor", 1.0)
    return rate if divisor == 1 else lambda updates: rate(updates) / divisor**updates


def by_step(config, net: str, updates_per_step: float = 1, lazy: int = 0):
    """The same as a function of the number of training steps."""
    rate = learning_rate(config, net, updates_per_step, lazy)
    return lambda step: rate(step * updates_per_step)


def schedule(
    rate: float, kind: str, warmup_steps: int, num_steps: int, updates_per_step: float = 1, decay_start: float = 0.0
):
    """Learning rate as a function of the number of updates, of which a training step makes `updates_per_step`.

    A linear warm-up is followed by `kind`, which begins to fall after the share `decay_start` of the steps.
    """
    begin = max(warmup_steps, round(decay_start * num_steps))
    decay_steps = max(num_steps - begin, 1)
    pieces = [
        {
            "constant": optax.constant_schedule(rate),
            "linear": optax.linear_schedule(rate, 0.0, decay_steps),
            "cosine": optax.cosine_decay_schedule(rate, decay_steps),
        }[kind]
    ]
    boundaries = []
    if begin > warmup_steps:
        pieces, boundaries = [optax.constant_schedule(rate), *pieces], [begin]
    if warmup_steps:
        pieces, boundaries = [optax.linear_schedule(0.0, rate, warmup_steps), *pieces], [warmup_steps, *boundaries]
    by_step = optax.join_schedules(pieces, boundaries) if boundaries else pieces[0]
    return lambda updates: by_step(updates // updates_per_step)


def halved(rate, every: float):
    """The schedule `rate`, half as high after `every` updates, and a quarter as high after as many again."""
    return lambda updates: rate(updates) * 0.5 ** jnp.minimum(updates // every, 2)


def adam(rate, beta1: float, beta2, eps: float) -> optax.GradientTransformation:
    """Adam (Kingma & Ba 2015). With beta1 = 0, BigGAN's setting, the first moment is the gradient and is not stored.

    `beta2`: a number, or a function of the number of updates so far; the correction of the bias is then that of its
    present value, as in PyTorch where it is overwritten.
    """
    if beta1 == 0.0:
        make = lambda beta2: optax.scale_by_rms(beta2, eps=eps, eps_in_sqrt=False, bias_correction=True)
    else:
        make = lambda beta2: optax.scale_by_adam(b1=beta1, b2=beta2, eps=eps)
    return optax.chain(moving(make, beta2) if callable(beta2) else make(beta2), optax.scale_by_learning_rate(rate))


def moving(make, schedule) -> optax.GradientTransformation:
    """`make(number)`, whose state counts its updates, with the number that `schedule` gives for the count. Unlike
    `optax.inject_hyperparams` it keeps no number that nobody reads, whose buffer a step could not be given back.
    """
    update = lambda updates, state, params=None: make(schedule(state.count)).update(updates, state, params)
    return optax.GradientTransformation(lambda params: make(schedule(0)).init(params), update)


def sgd(
    rate, momentum: float = 0.0, final_momentum: float | None = None, momentum_steps: int = 1
) -> optax.GradientTransformation:
    """Gradient descent as the 2014 GAN was trained: the velocity becomes momentum * velocity - rate * gradient.

    Momentum moves linearly to `final_momentum` over `momentum_steps` updates.
    """
    falling = optax.scale_by_learning_rate(rate)
    if momentum == 0.0 and not final_momentum:
        return falling
    if final_momentum is None:
        return optax.chain(falling, optax.trace(momentum))
    rising = optax.linear_schedule(momentum, final_momentum, momentum_steps)
    return optax.chain(falling, optax.inject_hyperparams(optax.trace)(decay=rising))


def rmsprop(rate, decay: float, eps: float) -> optax.GradientTransformation:
    """RMSProp by PyTorch's rule: the mean square starts at 0, eps is outside the root. TensorFlow 1, whose mean square
    starts at 1, makes a first step at WGAN's gradients of 1e-6 that is ten million times smaller.
    """
    mean_square = optax.scale_by_rms(decay=decay, eps=eps, eps_in_sqrt=False)
    return optax.chain(mean_square, optax.scale_by_learning_rate(rate))


def clipped(bound: float) -> optax.GradientTransformation:
    """Behind an optimizer: the weights it leaves are within [-bound, bound] (Arjovsky et al. 2017, Algorithm 1)."""

    def update(updates, state, params):
        within = lambda param, change: jnp.clip(param + change, -bound, bound) - param
        return jax.tree.map(within, params, updates), state

    return optax.GradientTransformation(lambda params: optax.EmptyState(), update)
