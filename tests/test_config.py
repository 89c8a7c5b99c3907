"""Configs: every experiment is valid, and what is wrong is named."""

import glob
import json
import sys

import pytest

from biggan_jax import cli, describe
from biggan_jax import config as configs
from biggan_jax.config import keys
from biggan_jax.config.data import POINTS
from biggan_jax.errors import UsageError, near
from experiments.family import improved_gan, toys
from tests import recipes
from tests.tiny import tiny_config

VARIANTS = {
    "table1.py": [f"row={row}" for row in range(1, 10)],
    "imagenet.py": [f"size={size}" for size in (64, 128, 256, 512)],
    "biggan_deep.py": [f"size={size}" for size in (128, 256, 512)],
    "fashion_mnist.py": ["", "scale=cpu"],
    "image_folder.py": [f"size={size}" for size in (32, 64, 128, 256)],
    "shapes.py": [f"size={size}" for size in (8, 16, 32, 64, 128, 256, 512)],
}
FAMILY = {
    "gan.py": ["", "loss=saturating", "scale=paper"],
    "toys.py": [f"loss={form}" for form in toys.FORMS]
    + [f"density={density}" for density in POINTS]
    + ["scale=paper", "loss=fleuret,latent=32"],
    "cgan.py": ["", *(f"conditioning={c}" for c in ("input", "hidden", "projection"))]
    + [f"scale={scale}" for scale in ("paper", "public", "dcgan")],
    "dcgan.py": ["", "scale=shapes", "scale=paper", "scale=paper,form=torch", "form=fc", "norm=none", "prior=uniform"]
    + [f"size={size}" for size in (16, 28, 32, 64)]
    + [f"conditional={conditional}" for conditional in ("maps", "input", "projection")],
    "lsgan.py": ["", "codes=pearson", "scale=shapes", "scale=paper"],
    "wgan.py": ["net=mlp", "scale=paper,net=mlp"]
    + [f"scale={s},g={g}" for s in ("digits", "paper") for g in ("batch", "none", "mlp")]
    + ["g=mlp,loss=non_saturating"],
    "wgan_gp.py": [f"size={size}" for size in (8, 16, 32, 64, 128)]
    + [f"scale={scale},norm={norm}" for scale in ("digits", "cifar10") for norm in ("none", "layer")]
    + ["scale=paper,size=48", "scale=paper,size=64"],
    "acgan.py": [f"scale={s},form={f}" for s in ("digits", "cifar10", "paper") for f in ("odena", "wgan_gp")],
    "improved_gan.py": [f"scale={s},task={t}" for s in improved_gan.LABELS for t in ("semi_supervised", "samples")]
    + ["supervised=1", "labels=30"],
    "ebgan.py": ["", "pulling_away=0"],
    "began.py": ["", "gamma=0.7", "scale=paper", "scale=paper,size=128,filters=64", "scale=cifar10"],
    "sngan.py": [f"net={net}" for net in ("resnet", "cnn")]
    + [f"conditional={conditional}" for conditional in ("projection", "concat", "none")]
    + ["scale=cifar10", "scale=cifar10,net=cnn", "scale=paper,size=48", "scale=paper,size=128"],
    "sagan.py": [f"scale={scale}" for scale in ("digits", "shapes", "paper", "imagenet")] + ["attention=none"],
    "infogan.py": ["", "scale=paper"],
    "stylegan_xl.py": ["", "scale=imagenet", "scale=imagenet,size=64"],
}
EXPERIMENTS = [
    f"{path}:{variant}" if variant else path
    for path in sorted(glob.glob("experiments/**/*.py", recursive=True))
    if "def get_config" in open(path).read()
    for variant in (FAMILY if "/family/" in path else VARIANTS).get(path.split("/")[-1], [""])
]


@pytest.mark.parametrize("spec", EXPERIMENTS)
def test_every_experiment_is_valid_and_survives_json(spec):
    config = cli.load_config(spec)
    for name in configs.left_open(config):
        with pytest.raises(UsageError, match=f"config.{name} is None; it must be a number where no data are read"):
            configs.validate(config)
        configs.put(config, name, 3)
    configs.validate(config)
    assert configs.from_json(configs.to_json(config)).to_dict() == config.to_dict()


def test_there_are_experiments():
    assert len(EXPERIMENTS) > 30


def test_what_was_published_is_beside_the_config():
    found = {spec: cli.load_paper(spec) for spec in EXPERIMENTS}
    assert found["experiments/biggan_deep.py:size=256"] == {"fid": 6.9, "inception_score": 171.4}
    assert found["experiments/table1.py:row=1"]["thousand_steps"] == 1000
    assert found["experiments/digits.py"] == found["experiments/imagenet.py:size=64"] == {}


