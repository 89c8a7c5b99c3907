"""Keys of the recipes, by `gan.name`, and what their values must be to each other."""

import math

from biggan_jax.config import projected, r3gan, stylegan2
from biggan_jax.config.data import DOMAINS, arrays, kind
from biggan_jax.config.keys import (
    ANYTHING,
    FINITE,
    POSITIVE,
    PROBABILITY,
    SHARE,
    Check,
    Key,
    at_least,
    one_of,
    optional,
    require,
)
from biggan_jax.config.optimizers import SCHEDULES

LOGIT_LOSSES = ("non_saturating", "saturating")  # of a classifier's logit, whose target a label can be
LOSSES = ("hinge", *LOGIT_LOSSES, "wasserstein", "least_squares", "relativistic", "relativistic_average")
ORTHOGONAL_FORMS = ("off_diagonal", "full")
PENALTIES = ("two_sided", "one_sided", "dragan", "r1", "r2", "r1_r2")
MATCHING = ("none", "squared_norm", "mean_square", "mean_absolute")
# Radford et al. 2016, Section 4; Salimans et al. 2016's code; Goodfellow et al. 2014's code (of variance 1).
UNIFORM = {"uniform": (-1.0, 1.0), "uniform_0_1": (0.0, 1.0), "uniform_sqrt3": (-math.sqrt(3.0), math.sqrt(3.0))}
PRIORS = ("normal", *UNIFORM)
TRUNCATION_MODES = ("resample", "rescale", "scale", "clip")
AUGMENTATIONS = ("color", "translation", "cutout")  # of DiffAugment
ADA_STAGES = ("blit", "geometry", "color", "filter", "noise", "cutout")
# The published sets: each has a stage more; bgcc is R3GAN's.
ADA_SETS = {"bgcfnc"[:count]: ADA_STAGES[:count] for count in range(1, len(ADA_STAGES) + 1)}
ADA_SETS["bgcc"] = ("blit", "geometry", "color", "cutout")
UPDATES = ("alternating", "simultaneous", "by_step")

