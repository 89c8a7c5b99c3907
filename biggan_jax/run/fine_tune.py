"""Starting a run from the weights of another (`config.init_from`): a checkpoint of ours, or converted weights.

Weights are taken by name. Where the number of classes has changed, what belongs to classes (embeddings, per-class gains
and biases and their singular vectors) starts afresh; anything else that does not fit is an error. Optimizers and the
step count always start afresh.
"""

from flax import traverse_util
import jax
import jax.numpy as jnp

from biggan_jax.run import checkpoint
from biggan_jax.errors import DataError
from biggan_jax.train_state import GANState, NetState

CLASS_MODULES = ("embedding", "class_gain", "class_bias")


def split_spec(spec: str) -> tuple[str, int | None]:
    """`(directory, step)` of "DIR" or "DIR@STEP"."""
    directory, separator, step = spec.rpartition("@")
    return (directory, int(step)) if separator and step.isdecimal() else (spec, None)


def initialize(create, config) -> tuple[GANState, list[str]]:
    """The state of `create(config.seed)` with its nets' values taken from `config.init_from`, placed as they were, and
    lines for the log: what was taken, what was not, and which settings of the nets differ.

    Converted weights may lack a net: without a generator beside its average both start from the average, without a
    discriminator it starts afresh. Raises UsageError when there is no such checkpoint, DataError naming a variable that
    does not fit; both before anything is computed.
    """
    directory, step = split_spec(config.init_from)
    checkpoints, step = checkpoint.open_for_reading(directory, step)
    try:
        items = checkpoints.items(step)
        source = {name: checkpoint.read_net(checkpoints, step, name)[1] for name in checkpoint.NETS if name in items}
        source_model = checkpoints.config(step).model
    finally:
        checkpoints.close()
    if "ema" not in source:
        raise DataError(f"{directory}, step {step}: there are no generator weights; found {', '.join(items)}")

    log = [f"weights from {directory}, step {step}; optimizers start afresh"]
    for key, value in config.model.items():
        if source_model[key] != value:
            log.append(f"model.{key} was {source_model[key]!r} there, is {value!r} here")
    if "generator" not in source:
        log.append("generator: starts from its average, the checkpoint has no other")
    if "discriminator" not in source:
        log.append("discriminator: not in the checkpoint, starts afresh")
    if config.ema_start:
        log.append(f"ema: a copy of the generator until step {config.ema_start} (ema_start)")
    fresh = _nets(jax.eval_shape(create, config.seed))
    source = {"generator": source["ema"]} | source
    for name, variables in source.items():
        afresh = starting_afresh(fresh[name], variables)
        if afresh:
            more = f" and {len(afresh) - 4} more" if len(afresh) > 4 else ""
            log.append(f"{name}: {len(afresh)} variables start afresh: {', '.join(afresh[:4])}{more}")

    state = create(config.seed)
    nets = _nets(state)
    nets |= {name: merge(nets[name], variables) for name, variables in source.items()}
    g, d = _replace(state.g, nets["generator"]), _replace(state.d, nets["discriminator"])
    return state.replace(g=g, d=d, ema=nets["ema"]), log


def starting_afresh(fresh, source) -> list[str]:
    """Names of the variables of `fresh` that `source` has no value for. Raises DataError for one that should have, and
    for one of `source` that `fresh` does not have.
    """
    fresh, source = traverse_util.flatten_dict(fresh), traverse_util.flatten_dict(source)
    names = []
    for path, value in fresh.items():
        found = source.get(path)
        if found is not None and found.shape == value.shape:
            continue
        names.append("/".join(path))
        if not _may_start_afresh(path, value, found):
            there = "missing" if found is None else found.shape
            raise DataError(f"init_from: {names[-1]} is {there} there, {value.shape} in this config")
    unused = sorted("/".join(path) for path in source.keys() - fresh.keys())
    if unused:
        raise DataError(f"init_from: this config has no place for {unused[0]} ({len(unused)} such in all)")
    return names


def merge(fresh, source) -> dict:
    """The values of `source`, in arrays of their own, and those of `fresh` where `source` has none of that shape."""
    source = traverse_util.flatten_dict(source)

    def value(path, own):
        found = source.get(path)
        if found is None or found.shape != own.shape:
            return own
        # A copy: generator and average may come from one array, which the step could not donate twice.
        return jnp.copy(jax.device_put(found.astype(own.dtype), own.sharding))

    return traverse_util.unflatten_dict({p: value(p, own) for p, own in traverse_util.flatten_dict(fresh).items()})


def _may_start_afresh(path, value, found) -> bool:
    """Whether a variable belongs to another number of classes, or to a spectral normalisation that is new."""
    if found is None:
        return path[0] == "spectral_stats"
    return path[-2] in CLASS_MODULES and found.shape[1:] == value.shape[1:]


def _nets(state: GANState) -> dict:
    return {"ema": state.ema, "generator": state.g.variables, "discriminator": state.d.variables}


def _replace(net: NetState, variables) -> NetState:
    stats = {name: collection for name, collection in variables.items() if name != "params"}
    return net.replace(params=variables["params"], stats=stats)