@pytest.mark.parametrize(
    "key, value, part_of_message",
    [
        ("image_size", 100, "one of 8, 16, 32"),
        ("model__name", "bigan", "did you mean biggan"),
        ("loss", "hinges", "did you mean hinge"),
        ("batch_size", 0, "at least 1"),
        ("accumulation_steps", 3, "a divisor of batch_size, 16"),
        ("bn_group_size", 5, "a divisor of the micro-batch, 16"),
        ("model__z_dim", 9, "a multiple of 2 with skip_z at 8 pixels"),
        ("model__attention_resolutions", (64,), "sizes among 4, 8"),
        ("ema_decay", 1.0, "less than 1"),
        ("optimizer__g_lr", float("nan"), "a finite number"),
        ("compute_dtype", "float16", "float32, bfloat16"),
        ("num_classes", 0, "config.model.shared_embedding"),
        ("model__image_channels", 5, "None or one of 1, 2, 3, 4"),
        ("seed", -1, "0 or more"),
    ],
)
def test_a_wrong_value_is_named_with_what_is_allowed(make_config, key, value, part_of_message):
    with pytest.raises(UsageError, match=part_of_message):
        make_config(**{key: value})


@pytest.mark.parametrize("name, key", [("resnet_gan", "skip_z"), ("biggan_deep", "wide_d"), ("biggan", "slope")])
def test_nets_refuse_keys_they_do_not_have(make_config, name, key):
    with pytest.raises(UsageError, match=f"config.model.{key} is no key of a config with .*model.name={name}"):
        make_config(model__name=name, **{f"model__{key}": 0})


def test_a_config_changes_nets_with_the_keys_they_bring(make_config):
    config = cli.override(make_config(), ["--config.model.name=resnet_gan", "--config.model.channels=6"])
    configs.validate(config)
    assert config.model.channels == 6 and config.model.z_dim == make_config().model.z_dim
    assert "skip_z" not in config.model
    with pytest.raises(UsageError, match="skip_z"):
        cli.override(make_config(), ["--config.model.name=resnet_gan", "--config.model.skip_z=False"])


@pytest.mark.parametrize(
    "argument, part_of_message",
    [
        ("--config.modle.channels=3", "Did you mean config.model.channels"),
        ("--config.batch_size=many", "batch_size"),
        ("--config.model.skip_z=perhaps", "skip_z"),
    ],
)
def test_a_wrong_override_is_a_usage_error(make_config, argument, part_of_message):
    with pytest.raises(UsageError, match=part_of_message):
        cli.override(make_config(), [argument])


def test_overrides_keep_types(make_config):
    given = ["--config.batch_size=32", "--config.model.attention_resolutions=(4,8)", "--config.model.skip_z=False",
             "--config.model.attention_resolutions_d=(4,)", "--config.loss=wasserstein"]  # fmt: skip
    config = cli.override(make_config(), given)
    assert (config.batch_size, config.model.attention_resolutions, config.model.skip_z) == (32, (4, 8), False)
    assert (config.model.attention_resolutions_d, config.loss) == ((4,), "wasserstein")


def test_variants():
    assert configs.parse_variant("size=64", size=128).size == 64
    for wrong in ("size=big", "width=3", "size"):
        with pytest.raises(UsageError, match="size"):
            configs.parse_variant(wrong, size=128)
    assert configs.parse_variant("net=b,n=1", net=("a", "b"), n=(0, 1)).to_dict() == {"net": "b", "n": 1}
    assert configs.parse_variant("", net=("a", "b"), n=(2, 1)).to_dict() == {"net": "a", "n": 2}
    with pytest.raises(UsageError, match="it must be one of large, small .did you mean large"):
        configs.parse_variant("net=larg", net=("", "large", "small"))
    with pytest.raises(UsageError, match="rows 1 to 9"):
        cli.load_config("experiments/table1.py:row=10")
    with pytest.raises(UsageError, match="no file"):
        cli.load_config("experiments/none.py")


BEGIN = "from biggan_jax import config\ndef get_config(variant):\n  c = config.default()\n"


@pytest.mark.parametrize(
    "code, message, line",
    [
        ("def get_config(variant):\n  return undefined\n1/0", "ZeroDivisionError: division by zero", "3: 1/0"),
        (BEGIN + "  return undefined", "NameError: name 'undefined' is not defined", "4: return undefined"),
        (
            BEGIN + "  c.optimizer.glr = 0.0\n  return c",  # raised by ml_collections, with every key there is
            "AttributeError: there is no key glr; did you mean g_lr?",
            "4: c.optimizer.glr = 0.0",
        ),
        (BEGIN + "  c.zebra = 1", "AttributeError: there is no key zebra", "4: c.zebra = 1"),
        (BEGIN + "  return c[", "SyntaxError: '[' was never closed", "4: return c["),
    ],
)
def test_an_error_in_a_config_file_is_two_lines_one_its_place(tmp_path, monkeypatch, capsys, code, message, line):
    (file := tmp_path / "mine.py").write_text(code)
    monkeypatch.setattr(sys, "argv", ["describe", f"--config={file}"])
    with pytest.raises(SystemExit) as end:
        cli.run(describe.main)
    expected = f"error: --config={file}: {message}\n{file}, line {line}\n"
    assert (end.value.code, capsys.readouterr().err) == (2, expected)


def test_describe_tells_which_row_of_a_grid_it_is_of():
    assert [describe.row_of(f"table1:scale=digits{rest}") for rest in ("", ",row=3")] == ["8", "3"]
    assert describe.row_of("ablations:scale=digits") == "baseline" and describe.row_of("digits") is None