_ADVERSARIAL = {
    "num_d_steps": Key(1, at_least(1), "discriminator updates before each generator update"),
    "ema_decay": Key(0.0, SHARE, "of the moving average of the generator, which samples are made with; 0: a copy"),
    "ema_start": Key(0, at_least(0), "steps before which the average is a copy"),
    "gan.prior": Key("normal", one_of(*PRIORS), "of the latents: N(0, 1), U[-1, 1], U[0, 1], U[-sqrt 3, sqrt 3]"),
    "truncation_mode": Key("resample", one_of(*TRUNCATION_MODES), "what truncation means when sampling, see "
                           "gans/latents.py"),
}  # fmt: skip
AUGMENT = {
    "gan.augment": Key("", Check(lambda kinds: kinds in ("", *ADA_SETS) or set(kinds.split(",")) <= set(AUGMENTATIONS),
                       f"empty or some of {','.join(AUGMENTATIONS)} (DiffAugment), or one of {', '.join(ADA_SETS)} "
                       "(ADA)"), "random changes through which D sees real and generated images, and G learns (Zhao et "
                       f"al. 2020, DiffAugment; Karras et al. 2020, ADA: {', '.join(ADA_STAGES)})"),
    "gan.augment_p": Key(0.0, PROBABILITY, "probability of each change of ADA, that of the first steps where it "
                         "moves"),
    "gan.augment_color": Key(1.0, PROBABILITY, "share of it that is the probability of changes of colour"),
    "gan.augment_target": Key(0.6, SHARE, "mean sign of D's outputs on real images, towards which ADA's probability "
                              "moves (Karras et al. 2020, Section 3.2); 0: it is fixed"),
    "gan.augment_kimg": Key(500.0, POSITIVE, "thousands of real images in which it can move by 1"),
    "gan.cutout": Key(0.5, SHARE, "share of an image's side that cutout hides; 0.2 in Projected GAN's code"),
}  # fmt: skip
_TARGETS = {
    "gan.codes": Key(None, Check(lambda codes: codes is None or len(codes) == 3, "None or three numbers a, b, c"),
                     "of loss=least_squares (Mao et al. 2017, Equation 2): D's for fakes and for real examples, G's; "
                     "None: 0, 1, 1", or_none=tuple),
    "gan.real_label": Key(1.0, Check(lambda value: 0.5 < value <= 1, "more than 0.5 and at most 1"), "D's target for "
                          "real examples (one-sided label smoothing, Salimans et al. 2016, Section 3.4)"),
}  # fmt: skip
_ONE_LOSS = AUGMENT | _TARGETS | {
    "loss": Key("non_saturating", one_of(*LOSSES), "of both nets"),
    "gan.updates": Key("alternating", one_of(*UPDATES), "D, then G against the new D; or both from where they were; "
                       "or one in each step, G in even ones"),
    "gan.same_fakes": Key(False, ANYTHING, "G is updated on the latents of the last D update (DCGAN's code)"),
    "gan.boost": Key(0, at_least(0), "steps that each of G's first 25 updates and each 500th takes, in the last of "
                     "which G learns (Arjovsky et al. 2017's code: 20, of 5 critic updates each); 0: no such"),
    "gan.clip": Key(0.0, FINITE, "bound on every weight of D after each of its updates (Arjovsky et al. 2017, "
                    "Algorithm 1); 0: none"),
    "orthogonal_reg": Key(0.0, FINITE, "strength beta of Brock et al. 2018, Equation 3; 0: off"),
    "orthogonal_form": Key("off_diagonal", one_of(*ORTHOGONAL_FORMS), "Equation 3, or full for Equation 2"),
}  # fmt: skip
PENALTY = {
    "gan.penalty": Key(10.0, POSITIVE, "weight lambda of the penalty on the critic's slope"),
    "gan.penalty_kind": Key("two_sided", one_of(*PENALTIES), "between real and fake (Gulrajani et al. 2017, Equation "
                            "3), or of slopes over 1 alone; near real; squared slopes at real or fake, see "
                            "gans/penalties.py"),
    "gan.penalty_every": Key(1, at_least(1), "steps between penalties, each weighed as many times (lazy "
                             "regularization, Karras et al. 2020, Section 3.1)"),
}  # fmt: skip
CATEGORIES = Check(
    lambda sizes: all(isinstance(n, int) and n >= 2 for n in sizes), "a tuple of numbers, each at least 2"
)
# Adam as the DCGAN paper has it (Radford et al. 2016, Section 4).
_DCGAN_ADAM = {
    "optimizer.g_lr": Key(2e-4, FINITE, "learning rate of the generator"),
    "optimizer.d_lr": Key(2e-4, FINITE, "learning rate of the discriminator"),
    "optimizer.beta1": Key(0.5, SHARE, "of Adam"),
    "optimizer.eps": Key(1e-8, FINITE, "of Adam"),
}


def _nets(name):
    """The row of nets that a recipe has by default."""
    return {"model.name": Key(name, ANYTHING, "the nets: one of config.models.TABLES")}


