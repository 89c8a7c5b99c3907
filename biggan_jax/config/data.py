"""Keys of the data sets, by the kind of source that `dataset` names."""

from biggan_jax.config.keys import ANYTHING, Key, at_least, one_of, optional

# Distributions of `points`, and in how many dimensions each lies.
POINTS = {
    "ring8": 2, "grid25": 2, "swiss_roll": 2, "ring8_pacgan": 2, "grid25_pacgan": 2, "ring8_unrolled": 2,
    "gaussian": 2, "moons": 2, "spiral": 2, "checkerboard": 2, "ring_bar": 2, "letters": 2,
    "mixture1d": 1, "mixture1d_two": 1,
}  # fmt: skip
# What `prepare` reads.
TO_PREPARE = (
    "imagenet:DIR", "image_folder:DIR", "tfds:NAME", "arrays:FILE", "idx:DIR", "hdf5:FILE", "huggingface:DIR",
)  # fmt: skip

_SPLIT = {"data.split": Key("train", ANYTHING, "the part of the data that is trained on")}
_IMAGES = _SPLIT | {
    "image_size": Key(128, at_least(1), "pixels; nets say which sizes they have"),
    "data.flip": Key(True, ANYTHING, "mirror each real image with probability one half, inside the step"),
    "data.num_labelled": Key(0, at_least(0), "images whose labels may be learned from, as many of each class, drawn by "
                             "the seed; 0: labels are not told apart so"),
    "data.labelled_file": Key("", ANYTHING, "their numbers in the split, one on a line, instead of a draw"),
    "data.cache_dir": Key("", ANYTHING, "decoded images and evaluations' references are kept here; empty: "
                          "~/.cache/biggan_jax", may_change=True),
}  # fmt: skip
_FOLDER = {"data.dir": Key("", ANYTHING, "where it is; empty: the source's own default", may_change=True)}
_SKIP = {
    "data.skip_bad_records": Key(0, at_least(0), "images that may be unreadable; another of the class replaces each",
                                 may_change=True),
}  # fmt: skip
_DECODED = {
    "data.max_pixels": Key(100_000_000, at_least(1), "of one image file; a larger one is refused before it is decoded",
                           may_change=True),
}  # fmt: skip
_DOMAINS = {name: _IMAGES[name] for name in ("data.split", "image_size", "data.flip", "data.cache_dir")} | {
    "data.enlarge": Key(0, at_least(0), "pixels to which each real image is enlarged in a step, of which it takes a "
                        "random part of image_size (286 of 256 in the code of CycleGAN and pix2pix); 0: it is not"),
}  # fmt: skip
_PAIRED = {"data.paired": Key(False, ANYTHING, "training sees which image of b belongs to one of a")}
_GENERATED = {"data.num_examples": Key(10_000, at_least(1), "any number can be made")}
_STACKED = {"data.num_examples": Key(128_000, at_least(1), "triples drawn; any number can be")}

# Channels that arrays keep; all other images have three, grey ones too, of which nets of one channel see the grey.
AS_THEY_ARE = (2, 4)

TABLES = {
    "digits": _IMAGES,
    "shapes": _IMAGES | _GENERATED,
    "stacked_digits": _IMAGES | _STACKED,
    "image_folder": _IMAGES | _FOLDER | _SKIP | _DECODED,
    "arrays": _IMAGES | _FOLDER,
    "idx": _IMAGES | _FOLDER,
    "hdf5": _IMAGES | _FOLDER,
    "prepared": _IMAGES | _FOLDER | _SKIP,
    "domains": _DOMAINS | _FOLDER | _SKIP | _DECODED,
    "pairs": _DOMAINS | _FOLDER | _DECODED,
    "digits_domains": _DOMAINS | _PAIRED,
    "shapes_domains": _DOMAINS | _PAIRED | _GENERATED,
    "points_file": _SPLIT
    | _FOLDER
    | {
        "data.dim": Key(None, optional(one_of(1, 2)), "of the points; None: that of the file", or_none=int),
    },
    "points": _SPLIT | _GENERATED | {"data.distribution": Key("ring8", one_of(*POINTS), "of points in 1-D or 2-D")},
}


def keys(dataset: str) -> dict[str, Key]:
    """The keys of a data set; those of `tfds:NAME` also for one that is not known, of which `data.load` complains."""
    return TABLES.get(dataset, _IMAGES | _FOLDER | _DECODED)


def _images(config):
    channels = config.model.get("image_channels")
    image = (config.image_size, config.image_size, channels if channels in AS_THEY_ARE else 3), "uint8"
    return {"image": image, "label": ((), "int32")}


def _points(config):
    return {"point": ((POINTS[config.data.distribution],), "float32"), "label": ((), "int32")}


def _points_of_file(config):
    return {"point": ((config.data.dim,), "float32"), "label": ((), "int32")}


def _domains(config):
    shape = config.image_size, config.image_size, 3
    return {"a": (shape, "uint8"), "b": (shape, "uint8")}


DOMAINS = ("domains", "pairs", "digits_domains", "shapes_domains")
# By data set; those that are not here are labelled images.
ARRAYS = {"points": _points, "points_file": _points_of_file} | dict.fromkeys(DOMAINS, _domains)


def arrays(config) -> dict[str, tuple[tuple[int, ...], str]]:
    """One example of the data set: `(shape, type)` of each of its arrays, by name, the first of what is learned. Images
    are uint8 in 0..255.
    """
    return ARRAYS.get(config.dataset, _images)(config)


def kind(config) -> str:
    """The kind of the data set's examples: "image" or "points"."""
    return "points" if next(iter(arrays(config))) == "point" else "image"


def example_shape(config) -> tuple[int, ...]:
    """The shape of one example as nets see it: (height, width, channels) of an image, (dimensions,) of a point."""
    shape, _ = next(iter(arrays(config).values()))
    return shape if len(shape) == 1 else (*shape[:2], config.model.get("image_channels", shape[2]))
