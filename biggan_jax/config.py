"""The default configuration, one comment per key, and the checks that stop a wrong one before anything is computed.

An experiment is a Python file with `get_config(variant="")` that changes this default; see `experiments/`. Importing
this module does not import JAX.
"""

import difflib
import json
import math

import ml_collections

from biggan_jax.errors import UsageError

IMAGE_SIZES = (8, 16, 32, 64, 128, 256, 512)
MODELS = ("biggan", "biggan_deep", "resnet_gan")
LOSSES = ("hinge", "non_saturating", "wasserstein", "least_squares")
ORTHOGONAL_FORMS = ("off_diagonal", "full")
SCHEDULES = ("constant", "linear", "cosine")
TRUNCATION_MODES = ("resample", "rescale", "scale", "clip")
COMPUTE_DTYPES = ("float32", "bfloat16")


def default() -> ml_collections.ConfigDict:
    """BigGAN at 128 pixels, row 8 of Table 1, with the paper's hyperparameters (Brock et al. 2018, Appendix C)."""
    c = ml_collections.ConfigDict()
    c.seed = 0  # of the weights, the latents and the order of the data
    c.init_from = ""  # a run or converted weights to start from: DIR or DIR@STEP
    c.num_steps = 150_000  # generator updates
    c.batch_size = 2048  # images per discriminator update, over all devices
    c.num_d_steps = 2  # discriminator updates before each generator update
    c.accumulation_steps = 1  # micro-batches a batch is cut into; BatchNorm sees one micro-batch at a time
    c.image_size = 128  # pixels; one of IMAGE_SIZES
    c.num_classes = 1000  # 0: unconditional

    c.dataset = "tfds:imagenet2012"  # digits | shapes | image_folder | prepared | tfds:NAME
    c.data = ml_collections.ConfigDict()
    c.data.dir = ""  # where it is; empty: the source's own default
    c.data.split = "train"
    c.data.flip = True  # mirror each real image with probability one half, inside the step
    c.data.num_examples = 10_000  # for `shapes`, which can make any number
    c.data.class_names = ()  # filled in from the data when a run starts
    c.data.skip_bad_records = (
        0  # images of `prepared` and `image_folder` that may be unreadable; another of the class replaces each
    )
    c.data.cache_dir = ""  # decoded image folders are kept here; empty: ~/.cache/biggan_jax

    c.model = ml_collections.ConfigDict()
    c.model.name = "biggan"  # one of MODELS
    c.model.channels = 96  # width multiplier "ch"
    c.model.z_dim = 120  # with skip_z, a multiple of log2(image_size) - 1
    c.model.shared_embedding = True  # one class embedding for all BatchNorm layers (Table 1, "Shared")
    c.model.embedding_size = 128  # of the shared class embedding
    c.model.skip_z = True  # hierarchical latents (Table 1, "Skip-z")
    # Pixels; an attention block follows each block with one of these output sizes
    c.model.attention_resolutions = (64,)
    # Of the discriminator; None: the same
    c.model.attention_resolutions_d = ml_collections.config_dict.placeholder(tuple)
    c.model.spectral_norm_g = True
    c.model.spectral_norm_d = True
    # Hidden width of a D block is its output's (BigGAN, SA-GAN) or its input's (SN-GAN); not for biggan_deep
    c.model.wide_d = True
    c.model.rgb_channels = 3  # outputs of the last convolution; the released biggan_deep pads them to `channels`
    c.model.bn_eps = 1e-4
    # Of the generator's last BatchNorm; None: bn_eps
    c.model.output_bn_eps = ml_collections.config_dict.placeholder(float)
    c.model.sn_eps = 1e-4
    c.model.remat = False  # recompute each block's activations in the backward pass: less memory, more work

    c.loss = "hinge"  # one of LOSSES
    c.orthogonal_reg = 1e-4  # strength beta of Equation 3; 0: off
    c.orthogonal_form = "off_diagonal"  # Equation 3, or "full" for Equation 2
    c.ema_decay = 0.9999
    # Steps before which the average is a copy of the generator (BigGAN-PyTorch; the paper does not say)
    c.ema_start = 20_000
    c.bn_group_size = 0  # images that share BatchNorm statistics; 0: the whole (micro-)batch, over all devices
    c.compute_dtype = "bfloat16"  # of convolutions and matrix products; parameters are float32

    c.optimizer = ml_collections.ConfigDict()
    c.optimizer.g_lr = 5e-5
    c.optimizer.d_lr = 2e-4
    c.optimizer.beta1 = 0.0
    c.optimizer.beta2 = 0.999
    c.optimizer.eps = 1e-6
    c.optimizer.g_schedule = "constant"  # one of SCHEDULES; linear and cosine end at 0 after num_steps
    c.optimizer.d_schedule = "constant"
    c.optimizer.warmup_steps = 0  # steps over which both rates rise from 0

    c.evaluate_every = 0  # steps between scores in WORKDIR/eval, the last step is scored too; 0: never
    c.evaluate_samples = 10_000  # images generated for each
    c.log_every = 100  # steps between records in metrics.jsonl
    c.sample_every = 1000  # steps between sample grids; 0: only at the end
    c.checkpoint_every = 1000  # steps
    c.keep_checkpoints = 3  # newest checkpoints to keep
    c.keep_every = 10_000  # checkpoints at multiples of this many steps are kept for good; 0: none
    # Steps between looks at singular values of all layers, D's accuracy and samples' variety; 0: never
    c.monitor_every = 1000
    c.monitor_split = ""  # held-out split on which D's accuracy is measured too, such as "test"; empty: none
    c.collapse = ml_collections.ConfigDict()  # a run ends with code 4 beyond one of these; 0: never
    c.collapse.max_sigma = 0.0  # of sigma/g_first, the top singular value of G's first layer
    c.collapse.max_d_accuracy = 0.0  # of D on images it trains on (the paper's collapsed runs: 0.98)
    c.collapse.min_variety = 0.0  # of samples, relative to real images
    c.collapse.max_fid_ratio = 0.0  # of FID over the run's least, both with evaluate_every; the least is kept
    c.max_rollbacks = 3  # times a run goes back to its newest checkpoint, with other randomness, when it diverges
    c.max_restarts = 10  # starts in a row without a new checkpoint after which a run refuses to start; 0: no limit
    c.truncation_mode = "resample"  # what truncation means when sampling, one of TRUNCATION_MODES, see latents.py
    # Batches averaged into BatchNorm's sampling statistics (Appendix C); 0: the running ones
    c.standing_stats_batches = 100
    c.standing_stats_batch_size = 64  # images in each
    c.paper = ml_collections.ConfigDict()  # what the paper reports for this experiment; printed, never used
    c.recognition = False  # finish with an independent classifier's count of recognised samples (up to 32 pixels)
    return c


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