_AUTO_ENCODER = {
    "model.name": Key("autoencoder", one_of("autoencoder", also=", whose D is an auto-encoder"), "the nets"),
}
_TRANSLATION_LOSSES = one_of("least_squares", "non_saturating")
# Zhu et al. 2017, Appendix 7.1: the second half of the training goes linearly to 0.
_TRANSLATION = _DCGAN_ADAM | {
    "model.name": Key("translation", one_of("translation", also=", whose G takes images"), "the nets"),
    "optimizer.g_schedule": Key("linear", one_of(*SCHEDULES), "linear and cosine end at 0 after num_steps"),
    "optimizer.d_schedule": Key("linear", one_of(*SCHEDULES), "the same for the discriminators"),
    "optimizer.decay_start": Key(0.5, SHARE, "share of the steps after which linear and cosine begin to fall"),
}
TABLES = {
    "gan": _ADVERSARIAL | _ONE_LOSS | _DCGAN_ADAM | _nets("dcgan"),
    "biggan": _ADVERSARIAL | _ONE_LOSS | {
        "num_d_steps": Key(2, at_least(1), "discriminator updates before each generator update"),
        "loss": Key("hinge", one_of(*LOSSES), "of both nets"),
        "ema_decay": Key(0.9999, SHARE, "of the moving average of the generator"),
        "ema_start": Key(20_000, at_least(0), "steps before which the average is a copy of the generator "
                         "(BigGAN-PyTorch; the paper does not say)"),
        "orthogonal_reg": Key(1e-4, FINITE, "strength beta of Brock et al. 2018, Equation 3; 0: off"),
    },
    "wgan_gp": _ADVERSARIAL | PENALTY | AUGMENT | _TARGETS | _nets("wgan_gp") | {
        "loss": Key("wasserstein", one_of(*LOSSES), "of both nets, beside the penalty"),
        "num_d_steps": Key(5, at_least(1), "critic updates before each generator update (n_critic)"),
        "ema_decay": Key(0.9999, SHARE, "of the moving average of the generator"),
        "ema_start": Key(20_000, at_least(0), "steps before which the average is a copy of the generator"),
        "optimizer.g_lr": Key(1e-4, FINITE, "learning rate of the generator"),
        "optimizer.d_lr": Key(1e-4, FINITE, "learning rate of the critic"),
        "optimizer.beta2": Key(0.9, SHARE, "of Adam"),
        "optimizer.eps": Key(1e-8, FINITE, "of Adam"),
    },
    "acgan": _ADVERSARIAL | _DCGAN_ADAM | PENALTY | AUGMENT | _TARGETS | _nets("acgan") | {
        "loss": Key("non_saturating", one_of(*LOSSES), "of both nets, beside the class losses"),
        "gan.class_weight_real": Key(1.0, FINITE, "of the class loss on real images, in D's loss"),
        "gan.class_weight_fake": Key(1.0, FINITE, "of that on generated ones, in D's loss; 0: real ones only"),
        "gan.class_weight_g": Key(1.0, FINITE, "of that on generated ones, in G's loss"),
        "gan.same_fakes": _ONE_LOSS["gan.same_fakes"],
        "gan.penalty": Key(0.0, FINITE, "weight of a penalty on the slope of D's logits, for nets without BatchNorm in "
                           "D; 0: none"),
    },
    "improved_gan": _ADVERSARIAL | _DCGAN_ADAM | _nets("improved_gan") | {
        "loss": Key("non_saturating", one_of(*LOGIT_LOSSES), "of D, and of G without feature matching"),
        "gan.real_label": _ONE_LOSS["gan.real_label"],
        "gan.matching": Key("mean_square", one_of(*MATCHING), "G's loss, of the mean features of real images and fakes "
                            "(Salimans et al. 2016, Section 3.1); none: its part of `loss`"),
        "gan.unlabelled_weight": Key(1.0, FINITE, "of what D learns of images without labels and of fakes; 0: it "
                                     "learns of data.num_labelled images alone"),
        "gan.history": Key(0.0, FINITE, "weight of historical averaging (Section 3.3) in both losses; 0: none"),
    },
    "ebgan": _ADVERSARIAL | _DCGAN_ADAM | _AUTO_ENCODER | {
        "gan.margin": Key(1.0, POSITIVE, "energy up to which D raises fakes (Zhao et al. 2017, Equation 1)"),
        "gan.pulling_away": Key(0.1, FINITE, "weight of the term that keeps codes of fakes apart (Equation 4); 0: "
                                "none"),
    },
    "began": {name: key for name, key in _ADVERSARIAL.items() if name != "num_d_steps"} | _AUTO_ENCODER | {
        "gan.gamma": Key(0.5, SHARE, "the ratio of L(G(z)) to L(x) that is held (Berthelot et al. 2017, Section 3.3)"),
        "gan.rate": Key(0.001, FINITE, "lambda_k, by which the balance k moves"),
        "optimizer.g_lr": Key(1e-4, FINITE, "learning rate of the generator"),
        "optimizer.d_lr": Key(1e-4, FINITE, "learning rate of the discriminator"),
        "optimizer.beta1": Key(0.9, SHARE, "of Adam"),
        "optimizer.eps": Key(1e-8, FINITE, "of Adam"),
    },
    "infogan": _ADVERSARIAL | _DCGAN_ADAM | AUGMENT | _nets("infogan") | {
        "loss": Key("non_saturating", one_of(*LOSSES), "of both nets, beside the information"),
        "optimizer.g_lr": Key(1e-3, FINITE, "learning rate of the generator and of Q"),
        "gan.prior": Key("uniform", one_of(*PRIORS), "of the latents that are no codes"),
        "gan.categorical": Key((10,), CATEGORIES, "categories of each categorical code"),
        "gan.continuous": Key(2, at_least(0), "numbers of codes in [-1, 1]"),
        "gan.code_weight": Key(1.0, FINITE, "lambda of the information on categorical codes (Chen et al. 2016, "
                               "Equation 6)"),
        "gan.continuous_weight": Key(1.0, FINITE, "and of that on continuous ones; 0.1 in the paper"),
        "gan.learn_std": Key(False, ANYTHING, "Q tells a standard deviation of each continuous code too; False: it is "
                             "1, as in the authors' code"),
    },
    "stylegan2": AUGMENT | stylegan2.PATH_LENGTH | {
        "model.name": Key("stylegan2", one_of("stylegan2", also=", whose G maps latents to styles"), "the nets"),
        "loss": Key("non_saturating", one_of(*LOSSES), "of both nets"),
        "gan.prior": _ADVERSARIAL["gan.prior"],
        "gan.r1_gamma": Key(10.0, FINITE, "weight of R1: gamma / 2 times the squared slope of D at real images; 0: "
                            "none"),
        "gan.r1_every": Key(16, at_least(1), "steps between updates of D by R1, which weighs as many times more; D's "
                            "Adam is rescaled for it"),
        "gan.mixing": Key(0.9, Check(lambda value: 0 <= value <= 1, "0 to 1"), "probability that an image has the "
                          "styles of two latents (Karras et al. 2019, Section 3.1)"),
        "gan.ema_kimg": Key(10.0, POSITIVE, "half-life of the moving average of the generator, in thousands of images"),
        "gan.ema_rampup": Key(0.0, SHARE, "of the images so far, which the half-life is at most; 0: no such limit"),
        "truncation_mode": Key("psi", one_of("psi"), "what truncation means when sampling: w is moved towards its "
                               "average (Karras et al. 2019, Appendix B)"),
        "gan.truncation_cutoff": Key(None, optional(at_least(0)), "layers that truncation acts on, from the coarsest; "
                                     "None: all", or_none=int),
        "optimizer.g_lr": Key(2e-3, FINITE, "learning rate of the generator"),
        "optimizer.d_lr": Key(2e-3, FINITE, "learning rate of the discriminator"),
        "optimizer.beta2": Key(0.99, SHARE, "of Adam"),
        "optimizer.eps": Key(1e-8, FINITE, "of Adam"),
    },
    "r3gan": _nets("r3gan") | r3gan.RECIPE | {
        "loss": Key("relativistic", one_of(*LOSSES), "of both nets, beside the penalties"),
        "gan.prior": _ADVERSARIAL["gan.prior"],
        "gan.augment": Key("bgcc", one_of("", *ADA_SETS), "random changes through which D sees real and generated "
                           "images (Karras et al. 2020, ADA)"),
        "gan.augment_color": Key(0.5, PROBABILITY, "share of its probability that changes of colour have"),
        "gan.cutout": AUGMENT["gan.cutout"],
        "truncation_mode": _ADVERSARIAL["truncation_mode"],
    },
    "projected_gan": AUGMENT | projected.RECIPE | {
        "model.name": Key("projected", one_of("projected", also=", whose D has several heads"), "the nets"),
        "loss": Key("hinge", one_of(*LOSSES), "of both nets, over all logits of all heads"),
        "gan.prior": _ADVERSARIAL["gan.prior"],
        "gan.augment": AUGMENT["gan.augment"]._replace(default="color,translation,cutout"),
        "gan.cutout": AUGMENT["gan.cutout"]._replace(default=0.2),
        "gan.ema_kimg": Key(20.0, POSITIVE, "half-life of the moving average of the generator, in thousands of images"),
        "gan.ema_rampup": Key(0.05, SHARE, "of the images so far, which the half-life is at most; 0: no such limit"),
        "truncation_mode": Key("resample", one_of(*TRUNCATION_MODES, "psi"), "what truncation means when sampling, see "
                               "gans/latents.py; psi: in w, of StyleGAN2's generator"),
        "optimizer.g_lr": Key(2e-4, FINITE, "learning rate of the generator"),
        "optimizer.d_lr": Key(2e-4, FINITE, "learning rate of the heads"),
        "optimizer.beta2": Key(0.99, SHARE, "of Adam"),
        "optimizer.eps": Key(1e-8, FINITE, "of Adam"),
    },
    "cyclegan": _TRANSLATION | {
        "loss": Key("least_squares", _TRANSLATION_LOSSES, "of all nets, beside the cycle"),
        "gan.cycle_weight_a": Key(10.0, FINITE, "lambda of a, to b, and back (Zhu et al. 2017, Equation 3); 0: none"),
        "gan.cycle_weight_b": Key(10.0, FINITE, "of b, to a, and back; 0: none"),
        "gan.identity_weight": Key(0.5, FINITE, "of the loss that leaves an image of the own target domain as it is "
                                   "(Section 5.2), times the cycle weight of that domain; 0: none, as in most of the "
                                   "paper"),
        "gan.pool_size": Key(50, at_least(0), "translations of each direction that are kept for D (Section 4); 0: it "
                             "sees the newest"),
    },
    "pix2pix": _TRANSLATION | {
        "loss": Key("non_saturating", _TRANSLATION_LOSSES, "of both nets, beside the difference from the true image"),
        "gan.l1_weight": Key(100.0, FINITE, "lambda of that difference (Isola et al. 2017, Equation 4); 0: none"),
        "model.generator": Key("unet", one_of("resnet", "unet"), "residual blocks, or a U-Net"),
        "model.norm": Key("batch", one_of("instance", "batch"), "in all nets"),
        "model.dropout": Key(0.5, SHARE, "in the generator, at sampling too: its noise (Section 3.2.1)"),
    },
}  # fmt: skip


