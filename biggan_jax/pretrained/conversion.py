"""Files of other projects' weights into working directories, and checkpoints out into such files.

What comes in is a directory with one checkpoint, number 0 where nothing tells its step, that `biggan_jax.load`,
`sample`, `evaluate` and `init_from` accept. A file of weights is only ever read: nothing in it is executed. Messages
name the options of `python -m biggan_jax.convert`, which are the parameters here.
"""

import functools
import hashlib
import json
import os
from typing import NamedTuple

from etils import epy
import numpy as np

from biggan_jax.config import default, to_json, validate
from biggan_jax.errors import DataError, UsageError
from biggan_jax.run import storage

with epy.lazy_imports():  # the command looks at these functions' parameters before anything is imported for long
    import jax

    from biggan_jax.evaluation import results
    from biggan_jax.models import biggan
    from biggan_jax.pretrained import biggan_pytorch, folder, huggingface, r3gan_snapshot, readers
    from biggan_jax.run import checkpoint, identity, loading

BESIDE = ".json"  # behind a file's name: what we wrote beside it, and read again
LAUNCH_SCRIPTS = {"sn_eps": 1e-6, "bn_eps": 1e-5}  # of BigGAN-PyTorch
# The key by which a file of each kind is known, and the options that take such a file.
SIGNS = {
    "generator": ("output_layer.2.weight", "--weights or --generator"),
    "discriminator": ("embed.weight", "--discriminator"),
    "huggingface": ("generator.gen_z.weight_orig", "--from=huggingface --weights"),
}


class Beside(NamedTuple):
    """What a state dict has no place for; eps: of the module, by the names of its fields."""

    step: int = 0
    class_names: tuple[str, ...] = ()
    eps: dict[str, float] = {}


def import_biggan_pytorch(
    out: str,
    weights: str,
    sha256: str | None = None,
    generator: str | None = None,
    discriminator: str | None = None,
    sn_eps: float | None = None,
    bn_eps: float | None = None,
    standing_stats_batches: int = 0,
) -> str:
    """Writes files of ajbrock/BigGAN-PyTorch as the new directory `out`; returns a line that says what it holds.

    weights: the generator to sample with. generator: the one that was being trained, where `weights` is its average.
    sn_eps, bn_eps: that run's; None are those that an export wrote beside the file, or of its launch scripts. Raises
    UsageError or DataError, with nothing written, for what cannot be converted.
    """
    _check_new_directory(out)
    if sha256:
        _check_hash(weights, sha256)
    beside = _beside(weights)
    given = {name: value for name, value in (("sn_eps", sn_eps), ("bn_eps", bn_eps)) if value is not None}
    read = functools.partial(_read_biggan_pytorch, eps=LAUNCH_SCRIPTS | beside.eps | given)
    g, average = read(weights, "generator")
    d, items = None, {"ema": {"generator": average}}
    if generator:
        module, items["generator"] = read(generator, "generator")
        if module != g:
            raise DataError(f"--generator={generator} is another net than --weights={weights}")
    if discriminator:
        d, items["discriminator"] = read(discriminator, "discriminator", g.image_size)
    config = config_of(g, d, "biggan-pytorch")
    config.run.standing_stats_batches = standing_stats_batches
    if len(beside.class_names) not in (0, config.num_classes):
        raise DataError(f"{weights}{BESIDE}: {len(beside.class_names)} names for {config.num_classes} classes")
    return _write(out, items, config, beside.step, beside.class_names)


def import_huggingface(
    out: str, weights: str, sha256: str | None = None, hf_config: str | None = None, standing_stats_batches: int = 100
) -> str:
    """Writes a generator of pytorch-pretrained-biggan as the new directory `out`; returns a line that says what it
    holds.

    hf_config: the model's config.json (None: the one beside `weights`). The statistics of every stored truncation
    become `truncation_stats`. Raises UsageError or DataError, with nothing written, for what cannot be converted.
    """
    _check_new_directory(out)
    if sha256:
        _check_hash(weights, sha256)
    path = hf_config or os.path.join(os.path.dirname(weights), "config.json")
    try:
        with open(path) as file:
            settings = json.load(file)
    except (OSError, ValueError) as error:
        raise DataError(f"--hf_config={path}: {error}") from error
    if not isinstance(settings, dict):
        raise DataError(f"--hf_config={path}: expected a JSON object")
    state_dict = readers.read_state_dict(weights)
    _check_kind(weights, state_dict, "huggingface")
    try:
        module, variables = huggingface.from_huggingface(state_dict, settings)
        stats = huggingface.truncation_stats(state_dict, settings)
    except DataError as error:
        raise DataError(f"{weights} with {path}: {error}") from error
    config = config_of(module, None, "huggingface")
    config.run.standing_stats_batches = standing_stats_batches
    config.truncation_mode = "rescale"
    return _write(out, {"ema": {"generator": _in_float32(variables)}, "truncation_stats": _in_float32(stats)}, config)