def _require(condition: bool, key: str, config, allowed: str) -> None:
    if not condition:
        value = config
        for name in key.split("."):
            value = value[name]
        raise UsageError(f"config.{key} is {value!r}; it must be {allowed}")


def _require_choice(key: str, config, choices) -> None:
    value = config
    for name in key.split("."):
        value = value[name]
    if value not in choices:
        near = difflib.get_close_matches(str(value), [str(c) for c in choices], 1)
        hint = f" (did you mean {near[0]}?)" if near else ""
        raise UsageError(f"config.{key} is {value!r}; it must be one of {', '.join(map(str, choices))}{hint}")


def validate(config) -> None:
    """Raises UsageError, naming the key, what was found and what is allowed, for a config that cannot run."""
    _require_choice("image_size", config, IMAGE_SIZES)
    _require_choice("model.name", config, MODELS)
    _require_choice("loss", config, LOSSES)
    _require_choice("orthogonal_form", config, ORTHOGONAL_FORMS)
    _require_choice("optimizer.g_schedule", config, SCHEDULES)
    _require_choice("optimizer.d_schedule", config, SCHEDULES)
    _require_choice("compute_dtype", config, COMPUTE_DTYPES)
    _require_choice("truncation_mode", config, TRUNCATION_MODES)
    for key in ("num_steps", "batch_size", "num_d_steps", "accumulation_steps", "model.channels", "model.z_dim"):
        _require(_get(config, key) >= 1, key, config, "at least 1")
    for key in ("model.embedding_size", "log_every", "checkpoint_every", "keep_checkpoints"):
        _require(_get(config, key) >= 1, key, config, "at least 1")
    _require(config.evaluate_samples >= 20, "evaluate_samples", config, "at least 20")
    for key in ("standing_stats_batch_size", "data.num_examples"):
        _require(_get(config, key) >= 1, key, config, "at least 1")
    for key in (
        "seed",
        "num_classes",
        "ema_start",
        "bn_group_size",
        "sample_every",
        "evaluate_every",
        "keep_every",
        "monitor_every",
        "data.skip_bad_records",
        "collapse.max_sigma",
        "collapse.max_d_accuracy",
        "collapse.min_variety",
        "collapse.max_fid_ratio",
        "max_rollbacks",
        "max_restarts",
        "optimizer.warmup_steps",
        "standing_stats_batches",
    ):
        _require(_get(config, key) >= 0, key, config, "0 or more")
    for key in ("optimizer.g_lr", "optimizer.d_lr", "optimizer.eps", "orthogonal_reg", "model.bn_eps", "model.sn_eps"):
        value = _get(config, key)
        _require(math.isfinite(value) and value >= 0, key, config, "a finite number, 0 or more")
    for key in ("ema_decay", "optimizer.beta1", "optimizer.beta2"):
        _require(0 <= _get(config, key) < 1, key, config, "at least 0 and less than 1")
    _require(config.seed < 2**31, "seed", config, "less than 2**31")
    _require(
        config.batch_size % config.accumulation_steps == 0,
        "accumulation_steps",
        config,
        f"a divisor of batch_size, {config.batch_size}",
    )
    micro_batch = config.batch_size // config.accumulation_steps
    if config.bn_group_size:
        for size, what in (
            (micro_batch, "the micro-batch"),
            (config.standing_stats_batch_size, "standing_stats_batch_size"),
        ):
            _require(size % config.bn_group_size == 0, "bn_group_size", config, f"0 or a divisor of {what}, {size}")
    _validate_model(config)
    if config.recognition:
        _require(
            config.image_size <= 32 and config.num_classes >= 2,
            "recognition",
            config,
            "False over 32 px or without classes",
        )


