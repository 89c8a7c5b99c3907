"""Keys of the optimizers, by `optimizer.name`. A recipe has defaults of its own for some of them."""

from biggan_jax.config.keys import FINITE, SHARE, Check, Key, at_least, one_of, optional

SCHEDULES = ("constant", "linear", "cosine")

_RATES = {
    "optimizer.g_lr": Key(5e-5, FINITE, "learning rate of the generator"),
    "optimizer.d_lr": Key(2e-4, FINITE, "learning rate of the discriminator"),
    "optimizer.g_schedule": Key("constant", one_of(*SCHEDULES), "linear and cosine end at 0 after num_steps"),
    "optimizer.d_schedule": Key("constant", one_of(*SCHEDULES), "the same for the discriminator"),
    "optimizer.decay_start": Key(0.0, SHARE, "share of the steps after which linear and cosine begin to fall"),
    "optimizer.halve_every": Key(0, at_least(0), "steps after which both rates are halved, and once more after as many "
                                 "(BEGAN's code); 0: never"),
    "optimizer.warmup_steps": Key(0, at_least(0), "steps over which both rates rise from 0"),
}  # fmt: skip
TABLES = {
    "adam": _RATES | {
        "optimizer.beta1": Key(0.0, SHARE, "of Adam"),
        "optimizer.beta2": Key(0.999, SHARE, "of Adam"),
        "optimizer.d_beta1": Key(None, optional(SHARE), "of the discriminator; None: beta1", or_none=float),
        "optimizer.d_beta2": Key(None, optional(SHARE), "of the discriminator; None: beta2", or_none=float),
        "optimizer.eps": Key(1e-6, FINITE, "of Adam"),
    },
    "sgd": _RATES | {
        "optimizer.momentum": Key(0.0, SHARE, "at first"),
        "optimizer.final_momentum": Key(None, optional(SHARE), "at the end of momentum_steps; None: momentum",
                                        or_none=float),
        "optimizer.momentum_steps": Key(1, at_least(1), "updates over which momentum moves to final_momentum"),
        "optimizer.divisor": Key(1.0, Check(lambda value: value >= 1, "at least 1"), "both rates are divided by it "
                                 "after each update (Goodfellow et al. 2014: 1.000004)"),
    },
    "rmsprop": _RATES | {
        "optimizer.decay": Key(0.99, SHARE, "of the mean square, which starts at 0 (PyTorch's rule)"),
        "optimizer.eps": Key(1e-8, FINITE, "outside the root (PyTorch's rule)"),
    },
}  # fmt: skip


def fall_until_the_end(config) -> bool:
    """Whether a learning rate of `config` depends on `num_steps`."""
    return {config.optimizer.g_schedule, config.optimizer.d_schedule} != {"constant"}
