"""The smallest config that trains, and random variables for any net."""

import numpy as np

from biggan_jax import config as configs

NAMES = {"gan.name": "biggan", "model.name": "biggan", "dataset": "digits", "optimizer.name": "adam"}


def tiny_config(**changes):
    """A few thousand parameters on 8x8 digits; `changes` are keys with dots written as double underscores."""
    changes = {key.replace("__", "."): value for key, value in changes.items()}
    c = configs.default(*(changes.get(name) or given for name, given in NAMES.items()))
    c.num_classes = 10
    c.num_steps, c.batch_size = 4, 16
    if "num_d_steps" in c:
        c.num_d_steps = 1
    c.compute_dtype = "float32"
    if "ema_start" in c:
        c.ema_start = 0
    if configs.kind(c) == "image":
        c.image_size, c.data.flip = 8, False
    sizes = {"channels": 4, "widths": (16, 16), "hidden": 16, "embedding_size": 8, "w_dim": 8, "z_dim": 8}
    sizes |= {"channel_base": 1024, "channel_max": 8, "mapping_layers": 1, "mapping_layers_d": 1, "mapping_rate": 1.0}
    sizes |= {"channels_g": 4, "channels_d": 4, "blocks": 1, "downs": 3, "layers_d": 1}
    for key, value in (sizes | {"attention_resolutions": (8,), "image_channels": 3}).items():
        if key in c.model:
            c.model[key] = value
    c.run.log_every, c.run.checkpoint_every, c.run.sample_every = 1, 2, 0
    c.run.standing_stats_batches, c.run.standing_stats_batch_size = 2, 16
    for key, value in changes.items():
        configs.put(c, key, value)
    configs.validate(c)
    return c


def random_variables(net, *inputs, seed=0, std=0.3):
    """Variables of the right shapes with random values: compiling the initialisers would cost seconds."""
    import jax

    rng = np.random.default_rng(seed)
    shapes = jax.eval_shape(net.init, jax.random.key(0), *inputs)

    def value(path, leaf):
        x = rng.normal(0, std, leaf.shape)
        return (np.abs(x) + 0.5 if path[-1].key in ("var", "scale") else x).astype(np.float32)

    return jax.tree_util.tree_map_with_path(value, shapes)