def check(config) -> None:
    """Raises UsageError for values of the recipe's keys that do not go together, with the reason."""
    gan, model = config.gan, config.model
    if gan.name != "improved_gan" and config.data.get("num_labelled"):
        require(False, "data.num_labelled", config, "0: only gan.name=improved_gan learns of partly labelled images")
    if gan.get("augment"):
        require(kind(config) == "image", "gan.augment", config, "empty for points; images can be changed so")
    _check_ada(config)
    if gan.get("boost"):
        require(gan.updates == "alternating", "gan.updates", config, "alternating with gan.boost")
    if gan.get("updates", "alternating") != "alternating":
        allowed = f"1 with gan.updates={gan.updates}, which updates each net once"
        require(config.num_d_steps == 1, "num_d_steps", config, allowed)
    if gan.get("updates") == "by_step":
        allowed = "False with gan.updates=by_step, whose steps have one update each"
        require(not gan.same_fakes, "gan.same_fakes", config, allowed)
    if gan.get("real_label", 1.0) != 1:
        allowed = f"1 with loss={config.loss}: a label is a target of a logit (loss={' or '.join(LOGIT_LOSSES)})"
        require(config.loss in LOGIT_LOSSES, "gan.real_label", config, allowed)
    if gan.get("codes"):
        allowed = f"None with loss={config.loss}; least_squares has codes"
        require(config.loss == "least_squares", "gan.codes", config, allowed)
    if gan.get("clip"):
        spectral = model.get("spectral_norm_d") or model.get("norm_d") == "spectral"
        allowed = "0 with spectral normalisation in D, which divides the clipped weights by their norm again"
        require(not spectral, "gan.clip", config, allowed)
        if config.optimizer.name == "adam":
            allowed = (
                "0 with gan.clip: the critic's loss is not stationary, momentum makes its training unstable (Arjovsky "
                "et al. 2017, Section 4); optimizer.name=rmsprop is the paper's"
            )
            require(config.optimizer.beta1 == 0, "optimizer.beta1", config, allowed)
    CHECKS.get(gan.name, lambda config: None)(config)