def import_r3gan(out: str, weights: str, sha256: str | None = None) -> str:
    """Writes a snapshot of R3GAN, a plain pickle of its nets, as the new directory `out`; returns a line that says what
    it holds. Raises UsageError or DataError, with nothing written, for what cannot be converted.
    """
    _check_new_directory(out)
    if sha256:
        _check_hash(weights, sha256)
    config, items = r3gan_snapshot.read(weights)
    return _write(out, {name: _in_float32(variables) for name, variables in items.items()}, config)


def export_biggan_pytorch(out: str, workdir: str, step: int | None = None, net: str = "ema", mybn: bool = False) -> str:
    """Writes one net of a checkpoint as a state dict that BigGAN-PyTorch loads, and beside it, in `out` + BESIDE, its
    step and the names of the classes; returns a line that says which.

    Of "ema" the statistics of BatchNorm are those that samples without truncation have. step: None is the newest. net:
    "ema", "generator" or "discriminator". Raises UsageError or DataError, with nothing written.
    """
    if os.path.exists(out):
        raise UsageError(f"--out={out} exists; choose a new file")
    statistics = "statistics as stored"
    if net == "ema":
        trained = loading.load(workdir, step)
        module, step = trained.gan.nets["generator"].module, trained.step
        biggan_pytorch.to_biggan_pytorch(trained.nets()["generator"], module, mybn=mybn)  # refuses before what is long
        variables = trained.variables()["generator"]
        if batches := trained.config.run.standing_stats_batches:
            statistics = f"standing statistics of {batches} batches, without truncation"
    else:
        checkpoints, step = checkpoint.open_for_reading(workdir, step)
        try:
            module, variables = checkpoint.read_net(checkpoints, step, net)
        finally:
            checkpoints.close()
    state_dict = biggan_pytorch.to_biggan_pytorch(variables, module, mybn=mybn)
    eps = {name: getattr(module, name, None) for name in ("sn_eps", "bn_eps", "output_bn_eps")}
    eps["output_bn_eps"] = eps["output_bn_eps"] or eps["bn_eps"]
    eps = {name: value for name, value in eps.items() if value is not None}  # a discriminator has no BatchNorm
    beside = Beside(step, identity.class_names(workdir), eps)
    try:
        readers.write_state_dict(out, state_dict)
        storage.write_text(storage.path(f"{out}{BESIDE}"), json.dumps({"biggan_jax": beside._asdict()}, indent=2))
    except OSError as error:
        raise UsageError(f"--out={out} cannot be written: {error.strerror or error}") from error
    return f"{out}: {net} of step {step}, {len(state_dict)} arrays, {statistics}; step and classes in {out}{BESIDE}"


def export_folder(out: str, workdir: str, step: int | None = None) -> str:
    """Writes what samples of a checkpoint are made with as the new folder `out`, with a card, see `folder`; returns a
    line that says what it holds.

    step: None is the newest. Raises UsageError or DataError, with nothing written.
    """
    if storage.is_bucket(out):
        raise UsageError(f"--out={out}; it must be a local folder")
    _check_new_directory(out)
    trained = loading.load(workdir, step)
    records = [record for record in results.read(workdir) if record.step == trained.step]
    count = folder.write(out, trained, results.markdown(records) if records else "")
    batches = trained.config.run.standing_stats_batches
    statistics = f"standing statistics of {batches} batches, made on loading" if batches else "statistics as stored"
    return f"{out}: step {trained.step}, {count} arrays, {statistics}; {len(records)} scores in its README.md"


def config_of(generator, discriminator, source: str):
    """The config that builds these modules (the discriminator may be None) again; what they do not tell keeps its
    default.

    Raises DataError when they are not of one GAN.
    """
    config = default(model=family_of(generator), dataset=f"converted from {source}")
    model = config.model
    config.image_size, config.num_classes = generator.image_size, generator.num_classes
    config.compute_dtype = "float32"
    fields = ("channels", "z_dim", "shared_embedding", "embedding_size", "skip_z", "attention_resolutions")
    for name in (*fields, "bn_eps", "output_bn_eps", "sn_eps", "rgb_channels"):
        if name in model:
            model[name] = getattr(generator, name)
    model.spectral_norm_g = generator.spectral_norm
    if discriminator is not None:
        if family_of(discriminator) != model.name:
            raise DataError(f"the generator is a {model.name}, the discriminator a {family_of(discriminator)}")
        for name in ("image_size", "channels", "num_classes"):
            values = getattr(generator, name), getattr(discriminator, name)
            if values[0] != values[1]:
                raise DataError(f"generator and discriminator differ in {name}: {values[0]} and {values[1]}")
        model.attention_resolutions_d = discriminator.attention_resolutions
        model.spectral_norm_d = discriminator.spectral_norm
        if "wide_d" in model:
            model.wide_d = discriminator.wide
    return config


