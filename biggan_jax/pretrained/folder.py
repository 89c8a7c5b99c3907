"""A model as a folder of three files, as a repository on a model hub has them: what is needed to sample, and a card.

model.safetensors  the variables of the nets that samples are made with, by net and name: "generator/params/..."
config.json        the run's config, without places of its machine; the step, and the names of the classes
README.md          the card: what it is, how it is used, its scores with the protocol of each

`biggan_jax.load` reads it back, and samples are those of the run: BatchNorm's statistics are made anew of the same
weights by the same config.
"""

import json
import pathlib
import tempfile

from flax import traverse_util
import jax
import numpy as np

from biggan_jax import config as configs
from biggan_jax import gans
from biggan_jax.errors import DataError, UsageError
from biggan_jax.pretrained import readers
from biggan_jax.run import checkpoint, storage
from biggan_jax.sampling.trained import TrainedGAN
from biggan_jax.version import __version__

WEIGHTS, CONFIG, CARD = checkpoint.MODEL, "config.json", "README.md"
STATS = "truncation_stats"  # beside the nets, where the weights came with them
OF_A_MACHINE = ("data.dir", "data.cache_dir", "data.labelled_file", "init_from")  # keys that a card leaves out


def write(out: str, trained: TrainedGAN, scores: str) -> int:
    """Writes the new folder `out`, whole or not at all; returns the number of arrays. scores: for the card, see
    `card`.

    Raises UsageError where it cannot be written.
    """
    arrays = _flat(trained)
    target = pathlib.Path(storage.path(out))
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=target.parent) as beside:
            folder = pathlib.Path(beside, target.name)
            folder.mkdir()
            readers.write_state_dict(folder / WEIGHTS, arrays)
            (folder / CONFIG).write_text(json.dumps(_description(trained), indent=2))
            (folder / CARD).write_text(card(trained, scores))
            folder.rename(target)
    except OSError as error:
        raise UsageError(f"--out={out} cannot be written: {error.strerror or error}") from error
    return len(arrays)


def is_one(name) -> bool:
    """Whether `name` is such a folder, and no run."""
    path = storage.path(name)
    return (path / WEIGHTS).exists() and not (path / "checkpoints").exists()


def read(name) -> TrainedGAN:
    """The model in the folder `name`. Raises DataError, naming the file, for what `write` does not write."""
    path = pathlib.Path(storage.path(name))
    try:
        found = json.loads((path / CONFIG).read_text())
        config = configs.from_json(json.dumps(found["config"]))
        configs.validate(config)
        step, class_names = int(found["step"]), tuple(map(str, found["class_names"]))
    except (OSError, ValueError, KeyError, TypeError, UsageError) as error:
        raise DataError(f"{path / CONFIG}: not as `convert --to=folder` writes it: {error!r}") from error
    gan = gans.build(config)
    arrays = readers.read_state_dict(path / WEIGHTS)
    stats = {key: arrays.pop(key) for key in list(arrays) if key.startswith(f"{STATS}/")}
    wanted = {key: x.shape for net in gan.sampled for key, x in _by_name({net: gan.nets[net].shapes()}).items()}
    for key in sorted(wanted.keys() ^ arrays.keys()):
        raise DataError(f"{path / WEIGHTS}: {'lacks' if key in wanted else 'has, and its config has not,'} {key}")
    for key, shape in wanted.items():
        if arrays[key].shape != shape:
            raise DataError(f"{path / WEIGHTS}: {key} is {list(arrays[key].shape)}; by its config it is {list(shape)}")
    nest = lambda flat: jax.tree.map(jax.numpy.asarray, traverse_util.unflatten_dict(flat, sep="/"))
    return TrainedGAN(config, gan, nest(arrays), step, class_names, nest(stats)[STATS] if stats else None)


def card(trained: TrainedGAN, scores: str) -> str:
    """The README of the model: metadata as hubs read them, and Markdown. scores: as `results.markdown` gives them, with
    their protocols; empty where there are none.
    """
    c, run = trained.config, trained.config.run
    size = f"{c.image_size} x {c.image_size} pixels" if "image_size" in c else f"{configs.kind(c)}"
    names = f": {', '.join(trained.class_names)}" if trained.class_names else ""
    count = sum(x.size for net in trained.nets().values() for x in jax.tree.leaves(net["params"]))
    statistics = "BatchNorm uses the statistics that are stored"
    if run.standing_stats_batches:
        size_of = f"{run.standing_stats_batches} batches of {run.standing_stats_batch_size}"
        statistics = f"BatchNorm uses standing statistics, averaged over {size_of} when the model is loaded"
    scores = scores.partition("\n")[2] or "\nNot scored.\n"
    return f"""---
library_name: biggan_jax
pipeline_tag: unconditional-image-generation
tags:
- gan
- {c.gan.name}
- jax
- flax
---

# {c.model.name} of {c.dataset}, step {trained.step}

{size}, {trained.num_classes or "no"} classes{names}. Recipe {c.gan.name}, nets {c.model.name}, {count:,} parameters to
sample with. Made by biggan_jax {__version__}; `{CONFIG}` has every key of its training.

## Use

```python
import biggan_jax

model = biggan_jax.load("FOLDER")  # the folder of this file
model.sample({[0] if trained.num_classes else 1}, seed=0)
```

{statistics}.

## Scores
{scores}"""


def _description(trained: TrainedGAN) -> dict:
    config = trained.config.copy_and_resolve_references()
    known = configs.keys_of(config)
    for key in set(OF_A_MACHINE) & known.keys():
        configs.put(config, key, "")
    found = {"library": "biggan_jax", "version": __version__, "step": trained.step}
    return found | {"class_names": list(trained.class_names), "config": config.to_dict()}


def _flat(trained: TrainedGAN) -> dict[str, np.ndarray]:
    trees = dict(trained.nets()) | ({STATS: trained.truncation_stats} if trained.truncation_stats is not None else {})
    return {key: np.asarray(value) for key, value in _by_name(trees).items()}


def _by_name(tree: dict) -> dict:
    return traverse_util.flatten_dict(tree, sep="/")
