"""Starting a run from the weights of another (`config.init_from`): a checkpoint of ours, or converted weights.

Weights are taken by name. Where the number of classes has changed, what belongs to classes (embeddings, per-class gains and biases and their
singular vectors) starts afresh; anything else that does not fit is an error. Optimizers and the step count always start afresh.
"""

from flax import traverse_util
import jax

from biggan_jax import checkpoint
from biggan_jax.errors import DataError
from biggan_jax.train_state import GANState, NetState

CLASS_MODULES = ("embedding", "class_gain", "class_bias")


def split_spec(spec: str) -> tuple[str, int | None]:
    """`(directory, step)` of "DIR" or "DIR@STEP"."""
    directory, separator, step = spec.rpartition("@")
    return (directory, int(step)) if separator and step.isdigit() else (spec, None)


def initialize(state: GANState, spec: str) -> tuple[GANState, list[str]]:
    """`state` with its nets' values taken from `spec`, placed as they were, and lines that say what was taken and what was not.

    Raises UsageError when there is no such checkpoint, DataError naming a variable that does not fit.
    """
    directory, step = split_spec(spec)
    checkpoints, step = checkpoint.open_for_reading(directory, step)
    items = checkpoints.items(step)
    source = {name: checkpoint.read_net(checkpoints, step, name)[1] for name in checkpoint.NETS if name in items}
    checkpoints.close()
    log = [f"weights from {directory}, step {step}; optimizers start afresh"]

    def take(name, source_name, variables):
        values, kept = merge(variables, source[source_name])
        if kept:
            log.append(f"{name}: {len(kept)} variables start afresh: {', '.join(kept[:4])}{' ...' if len(kept) > 4 else ''}")
        return values

    live = "generator" if "generator" in source else "ema"
    average = "ema" if "ema" in source else "generator"
    if live not in source:
        raise DataError(f"{directory}, step {step}: there are no generator weights; found {', '.join(items)}")
    state = state.replace(g=_replace(state.g, take("generator", live, state.g.variables)), ema=take("average", average, state.ema))
    if "discriminator" in source:
        state = state.replace(d=_replace(state.d, take("discriminator", "discriminator", state.d.variables)))
    else:
        log.append("discriminator: not in the checkpoint, starts afresh")
    return state, log


def merge(fresh, source) -> tuple[dict, list[str]]:
    """The values of `source` in the structure of `fresh`, and the names of those that keep their fresh value. Raises DataError."""
    fresh, source = traverse_util.flatten_dict(fresh), traverse_util.flatten_dict(source)
    values, kept = {}, []
    for path, value in fresh.items():
        name = "/".join(path)
        found = source.get(path)
        if found is not None and found.shape == value.shape:
            values[path] = jax.device_put(found.astype(value.dtype), value.sharding)
        elif path[0] == "spectral_stats" and found is None or path[-2] in CLASS_MODULES and _differs_in_classes_only(value, found):
            values[path] = value
            kept.append(name)
        else:
            raise DataError(f"init_from: {name} is {getattr(found, 'shape', 'missing')} there, {value.shape} in this config")
    unused = sorted("/".join(path) for path in source.keys() - fresh.keys() if path[0] == "params")
    if unused:
        raise DataError(f"init_from: this config has no place for {unused[0]} ({len(unused)} such in all)")
    return traverse_util.unflatten_dict(values), kept


def _differs_in_classes_only(value, found) -> bool:
    return found is not None and found.shape[1:] == value.shape[1:]


def _replace(net: NetState, variables) -> NetState:
    stats = {name: collection for name, collection in variables.items() if name != "params"}
    return net.replace(params=variables["params"], stats=stats)