def family_of(module) -> str:
    """The `model.name` of a net."""
    return type(module).__module__.rpartition(".")[2]


def resolution_of(path, state_dict, net: str, image_size: int | None = None) -> int:
    """The image size that the number of blocks tells; or `image_size`, where nets of that size have as many."""
    blocks = len({key.split(".")[1] for key in state_dict if key.startswith("blocks.") and key.count(".") > 1})
    if net == "generator":
        blocks //= 2 if "blocks.0.0.conv3.weight" in state_dict else 1
        found = [size for size, widths in biggan.GENERATOR_WIDTHS.items() if len(widths) - 1 == blocks]
    else:
        blocks += "input_conv.weight" in state_dict
        found = [size for size, (widths, _) in biggan.DISCRIMINATOR_WIDTHS.items() if len(widths) == blocks]
    if image_size in found:
        return image_size
    if len(found) != 1:
        sizes = f"; {' and '.join(map(str, found))} pixels have as many" if found else ""
        raise DataError(f"{path}: a {net} of {blocks} blocks.* is of no known image size{sizes}")
    return found[0]


def _check_new_directory(out) -> None:
    with storage.refusals(out):
        if storage.path(out).exists():
            raise UsageError(f"--out={out} exists; choose a new directory")


def _check_hash(path, expected: str) -> None:
    """Raises DataError unless `expected` is the SHA-256 of the file, UsageError when it cannot be one."""
    if len(expected) != 64 or set(expected.lower()) - set("0123456789abcdef"):
        raise UsageError(f"--sha256={expected}: a SHA-256 has 64 hexadecimal digits")
    try:
        with open(path, "rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise DataError(f"{path}: {error.strerror}") from error
    if found != expected.lower():
        raise DataError(f"{path}: its SHA-256 is {found}, not the {expected.lower()} of --sha256")


def _check_kind(path, state_dict, wanted: str) -> None:
    """Raises DataError where the keys are those of another net than the one `wanted`."""
    for kind, (key, option) in SIGNS.items():
        if kind != wanted and key in state_dict and SIGNS[wanted][0] not in state_dict:
            what = "the generator of pytorch-pretrained-biggan" if kind == "huggingface" else f"a BigGAN-PyTorch {kind}"
            raise DataError(f"{path} holds {what}: give it as {option}")


def _read_biggan_pytorch(path, net: str, image_size: int | None = None, *, eps: dict[str, float]):
    """`(module, variables)` of a file, variables in float32; `image_size` decides where the blocks leave it open.

    Raises DataError naming the file and the key.
    """
    state_dict = readers.read_state_dict(path)
    _check_kind(path, state_dict, net)
    resolution = resolution_of(path, state_dict, net, image_size)
    try:
        own = {"sn_eps": eps["sn_eps"], "bn_eps": eps["bn_eps"]}
        module, variables = biggan_pytorch.from_biggan_pytorch(state_dict, net, resolution, **own)
    except DataError as error:
        raise DataError(f"{path}: {error}") from error
    if "output_bn_eps" in eps and hasattr(module, "output_bn_eps"):
        module = module.clone(output_bn_eps=eps["output_bn_eps"])
    return module, _in_float32(variables)


def _in_float32(variables):
    """`variables` as a checkpoint holds them, whatever the precision of the file."""
    return jax.tree.map(lambda x: x.astype(np.float32), variables)


def _beside(weights) -> "Beside":
    """What an export wrote beside a file of weights; Beside() where none did."""
    said = storage.read_json(storage.path(f"{weights}{BESIDE}")).get("biggan_jax")
    if said is None:
        return Beside()
    try:
        eps = {str(name): float(value) for name, value in said["eps"].items()}
        return Beside(int(said["step"]), tuple(map(str, said["class_names"])), eps)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise DataError(f"{weights}{BESIDE}: not as an export writes it: {error!r}") from error


def _write(out, items: dict, config, step: int = 0, class_names: tuple[str, ...] = ()) -> str:
    validate(config)
    target = storage.path(out)
    try:
        storage.write_text(target / "config.json", to_json(config))  # first: it says why it cannot be written
        if class_names:
            storage.write_text(target / "run.json", json.dumps({"class_names": class_names}))
        checkpoints = checkpoint.Checkpoints(target)
        checkpoints.save_nets(step, items, config)
        checkpoints.close()
    except (OSError, ValueError) as error:  # Orbax reports a full disk as a ValueError
        if target.exists():
            target.rmtree()
        raise UsageError(f"--out={out} cannot be written: {storage.reason(error)}") from error
    size = f"{config.model.name} at {config.image_size} pixels, {config.num_classes} classes"
    return f"{out}: {size}; {', '.join(items)}"
