"""Tiny forms of every recipe in the table, and of one that is not, with random states: nothing is compiled for them."""

import contextlib
import dataclasses

import jax
import numpy as np
import optax

from biggan_jax import data, gans
from biggan_jax.config import gans as keys
from biggan_jax.devices import sharding
from biggan_jax.gans import core
from tests import toy_recipe
from tests.tiny import random_variables, tiny_config

NETS = {  # of each recipe's tiny form
    "gan": "mlp",
    "biggan": "biggan",
    "wgan_gp": "wgan_gp",
    "acgan": "acgan",
    "infogan": "infogan",
    "improved_gan": "improved_gan",
    "ebgan": "autoencoder",
    "began": "autoencoder",
    "stylegan2": "stylegan2",
    "r3gan": "r3gan",
    "projected_gan": "projected",
    "cyclegan": "translation",
    "pix2pix": "translation",
    "toy": "wgan_gp",
}
OWN = {  # what a recipe's tiny form needs besides
    "acgan": {"model__z_dim": 16},
    "infogan": {"model__z_dim": 16, "gan__prior": "normal"},
    "improved_gan": {
        "model__channels": 16,
        "model__minibatch_kernels": 3,
        "data__num_labelled": 20,
        "gan__history": 1e-3,
    },
    "stylegan2": {"gan__path_length_every": 3},  # so that the last of four steps, after a resume, has it
    "r3gan": {"model__channel_base": 8192, "model__group_channels": 8, "gan__augment": "", "gan__burn_in_kimg": 3.2},
    # One head, and images as large as they are, of which coarse maps would be too small for others.
    "projected_gan": {
        "num_classes": 0,
        "model__generator": "fastgan_lite",
        "model__channels": 2,
        "model__features_channels": 2,
        "model__projection_channels": 2,
        "model__head_channels": 4,
        "model__num_heads": 1,
        "model__resolution": 0,
        "gan__augment": "",
    },
    "cyclegan": {
        "dataset": "digits_domains",
        "num_classes": 0,
        "data__flip": True,
        "gan__pool_size": 5,
        "model__generator": "unet",  # its maps have more pixels here, of which instance normalisation is stabler
        "model__downs": 2,
    },
    "pix2pix": {
        "dataset": "digits_domains",
        "num_classes": 0,
        "data__flip": True,
        "data__paired": True,
        "model__dropout": 0.0,
    },
}
EQUALISED = ("stylegan2",)  # nets whose weights are N(0, 1); of smaller ones rounding hides how little they move
BETWEEN_DOMAINS = {"cyclegan", "pix2pix"}  # no latents, no labels, channels as the data; samples are made of images
RECIPES = (*gans.GANS, "toy")
# Configs of one recipe that the family has by other names: nets, losses and optimizers that the rows above leave out.
CONFIGS = {
    "cgan": {"gan__name": "gan", "model__name": "mlp", "model__label_units": 3, "model__label_units_d": 3},
    "dcgan": {"gan__name": "gan", "model__name": "dcgan", "gan__same_fakes": True,
              "gan__augment": "color,translation,cutout"},
    "lsgan": {"gan__name": "gan", "model__name": "mlp", "loss": "least_squares", "gan__codes": (-1.0, 1.0, 0.0)},
    "wgan": {"gan__name": "gan", "model__name": "dcgan", "model__norm_d": "none", "loss": "wasserstein",
             "gan__clip": 0.05, "optimizer__beta1": 0.0},
    "sngan": {"gan__name": "gan", "model__name": "sngan", "loss": "hinge",
              "gan__augment": "bgcfnc", "gan__augment_p": 0.5},
    "sn_dcgan": {"gan__name": "gan", "model__name": "sn_dcgan", "loss": "hinge"},
    "virtual": {"gan__name": "improved_gan", "model__name": "improved_gan", "model__channels": 16, "num_classes": 0,
                "gan__matching": "none", "gan__real_label": 0.9, "model__norm_g": "virtual"},
    "points": {"gan__name": "gan", "model__name": "mlp", "dataset": "points", "num_classes": 0},
    "points_gp": {"gan__name": "wgan_gp", "model__name": "mlp", "dataset": "points", "num_classes": 0},
    "r3gan_ada": {"gan__name": "r3gan", "model__name": "r3gan", "gan__augment_p": 0.5},
    "r3gan_penalties": {"gan__name": "wgan_gp", "model__name": "r3gan", "loss": "relativistic",
                        "gan__penalty_kind": "r1_r2"},
    "projected_labels": {"model__generator": "fastgan", "model__num_heads": 2, "num_classes": 10,
                         "gan__augment": "color,translation,cutout", "gan__blur": 1.0},
    "projected_stylegan2": {"model__generator": "stylegan2", "model__separable": True, "truncation_mode": "psi",
                            "num_classes": 10, "model__w_avg_by_class": True, "gan__guidance": 0.5,
                            "gan__path_length": 2.0, "gan__path_length_every": 3},
    "sagan": {"gan__name": "gan", "model__name": "sagan", "loss": "hinge", "model__attention_resolutions": (4,)},
}  # fmt: skip
for name in ("projected_labels", "projected_stylegan2"):
    CONFIGS[name] = {"gan__name": "projected_gan", "model__name": "projected"} | OWN["projected_gan"] | CONFIGS[name]


