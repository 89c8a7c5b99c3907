"""The configuration: which keys there are, their defaults, and the checks that stop a wrong value before anything is
computed.

A config has the keys that act on it: those all share, and those of its recipe, its nets and its data set. Each key is
one line of a table in this package. An experiment is a Python file with `get_config(variant="")` that starts from
`default`; see `experiments/`. Importing this package does not import JAX.
"""

import difflib
import json

import ml_collections

from biggan_jax.config import data, gans, models, shared
from biggan_jax.config.keys import Key, get, one_of, require
from biggan_jax.errors import UsageError

NAMES = ("gan.name", "model.name", "dataset")  # the keys that decide which others there are


def default(
    gan: str = "biggan", model: str = "biggan", dataset: str = "tfds:imagenet2012"
) -> ml_collections.ConfigDict:
    """The config of a recipe, its nets and a data set; without arguments BigGAN at 128 pixels, row 8 of Table 1, with
    the paper's hyperparameters (Brock et al. 2018, Appendix C).

    Raises UsageError for a recipe or nets that do not exist.
    """
    config = ml_collections.ConfigDict()
    for name, key in _keys(gan, model, dataset).items():
        *path, last = name.split(".")
        target = config
        for part in path:
            if part not in target:
                target[part] = ml_collections.ConfigDict()
            target = target[part]
        target[last] = ml_collections.config_dict.placeholder(key.or_none) if key.or_none else key.default
    config.gan.name, config.model.name, config.dataset = gan, model, dataset
    return config


def keys_of(config) -> dict[str, Key]:
    """The keys that act on `config`, by dotted name. Raises UsageError for a recipe or nets that do not exist."""
    return _keys(config.gan.name, config.model.name, config.dataset)


def _keys(gan, model, dataset):
    chosen = ml_collections.ConfigDict({"gan": {"name": gan}, "model": {"name": model}})
    require(gan in gans.TABLES, "gan.name", chosen, one_of(*gans.TABLES).allowed)
    require(model in models.TABLES, "model.name", chosen, one_of(*models.TABLES).allowed)
    return shared.KEYS | data.keys(dataset) | gans.TABLES[gan] | models.TABLES[model]


def switch(config, gan: str | None = None, model: str | None = None, dataset: str | None = None):
    """`config` for another recipe, other nets or another data set: the keys of those, with the values it has."""
    new = default(gan or config.gan.name, model or config.model.name, dataset or config.dataset)
    for name in (keys_of(new).keys() & keys_of(config).keys()) - set(NAMES):
        put(new, name, get(config, name))
    return new


def require_key(config, name: str) -> None:
    """Raises UsageError unless the key of this dotted name acts on `config`; says which is near, or what it is of."""
    if name in (known := keys_of(config)):
        return
    tables = {"gan.name": gans.TABLES, "model.name": models.TABLES, "dataset": data.TABLES}
    owners = [f"{key}={value}" for key, table in tables.items() for value in table if name in table[value]]
    near = difflib.get_close_matches(name, known, 1)
    if owners:
        hint = f"; it is of {', '.join(owners)}"
    else:
        hint = f". Did you mean config.{near[0]}?" if near else ""
    names = ", ".join(f"{key}={get(config, key)}" for key in NAMES)
    raise UsageError(f"config.{name} is no key of a config with {names}{hint}")


def put(config, key: str, value) -> None:
    """Sets a dotted key."""
    *path, last = key.split(".")
    (get(config, ".".join(path)) if path else config)[last] = value


def validate(config) -> None:
    """Raises UsageError, naming the key, what was found and what is allowed, for a config that cannot run."""
    known, found = keys_of(config), flatten(config.to_dict())
    for name in found:
        require_key(config, name)
    for name in known.keys() - found.keys():
        names = ", ".join(f"{key}={get(config, key)}" for key in NAMES)
        raise UsageError(f"config.{name} is missing, which acts with {names}; config.switch brings the keys of a name")
    for name, key in known.items():
        require(key.check.allows(found[name]), name, config, key.check.allowed)
    allowed = f"a divisor of batch_size, {config.batch_size}"
    require(config.batch_size % config.accumulation_steps == 0, "accumulation_steps", config, allowed)
    models.check(config)
    if config.run.recognition:
        possible = config.image_size <= 32 and config.num_classes >= 2
        require(possible, "run.recognition", config, "False over 32 px or without classes")


def micro_batch(config) -> int:
    """Images that a step holds at a time, over all devices."""
    return config.batch_size // config.accumulation_steps


def images_per_step(config) -> int:
    """Real images that one step takes, over all devices."""
    return config.batch_size * config.get("num_d_steps", 1)


def parse_variant(variant: str, **defaults):
    """The values of `key=value,key=value` over `defaults`, each of its default's type.

    Used by config files for the part after the colon in `--config=FILE.py:row=8`. Raises UsageError for an unknown key
    or a value of another type.
    """
    values = dict(defaults)
    for part in filter(None, (variant or "").split(",")):
        key, separator, text = part.partition("=")
        if key not in defaults or not separator:
            raise UsageError(f"config variant {part!r}: expected key=value with one of the keys {', '.join(defaults)}")
        try:
            values[key] = type(defaults[key])(text)
        except ValueError:
            kind = type(defaults[key]).__name__
            raise UsageError(f"config variant {part!r}: the value of {key} must be of type {kind}") from None
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
        config = default(*(values.get(name, shared.KEYS[name].default) for name in NAMES))
        for name, value in values.items():
            if name not in keys_of(config):
                raise KeyError(f"unknown key {name}")
            put(config, name, tuple(value) if isinstance(value, list) else value)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise UsageError(f"this config is not one this version can read: {error}") from None
    return config