def _check_ada(config):
    name, p = config.gan.get("augment"), config.gan.get("augment_p")
    if name not in ADA_SETS:
        allowed = f"0 with gan.augment={name!r}: only what ADA's sets change ({', '.join(ADA_SETS)}) has a probability"
        require(not p, "gan.augment_p", config, allowed)
        return
    mover = "augment_target" if "augment_target" in config.gan else "final_augment_p"
    allowed = f"more than 0 where gan.{mover}=0 fixes it"
    require(p or config.gan[mover], "gan.augment_p", config, allowed)
    channels = config.model.get("image_channels", 3)
    allowed = f"one of b, bg with images of {channels} channels; colours are of 1 or 3"
    require(channels in (1, 3) or name in ("b", "bg"), "gan.augment", config, allowed)


def _check_acgan(config):
    require(config.num_classes >= 2, "num_classes", config, "at least 2 for gan.name=acgan, whose D tells classes")


def _check_infogan(config):
    size = sum(config.gan.categorical) + config.gan.continuous
    require(size > 0, "gan.continuous", config, "more than 0 where gan.categorical is empty: there are no codes")
    allowed = f"at least {size}, which the codes take of it (gan.categorical, gan.continuous)"
    require(config.model.z_dim >= size, "model.z_dim", config, allowed)