@contextlib.contextmanager
def known():
    """The toy recipe is in the tables, as a user's own would be."""
    gans.GANS["toy"] = toy_recipe.build
    keys.TABLES["toy"] = keys.TABLES["wgan_gp"] | toy_recipe.KEYS
    try:
        yield
    finally:
        del gans.GANS["toy"], keys.TABLES["toy"]
        gans._build.cache_clear()


def tiny(recipe: str, **changes):
    """The config of a recipe, or one of CONFIGS; `changes` with double underscores for dots."""
    own = CONFIGS.get(recipe) or {"gan__name": recipe, "model__name": NETS[recipe]} | OWN.get(recipe, {})
    values = {"num_d_steps": 2} | own | changes
    if "num_d_steps" not in keys.TABLES[own["gan__name"]]:
        del values["num_d_steps"]
    return tiny_config(**values)


def usual_phase(gan):
    """The phase of a step after the first, which may be a start that reads less of the state."""
    return gan.phase(2)


def with_sgd(gan):
    """Adam would turn the sign of a rounding error into a full step."""
    nets = {f.name: getattr(gan, f.name) for f in dataclasses.fields(gan)}
    nets = {name: net for name, net in nets.items() if isinstance(net, core.Net) and net.optimizer}
    return dataclasses.replace(
        gan, **{name: dataclasses.replace(net, optimizer=optax.sgd(0.01)) for name, net in nets.items()}
    )


def random_state(gan) -> core.GANState:
    def state(net):
        std = 1.0 if type(net.module).__module__.rpartition(".")[2] in EQUALISED else 0.3
        variables = random_variables(net.module, *net.inputs, std=std)
        params = variables.pop("params")
        begun = jax.eval_shape(net.optimizer.init, params) if net.optimizer else ()
        return core.NetState(params, variables, jax.tree.map(lambda x: np.zeros(x.shape, x.dtype), begun))

    nets = {name: state(net) for name, net in gan.nets.items()}
    return core.GANState(
        step=np.zeros((), np.int32),
        attempt=np.zeros((), np.int32),
        key=jax.random.key(1),
        nets=nets,
        ema={name: jax.tree.map(np.copy, nets[name].variables) for name in gan.averaged},
        extra=jax.device_get(gan.extra()),
    )


def random_batch(config, gan) -> dict:
    rng = np.random.default_rng(0)
    top = {"image": 256, "a": 256, "b": 256, "label": max(config.num_classes, 1)}
    lead = gan.takes(usual_phase(gan))
    draw = lambda name, x: (
        rng.integers(0, top[name.removeprefix("labelled_")], (*lead, *x.shape), x.dtype)
        if name.removeprefix("labelled_") in top
        else rng.normal(size=(*lead, *x.shape)).astype(x.dtype)
    )
    return {name: draw(name, x) for name, x in data.example(config).items()}


def samples(trained, start: int = 0) -> np.ndarray:
    """Three samples, without those before number `start`: of classes in turn, or of the first images of the data."""
    if "label" in trained.gan.conditions:
        asked = {"label": np.arange(3) % max(trained.num_classes, 1)}
    else:
        asked = trained.draw_conditions(data.load(trained.config), 0, 0, 3)
    asked = {name: rows[start:] for name, rows in asked.items()}
    return trained.sample(asked, 0.5 if trained.gan.truncates else None, start=start)


def maker(gan, config, mesh):
    """A function that makes the arguments of a step, placed: anew each time, as the state is donated."""
    put = lambda tree, spec: jax.device_put(tree, jax.sharding.NamedSharding(mesh, spec))
    state, batch = random_state(gan), random_batch(config, gan)
    copied = lambda: jax.tree.map(lambda x: x.copy(), state.replace(key=jax.random.key(1)))
    return lambda: (put(copied(), sharding.REPLICATED), put(batch, sharding.MICRO_BATCHES))


def compiled(gan, config, num_devices: int, phase):
    """The step of a phase compiled for so many devices, and the `maker` of its arguments; the state is donated."""
    mesh = sharding.make_mesh(jax.devices()[:num_devices])
    make = maker(gan, config, mesh)
    replicated = jax.sharding.NamedSharding(mesh, sharding.REPLICATED)
    with jax.set_mesh(mesh):
        step = jax.jit(gan.step, static_argnames="phase", donate_argnums=0, out_shardings=replicated)
        return step.lower(*make(), phase).compile(), make
