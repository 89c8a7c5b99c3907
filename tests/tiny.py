"""The smallest config that trains, and random variables for any net."""

import numpy as np

from biggan_jax import config as config_lib


def tiny_config(**changes):
    """A few thousand parameters on 8x8 digits; `changes` are keys with dots written as double underscores."""
    c = config_lib.default()
    c.dataset, c.image_size, c.num_classes = "digits", 8, 10
    c.num_steps, c.batch_size, c.num_d_steps = 4, 16, 1
    c.model.channels, c.model.z_dim, c.model.embedding_size, c.model.attention_resolutions = 4, 8, 8, (8,)
    c.compute_dtype, c.ema_start, c.data.flip = "float32", 0, False
    c.log_every, c.checkpoint_every, c.sample_every = 1, 2, 0
    c.standing_stats_batches, c.standing_stats_batch_size = 2, 16
    for key, value in changes.items():
        *path, last = key.split("__")
        target = c
        for name in path:
            target = target[name]
        target[last] = value
    config_lib.validate(c)
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
