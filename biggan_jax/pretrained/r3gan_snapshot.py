"""R3GAN's released snapshots into working directories."""

from pathlib import Path

from biggan_jax.config import default
from biggan_jax.errors import DataError
from biggan_jax.models import r3gan
from biggan_jax.pretrained import families_r3gan, torch_pickle

# Where the authors' classes are and, in older files, were.
ROOMS = ("R3GAN", "BaselineGAN", "training", "dnnlib", "torch_utils")
NETS = {"G_ema": "generator", "G": "generator", "D": "discriminator"}


def read(weights: str) -> tuple:
    """`(config, items)` of a snapshot: what builds its nets again, and their variables as a checkpoint has them, the
    average, the generator that was being trained and the discriminator. Raises DataError naming the file.
    """
    found = torch_pickle.read_modules(Path(weights), ROOMS)
    if missing := [name for name in NETS if name not in found]:
        raise DataError(
            f"{weights}: no {missing[0]} among {', '.join(found) or 'no modules'}; a snapshot has all three"
        )
    try:
        nets = {name: families_r3gan.read(found[name], net) for name, net in NETS.items()}
        config = config_of(*(nets[name][0] for name in ("G_ema", "D")))
    except DataError as error:
        raise DataError(f"{weights}: {error}") from error
    if nets["G"][0] != nets["G_ema"][0]:
        raise DataError(f"{weights}: G is another net than G_ema")
    items = {"generator": nets["G"][1], "discriminator": nets["D"][1]}
    return config, {"ema": {"generator": nets["G_ema"][1]}} | items


def config_of(generator, discriminator):
    """The config that builds these modules again; what they do not tell keeps its default. Raises DataError where none
    does.
    """
    g, d = generator, discriminator
    if (g.widths, g.groups, g.blocks, g.num_classes) != (d.widths, d.groups, d.blocks, d.num_classes):
        raise DataError("generator and discriminator differ in widths, groups, blocks or classes")
    config = default(gan="r3gan", dataset="converted from r3gan")
    model, widths = config.model, g.widths
    config.image_size, config.num_classes, config.compute_dtype = g.image_size, g.num_classes, "float32"
    model.z_dim, model.image_channels, model.expansion = g.z_dim, g.image_channels, g.expansion
    model.embedding_size = g.embedding_size if g.num_classes else model.embedding_size
    model.channel_base, model.channel_max = widths[-1] * g.image_size, max(widths)
    model.group_channels, model.blocks = g.expansion * widths[0] // g.groups[0], g.blocks[0]
    config.run.standing_stats_batches = 0
    for net, ours in zip((g, d), r3gan.build(config)):
        for name in ("widths", "groups", "blocks", *["embedding_size"] * (g.num_classes > 0)):
            if getattr(net, name) != getattr(ours, name):
                raise DataError(f"{name} {getattr(net, name)}; the nearest that a config has is {getattr(ours, name)}")
    return config
