"""The configuration: which keys there are, their defaults, and the checks that stop a wrong value before anything is
computed.

A config has the keys that act on it: those all share, and those of its recipe, its nets, its optimizer and its data
set. Each key is one line of a table in this package. An experiment is a Python file with `get_config(variant="")` that
starts from `default`; see `experiments/`. Importing this package does not import JAX.
"""

import json

import ml_collections

from biggan_jax.config import data, gans, models, optimizers, shared
from biggan_jax.config.data import arrays, example_shape, kind
from biggan_jax.config.keys import Key, expected, get, one_of, require
from biggan_jax.errors import UsageError
from biggan_jax.errors import near as near_names

# The keys that decide which others there are: for each of their values, the keys that it brings.
CHOICES = {
    "gan.name": gans.TABLES,
    "model.name": models.TABLES,
    "dataset": data.TABLES,
    "optimizer.name": optimizers.TABLES,
}
# Keys of earlier versions, with the value by which they did nothing: configs that were saved with it are read.
RETIRED = {"run.collapse.max_d_accuracy": 0.0}

__all__ = [
    "CHOICES", "arrays", "check_keys", "choose", "chosen", "default", "example_shape", "flatten", "from_json", "get",
    "keys_of", "kind", "left_open", "micro_batch", "parse_variant", "put", "require", "require_key", "set_classes",
    "switch", "to_json", "validate",
]  # fmt: skip


def default(
    gan: str = "biggan", model: str | None = None, dataset: str | None = None, optimizer: str | None = None
) -> ml_collections.ConfigDict:
    """The config of a recipe, its nets, a data set and an optimizer, those of the recipe's row where none are named;
    without arguments BigGAN at 128 pixels, row 8 of Table 1, with the paper's hyperparameters (Brock et al. 2018,
    Appendix C).

    Raises UsageError for a recipe, nets or an optimizer that do not exist.
    """
    return _default({"gan.name": gan, "model.name": model, "dataset": dataset, "optimizer.name": optimizer})


def _default(chosen):
    """The config of the `chosen` values of CHOICES; a recipe has its own in place of None."""
    require_known("gan.name", chosen["gan.name"])
    own = shared.KEYS | gans.TABLES[chosen["gan.name"]]
    chosen = {name: value or own[name].default for name, value in chosen.items()}
    config = ml_collections.ConfigDict()
    for name, key in _keys(chosen).items():
        *path, last = name.split(".")
        target = config
        for part in path:
            if part not in target:
                target[part] = ml_collections.ConfigDict()
            target = target[part]
        target[last] = ml_collections.FieldReference(key.default, key.or_none) if key.or_none else key.default
    for name, value in chosen.items():
        put(config, name, value)
    return config.lock()  # a key that an experiment's file misspells is no new key


def chosen(config) -> dict[str, str]:
    """The values of CHOICES in `config`."""
    return {name: get(config, name) for name in CHOICES}


def keys_of(config) -> dict[str, Key]:
    """The keys that act on `config`, by dotted name. Raises UsageError for a recipe, nets or an optimizer that do not
    exist.
    """
    return _keys(chosen(config))


def _keys(chosen):
    for name in ("gan.name", "model.name", "optimizer.name"):
        require_known(name, chosen[name])
    gan, model, dataset, optimizer = (chosen[name] for name in CHOICES)
    base = shared.KEYS | data.keys(dataset) | optimizers.TABLES[optimizer]
    own = models.TABLES[model] | gans.TABLES[gan]  # a recipe may have defaults of its own for keys of its nets
    # Recipes and nets have defaults of their own for keys of the optimizer and of images, where there are such keys.
    of_images = () if "image_size" in base else ("image_size", "model.image_channels")
    elsewhere = lambda name: name.startswith("optimizer.") and name not in base or name in of_images
    return base | {name: key for name, key in own.items() if not elsewhere(name)}


def require_known(name: str, value: str) -> None:
    """Raises UsageError unless the key `name` of CHOICES may have this value."""
    if value not in CHOICES[name]:
        raise UsageError(f"config.{name} is {value!r}; {expected(value, one_of(*CHOICES[name]).allowed)}")


def switch(
    config, gan: str | None = None, model: str | None = None, dataset: str | None = None, optimizer: str | None = None
):
    """`config` for another recipe, other nets, another data set or optimizer: the keys of those, with the values it was
    given; what it has by default becomes the new default.
    """
    return choose(config, {"gan.name": gan, "model.name": model, "dataset": dataset, "optimizer.name": optimizer})


def choose(config, changes: dict[str, str | None]):
    """`config` with other values of CHOICES, see `switch`; what is not in `changes`, or None, stays."""
    before = chosen(config)
    old = _default(before)
    new = _default(before | {name: value for name, value in changes.items() if name in before and value is not None})
    for name in (keys_of(new).keys() & keys_of(config).keys()) - CHOICES.keys():
        if get(config, name) != get(old, name):
            put(new, name, get(config, name))
    return new