def test_an_error_in_get_paper_is_told_alike(tmp_path):
    file = tmp_path / "mine.py"
    file.write_text(BEGIN + "  return c\ndef get_paper(variant):\n  return undefined\n")
    with pytest.raises(UsageError, match="NameError: name 'undefined' is not defined") as refused:
        cli.load_paper(str(file))
    assert refused.value.__notes__ == [f"{file}, line 6: return undefined"]


def test_a_config_file_may_have_no_variant_and_must_give_a_config(tmp_path):
    file = tmp_path / "mine.py"
    file.write_text("from biggan_jax import config\ndef get_config():\n  return config.default(dataset='shapes')\n")
    assert cli.load_config(str(file)).dataset == "shapes"
    with pytest.raises(UsageError, match="takes no variant; leave out :row=8"):
        cli.load_config(f"{file}:row=8")
    file.write_text("def get_config(variant):\n  pass\n")
    with pytest.raises(UsageError, match="get_config gives None; allowed: a config"):
        cli.load_config(str(file))


@pytest.mark.parametrize(
    "word, known, expected",
    [
        ("bach_size", ("batch_size", "num_steps"), ["batch_size"]),
        ("modle.channels", ("model.channels", "model.z_dim"), ["model.channels"]),
        ("optimizer.lr", ("optimizer.g_lr", "optimizer.d_lr", "model.remat"), ["optimizer.g_lr", "optimizer.d_lr"]),
        ("steps", ("num_steps", "num_d_steps", "seed"), ["num_steps", "num_d_steps"]),
        ("data.path", ("data.split", "data.dir"), []),
        ("model.lr", ("model.remat", "model.z_dim"), []),
        ("imagenet", ("image_folder", "tfds:NAME"), []),
        ("mnist", ("domains", "points"), []),
        ("tfds", ("digits", "tfds:NAME"), ["tfds:NAME"]),
        ("cyclegan", ("family/gan", "family/cyclegan"), ["family/cyclegan"]),
    ],
)
def test_only_what_is_near_is_suggested(word, known, expected):
    assert near(word, known, 2) == expected


@pytest.mark.parametrize(
    "value, hint", [("hing", "(did you mean hinge?)"), ("on", "dcgan"), ("non", "dcgan"), (3, "dcgan")]
)
def test_only_choices_are_suggested(value, hint):
    assert keys.expected(value, "one of hinge, wasserstein, dcgan").endswith(hint)


def test_a_recipe_has_nets_and_a_net_has_recipes():
    names = lambda config: tuple(configs.chosen(config).values())
    assert names(configs.default("began")) == ("began", "autoencoder", "tfds:imagenet2012", "adam")
    assert names(configs.default("acgan", dataset="digits", optimizer="sgd")) == ("acgan", "acgan", "digits", "sgd")
    for choice in configs.CHOICES["gan.name"]:
        translates = choice in recipes.BETWEEN_DOMAINS
        config = configs.default(choice, dataset="pairs" if translates else None)
        config.num_classes, config.image_size = (0, 256) if translates else (10, config.image_size)
        configs.validate(config)  # with the row's own nets


def test_configs_of_earlier_versions_are_read_where_what_is_gone_did_nothing():
    saved = json.loads(configs.to_json(tiny_config()))
    saved["run"]["collapse"]["max_d_accuracy"] = 0.0
    assert configs.from_json(json.dumps(saved)).to_dict() == tiny_config().to_dict()
    saved["run"]["collapse"]["max_d_accuracy"] = 0.98
    with pytest.raises(UsageError, match="unknown key run.collapse.max_d_accuracy"):
        configs.from_json(json.dumps(saved))


def test_from_json_refuses_unknown_keys():
    with pytest.raises(UsageError, match="colour"):
        configs.from_json('{"colour": 1}')


def test_a_key_of_another_recipe_says_whose_it_is(make_config):
    with pytest.raises(UsageError, match="config.gan.penalty is no key of a config with gan.name=biggan.*wgan_gp"):
        cli.override(make_config(), ["--config.gan.penalty=3"])
    with pytest.raises(UsageError, match="config.data.num_examples .* it is of dataset=shapes"):
        cli.override(make_config(), ["--config.data.num_examples=3"])
    config = cli.override(make_config(), ["--config.dataset=shapes", "--config.data.num_examples=3"])
    assert config.data.num_examples == 3


def test_names_bring_their_keys(make_config):
    config = make_config()
    config.model.name = "resnet_gan"  # without the keys of those nets
    with pytest.raises(UsageError, match="config.model.*resnet_gan"):
        configs.validate(config)
    switched = configs.switch(make_config(ema_decay=0.5), gan="wgan_gp", model="wgan_gp")
    configs.validate(switched)
    own = configs.default("wgan_gp")
    assert configs.switch(configs.default(), gan="wgan_gp", model="wgan_gp").to_dict() == own.to_dict()
    assert switched.ema_decay == 0.5 and switched.gan.penalty == 10.0 and "clip" not in switched.gan
