"""Starting a run from the weights of another (`config.init_from`): a checkpoint of ours, or converted weights.

Weights are taken by name. Where the number of classes has changed, what belongs to classes (embeddings, per-class gains
and biases and their singular vectors) starts afresh; anything else that does not fit is an error. Optimizers and the
step count always start afresh.
"""

from flax import traverse_util
import jax
import jax.numpy as jnp

from biggan_jax import gans
from biggan_jax.errors import DataError
from biggan_jax.gans.core import GANState
from biggan_jax.models.layers import CLASS_MODULES
from biggan_jax.run import checkpoint, frozen


def split_spec(spec: str) -> tuple[str, int | None]:
    """`(directory, step)` of "DIR" or "DIR@STEP"."""
    directory, separator, step = spec.rpartition("@")
    return (directory, int(step)) if separator and step.isdecimal() else (spec, None)


def initialize(program) -> tuple[GANState, list[str]]:
    """A new state whose nets have the values found in `config.init_from`, placed as its own were, and lines for the
    log: what was taken, what was not, and which settings of the nets differ.

    Converted weights may lack a net: one that is averaged starts from its average, as its average does; any other
    starts afresh. A frozen net is that of a new run. Raises UsageError when there is no such checkpoint, DataError
    naming a variable that does not fit; both before anything is computed.
    """
    config = program.config
    directory, step = split_spec(config.init_from)
    checkpoints, step = checkpoint.open_for_reading(directory, step)
    try:
        items = checkpoints.items(step)
        there = checkpoints.config(step)
        known = [name for name in gans.build(there).nets if name in items]
        source = {name: checkpoint.read_net(checkpoints, step, name)[1] for name in known}
        averages = checkpoint.read_averages(checkpoints, step) if "ema" in items else {}
    finally:
        checkpoints.close()
    averaged = program.gan.averaged
    if missing := [name for name in averaged if name not in averages]:
        raise DataError(f"{directory}, step {step}: there are no {missing[0]} weights; found {', '.join(items)}")

    if config.model.get("stem"):
        return grown(program, averages["generator"], f"{directory}, step {step}")
    log = [f"weights from {directory}, step {step}; optimizers start afresh"]
    for key, value in config.model.items():
        if there.model.get(key) != value:
            log.append(f"model.{key} was {there.model.get(key)!r} there, is {value!r} here")
    for name, net in program.gan.nets.items():
        if net.optimizer is None:
            log.append(f"{name}: frozen, that of a new run")
        elif name not in source and name in averaged:
            log.append(f"{name}: starts from its average, the checkpoint has no other")
        elif name not in source:
            log.append(f"{name}: not in the checkpoint, starts afresh")
    if config.get("ema_start"):
        log.append(f"ema: a copy of the {' and '.join(averaged)} until step {config.ema_start} (ema_start)")
    learning = [name for name, net in program.gan.nets.items() if net.optimizer]
    source = {name: source.get(name, averages.get(name)) for name in learning}
    fresh = program.abstract_state()
    pairs = {name: (fresh.nets[name].variables, variables) for name, variables in source.items() if variables}
    pairs |= {f"ema/{name}": (fresh.ema[name], averages[name]) for name in averaged}
    for name, (own, found) in pairs.items():
        if afresh := starting_afresh(own, found):
            more = f" and {len(afresh) - 4} more" if len(afresh) > 4 else ""
            log.append(f"{name}: {len(afresh)} variables start afresh: {', '.join(afresh[:4])}{more}")

    state = frozen.start(program, {name for name, variables in source.items() if variables})
    merged = {
        name: state.nets[name].with_variables(merge(state.nets[name].variables, source[name]))
        for name in learning
        if source[name]
    }
    return state.replace(
        nets=state.nets | merged, ema={name: merge(state.ema[name], averages[name]) for name in averaged}
    ), log


def grown(program, average, origin: str) -> tuple[GANState, list[str]]:
    """The state of the next stage of a generator that grows (Sauer et al. 2022), and lines for the log: its stem, up to
    `config.model.stem` pixels, is that of `average`, all else is new. Raises DataError for one that does not fit.
    """
    generator, source = program.gan.nets["generator"].module, traverse_util.flatten_dict(average)
    for path, own in traverse_util.flatten_dict(program.abstract_state().nets["generator"].variables).items():
        there = source[path].shape if path in source else "missing"
        if generator.of_stem(path) and there != own.shape:
            raise DataError(f"init_from: {'/'.join(path)} is {there} there, {own.shape} in this config")
    stem = traverse_util.unflatten_dict({path: x for path, x in source.items() if generator.of_stem(path)})
    state = frozen.start(program, {"generator"})
    net = state.nets["generator"]
    nets = state.nets | {"generator": net.with_variables(merge(net.variables, stem))}
    line = f"generator: the mapping and layers up to {generator.stem} px from its average in {origin}; they stay"
    return state.replace(nets=nets, ema={"generator": merge(state.ema["generator"], stem)}), [
        line,
        "all else starts afresh",
    ]


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
    if path[0] == "w_avg":  # of all classes, or of each
        return found.shape[-1] == value.shape[-1]
    return path[-2] in CLASS_MODULES and found.shape[1:] == value.shape[1:]