def require_key(config, name: str) -> None:
    """Raises UsageError unless the key of this dotted name acts on `config`; says which is near, or what it is of."""
    if name in (known := keys_of(config)):
        return
    owners = [f"{key}={value}" for key, table in CHOICES.items() for value in table if name in table[value]]
    near = near_names(name, known, 2)
    if owners:
        hint = f"; it is of {', '.join(owners)}"
    else:
        hint = f". Did you mean {' or '.join(f'config.{key}' for key in near)}?" if near else ""
    names = ", ".join(f"{key}={value}" for key, value in chosen(config).items())
    raise UsageError(f"config.{name} is no key of a config with {names}{hint}")


def put(config, key: str, value) -> None:
    """Sets a dotted key. Raises UsageError where there is none."""
    *path, last = key.split(".")
    target = get(config, ".".join(path)) if path else config
    if last not in target:
        require_key(config, key)
    target[last] = value


def validate(config) -> None:
    """Raises UsageError, naming the key, what was found and what is allowed, for a config that cannot run."""
    check_keys(config)
    for name in left_open(config):
        require(False, name, config, "a number where no data are read that would tell it")
    allowed = f"a divisor of batch_size, {config.batch_size}"
    require(config.batch_size % config.accumulation_steps == 0, "accumulation_steps", config, allowed)
    gans.check(config)
    models.check(config)
    if config.run.recognition:
        told = config.num_classes >= 2 or config.gan.get("categorical")  # codes take the place of classes
        possible = kind(config) == "image" and config.image_size <= 32 and told
        require(possible, "run.recognition", config, "False over 32 px, for points, or without classes or codes")


def check_keys(config) -> None:
    """The part of `validate` that looks at one key at a time; what is left to the data may be open."""
    known, found = keys_of(config), flatten(config.to_dict())
    for name in found:
        require_key(config, name)
    for name in known.keys() - found.keys():
        names = ", ".join(f"{key}={value}" for key, value in chosen(config).items())
        raise UsageError(f"config.{name} is missing, which acts with {names}; config.switch brings the keys of a name")
    for name, key in known.items():
        require(key.check.allows(found[name]), name, config, key.check.allowed)


def left_open(config) -> list[str]:
    """The keys whose values are to be those of the data."""
    channels = config.model.get("image_channels", 3)
    return [
        name
        for name, value in (
            ("num_classes", config.num_classes),
            ("model.image_channels", channels),
            ("data.dim", config.data.get("dim", 0)),
        )
        if value is None
    ]


def set_classes(config, count: int) -> None:
    """Sets `num_classes`, and of nets that have one leaves out the embedding that only classes need."""
    config.num_classes = count
    if not count and config.model.get("shared_embedding"):
        config.model.shared_embedding = False


def micro_batch(config) -> int:
    """Images that a step holds at a time, over all devices."""
    return config.batch_size // config.accumulation_steps


def parse_variant(variant: str, **defaults):
    """The values of `key=value,key=value` over `defaults`, each of its default's type. A tuple of defaults is all that
    is allowed, the first without the key.

    Used by config files for the part after the colon in `--config=FILE.py:row=8`. Raises UsageError for an unknown key,
    a value of another type or one that is not allowed.
    """
    allowed = {key: value for key, value in defaults.items() if isinstance(value, tuple)}
    values = {key: allowed[key][0] if key in allowed else value for key, value in defaults.items()}
    for part in filter(None, (variant or "").split(",")):
        key, separator, text = part.partition("=")
        if key not in defaults or not separator:
            raise UsageError(f"config variant {part!r}: expected key=value with one of the keys {', '.join(defaults)}")
        try:
            values[key] = type(values[key])(text)
        except ValueError:
            kind = type(values[key]).__name__
            raise UsageError(f"config variant {part!r}: the value of {key} must be of type {kind}") from None
        if key in allowed and values[key] not in allowed[key]:
            choices = one_of(*(choice for choice in allowed[key] if choice != ""))
            raise UsageError(f"config variant {part!r}: {expected(values[key], choices.allowed)}")
    return ml_collections.ConfigDict(values)


def flatten(tree: dict, prefix: str = "") -> dict:
    """The values of nested dicts by dotted name."""
    flat = {}
    for key, value in tree.items():
        flat |= flatten(value, f"{prefix}{key}.") if isinstance(value, dict) else {prefix + key: value}
    return flat


def to_json(config) -> str:
    return json.dumps(config.to_dict(), indent=2, sort_keys=True)


def from_json(text: str) -> ml_collections.ConfigDict:
    """The config that `to_json` wrote, over today's defaults. Raises UsageError for keys this version does not have."""
    try:
        values = flatten(json.loads(text))
        config = _default({name: values.get(name) for name in CHOICES} | {"gan.name": values.get("gan.name", "biggan")})
        for name, value in values.items():
            if name in RETIRED and value == RETIRED[name]:
                continue
            if name not in keys_of(config):
                raise KeyError(f"unknown key {name}")
            put(config, name, tuple(value) if isinstance(value, list) else value)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise UsageError(f"this config is not one this version can read: {error}") from None
    return config