def _check_improved_gan(config):
    if not config.gan.unlabelled_weight:
        allowed = "more than 0 without labelled images to learn of instead (data.num_labelled)"
        require(config.data.get("num_labelled"), "gan.unlabelled_weight", config, allowed)


def _check_translation(config):
    allowed = f"one of two domains, whose arrays are a and b: {', '.join(DOMAINS)}"
    require({"a", "b"} <= arrays(config).keys(), "dataset", config, allowed)
    if enlarge := config.data.get("enlarge"):
        require(enlarge >= config.image_size, "data.enlarge", config, f"0, or at least image_size={config.image_size}")
    require(not config.num_classes, "num_classes", config, "0: domains have no labels")
    allowed = "0: translations are scored by the command evaluate alone"
    require(not config.run.evaluate_every, "run.evaluate_every", config, allowed)


def _check_pix2pix(config):
    _check_translation(config)
    reason = "gan.name=pix2pix learns from pairs"
    require(config.dataset != "domains", "dataset", config, f"pairs, or another with them: {reason}")
    require(config.data.get("paired", True), "data.paired", config, f"True: {reason}")


def _check_cyclegan(config):
    _check_translation(config)
    a, b = (arrays(config)[domain][0] for domain in "ab")
    if config.gan.identity_weight:
        allowed = f"0 with domains of {a[-1]} and {b[-1]} channels: an image of one is none of the other"
        require(a[-1] == b[-1], "gan.identity_weight", config, allowed)


# By recipe: what goes beyond one key, and is its alone.
CHECKS = {
    "cyclegan": _check_cyclegan,
    "pix2pix": _check_pix2pix,
    "acgan": _check_acgan,
    "infogan": _check_infogan,
    "improved_gan": _check_improved_gan,
}
