"""Keys of the recipes, by `gan.name`."""

from biggan_jax.config.keys import ANYTHING, FINITE, POSITIVE, SHARE, Key, at_least, one_of

LOSSES = ("hinge", "non_saturating", "wasserstein", "least_squares")
ORTHOGONAL_FORMS = ("off_diagonal", "full")
SCHEDULES = ("constant", "linear", "cosine")
TRUNCATION_MODES = ("resample", "rescale", "scale", "clip")

_ADVERSARIAL = {
    "num_d_steps": Key(2, at_least(1), "discriminator updates before each generator update"),
    "ema_decay": Key(0.9999, SHARE, "of the moving average of the generator"),
    "ema_start": Key(20_000, at_least(0), "steps before which the average is a copy of the generator (BigGAN-PyTorch; "
                     "the paper does not say)"),
    "data.flip": Key(True, ANYTHING, "mirror each real image with probability one half, inside the step"),
    "truncation_mode": Key("resample", one_of(*TRUNCATION_MODES), "what truncation means when sampling, see "
                           "gans/latents.py"),
}  # fmt: skip
_ADAM = {
    "optimizer.g_lr": Key(5e-5, FINITE, "learning rate of the generator"),
    "optimizer.d_lr": Key(2e-4, FINITE, "learning rate of the discriminator"),
    "optimizer.beta1": Key(0.0, SHARE, "of Adam"),
    "optimizer.beta2": Key(0.999, SHARE, "of Adam"),
    "optimizer.eps": Key(1e-6, FINITE, "of Adam"),
    "optimizer.g_schedule": Key("constant", one_of(*SCHEDULES), "linear and cosine end at 0 after num_steps"),
    "optimizer.d_schedule": Key("constant", one_of(*SCHEDULES), "the same for the discriminator"),
    "optimizer.warmup_steps": Key(0, at_least(0), "steps over which both rates rise from 0"),
}
TABLES = {
    "biggan": _ADVERSARIAL | _ADAM | {
        "loss": Key("hinge", one_of(*LOSSES), "of both nets"),
        "orthogonal_reg": Key(1e-4, FINITE, "strength beta of Brock et al. 2018, Equation 3; 0: off"),
        "orthogonal_form": Key("off_diagonal", one_of(*ORTHOGONAL_FORMS), "Equation 3, or full for Equation 2"),
    },
    "wgan_gp": _ADVERSARIAL | _ADAM | {
        "num_d_steps": Key(5, at_least(1), "critic updates before each generator update (n_critic)"),
        "optimizer.g_lr": Key(1e-4, FINITE, "learning rate of the generator"),
        "optimizer.d_lr": Key(1e-4, FINITE, "learning rate of the critic"),
        "optimizer.beta2": Key(0.9, SHARE, "of Adam"),
        "optimizer.eps": Key(1e-8, FINITE, "of Adam"),
        "gan.penalty": Key(10.0, POSITIVE, "weight lambda of the gradient penalty (Gulrajani et al. 2017, Equation 3)"),
        "gan.penalty_every": Key(1, at_least(1), "steps between penalties, each weighed as many times (lazy "
                                 "regularization, Karras et al. 2020, Section 3.1)"),
    },
}  # fmt: skip
