"""The smallest config that trains, and random variables for any net."""

import numpy as np

from biggan_jax import config as configs

NAMES = {"gan.name": "biggan", "model.name": "biggan", "dataset": "digits"}


def tiny_config(**changes):
    """A few thousand parameters on 8x8 digits; `changes` are keys with dots written as double underscores."""
    changes = {key.replace("__", "."): value for key, value in changes.items()}
    c = configs.default(*(changes.get(name) or given for name, given in NAMES.items()))
    c.image_size, c.num_classes = 8, 10
    c.num_steps, c.batch_size, c.num_d_steps = 4, 16, 1
    c.model.channels, c.model.z_dim = 4, 8
    c.compute_dtype, c.ema_start, c.data.flip = "float32", 0, False
    for key, value in {"embedding_size": 8, "attention_resolutions": (8,)}.items():
        if key in c.model:
            c.model[key] = value
    c.run.log_every, c.run.checkpoint_every, c.run.sample_every = 1, 2, 0
    c.run.standing_stats_batches, c.run.standing_stats_batch_size = 2, 16
    for key, value in changes.items():
        configs.put(c, key, value)
    configs.validate(c)
    return c


def random_variables(net, *inputs, seed=0):
    """Variables of the right shapes with random values: compiling the initialisers would cost seconds."""
    import jax

    rng = np.random.default_rng(seed)
    shapes = jax.eval_shape(net.init, jax.random.key(0), *inputs)

    def value(path, leaf):
        x = rng.normal(0, 0.3, leaf.shape)
        return (np.abs(x) + 0.5 if path[-1].key == "var" else x).astype(np.float32)

    return jax.tree_util.tree_map_with_path(value, shapes)
