"""Keys of the data sets, by the kind of source that `dataset` names."""

from biggan_jax.config.keys import ANYTHING, Key, at_least

_SPLIT = {"data.split": Key("train", ANYTHING, "the part of the data that is trained on")}
_CACHE = {
    "data.cache_dir": Key("", ANYTHING, "decoded images and evaluations' references are kept here; empty: "
                          "~/.cache/biggan_jax", free=True),
}  # fmt: skip
_FOLDER = {"data.dir": Key("", ANYTHING, "where it is; empty: the source's own default", free=True)}
_SKIP = {
    "data.skip_bad_records": Key(0, at_least(0), "images that may be unreadable; another of the class replaces each",
                                 free=True),
}  # fmt: skip
_GENERATED = {"data.num_examples": Key(10_000, at_least(1), "any number can be made")}

TABLES = {
    "digits": _SPLIT | _CACHE,
    "shapes": _SPLIT | _CACHE | _GENERATED,
    "image_folder": _SPLIT | _CACHE | _FOLDER | _SKIP,
    "prepared": _SPLIT | _CACHE | _FOLDER | _SKIP,
}


def keys(dataset: str) -> dict[str, Key]:
    """The keys of a data set; those of `tfds:NAME` also for one that is not known, of which `data.load` complains."""
    return TABLES.get(dataset, _SPLIT | _CACHE | _FOLDER)