def _validate_model(config) -> None:
    model = config.model
    sizes = [4 * 2**i for i in range(8) if 4 * 2**i <= config.image_size]
    for key in ("attention_resolutions", "attention_resolutions_d"):
        for size in model[key] or ():
            _require(size in sizes, f"model.{key}", config, f"a tuple of sizes among {', '.join(map(str, sizes))}")
    if model.name == "biggan" and model.skip_z:
        slots = int(math.log2(config.image_size)) - 1
        near = max(model.z_dim // slots, 1) * slots
        allowed = f"a multiple of {slots} with skip_z at {config.image_size} pixels, such as {near} or {near + slots}"
        _require(model.z_dim % slots == 0, "model.z_dim", config, allowed)
    if model.name == "resnet_gan":
        for key in ("shared_embedding", "skip_z"):
            _require(not model[key], f"model.{key}", config, "False for resnet_gan (biggan has it)")
    _require(model.rgb_channels >= 3, "model.rgb_channels", config, "at least 3")
    if model.name != "biggan_deep":
        _require(model.rgb_channels == 3, "model.rgb_channels", config, "3 unless model.name is biggan_deep")
    if model.output_bn_eps is not None:
        _require(model.output_bn_eps > 0, "model.output_bn_eps", config, "None or more than 0")
    if model.name == "biggan_deep":
        _require(model.wide_d, "model.wide_d", config, "True for biggan_deep, whose blocks have no thin form")
    if not config.num_classes:
        _require(not model.shared_embedding, "model.shared_embedding", config, "False when num_classes is 0")


def _get(config, key):
    for name in key.split("."):
        config = config[name]
    return config


def to_json(config) -> str:
    return json.dumps(config.to_dict(), indent=2, sort_keys=True)


def from_json(text: str) -> ml_collections.ConfigDict:
    """The config that `to_json` wrote, over today's defaults. Raises UsageError for keys this version does not have."""
    config = default()
    try:
        _update(config, json.loads(text))
    except (KeyError, TypeError, ValueError) as error:
        raise UsageError(f"this config is not one this version can read: {error}") from None
    return config


def _update(config, values) -> None:
    for key, value in values.items():
        if key == "paper":
            config.paper = ml_collections.ConfigDict(value)
        elif isinstance(value, dict):
            _update(config[key], value)
        elif key not in config:
            raise KeyError(f"unknown key {key}")
        else:
            config[key] = tuple(value) if isinstance(value, list) else value
