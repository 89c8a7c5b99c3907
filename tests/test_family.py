"""The configs of BigGAN's relatives: their full size, their variants, and mistakes in these."""

import json

import numpy as np
from PIL import Image
import pytest

from biggan_jax import cli, data, describe, gans, sample, train
from biggan_jax.errors import UsageError
from biggan_jax.programs import description
from experiments.family import defaults
from tests.test_report import make_run
from tests.tiny import tiny_config

# Parameters of G and D of published nets, counted in their code or, where a sum stands, by their papers' layers.
PUBLISHED = {
    "gan.py:scale=paper": (2_503_984, 1_231_441),
    "toys.py:scale=paper,loss=wgan_gp": (527_874, 527_361),
    "toys.py:loss=fleuret,latent=8": (1_102, 401),
    "cgan.py:scale=public": (1_757_412, 1_055_845),
    # 101 x 200, 11 x 1000, 1201 x 1200, 1201 x 784; 785 x 1200, 11 x 250, 291 x 960, 241.
    "cgan.py:scale=paper": (2_413_984, 1_224_351),
    # 110 x 1024, 1034 x 6272, 138 x 64 x 25, 74 x 25; 11 x 64 x 25, 74 x 128 x 25, 6282 x 1024, 1034.
    "cgan.py:scale=dcgan": (6_820_538, 6_688_202),
    "dcgan.py:scale=paper,form=torch": (3_576_704, 2_765_568),
    "dcgan.py:scale=paper": (18_855_040, 17_232_768),
    "lsgan.py:scale=paper": (3_576_704, 2_765_568),
    "wgan.py:scale=paper": (3_576_704, 2_765_568),
    "wgan.py:scale=paper,g=none": (3_574_784, 2_765_568),
    "wgan.py:scale=paper,net=mlp": (6_880_768, 6_817_793),
    "wgan.py:scale=paper,g=mlp": (6_880_768, 2_765_568),
    "wgan_gp.py:scale=cifar10": (1_204_483, 1_053_825),
    "wgan_gp.py:scale=cifar10,norm=layer": (1_204_483, 1_055_361),
    "wgan_gp.py:scale=cifar10,size=48": (4_878_083, 10_141_441),
    "acgan.py:scale=cifar10": (1_593_888, 1_663_867),
    "acgan.py:scale=paper": (11_465_728, 2_525_563),
    "began.py:scale=paper": (1_716_611, 13_405_379),
    "began.py:scale=paper,filters=64": (563_395, 4_011_651),
    "began.py:scale=cifar10": (489_539, 2_310_979),
    "sngan.py:scale=cifar10": (4_276_739, 1_053_825),
    "sngan.py:scale=paper,size=48": (4_878_083, 10_141_441),
    "sngan.py:scale=cifar10,net=cnn": (3_812_355, 5_860_865),
    "sagan.py:scale=paper": (3_832_885, 3_175_299),
    "stylegan2.py:scale=paper,size=1024": (30_370_060, 29_012_513),
    "stylegan2.py:scale=paper,size=512": (30_276_583, 28_982_849),
    "stylegan2.py:scale=paper": (24_767_458, 24_001_089),
    "stylegan2.py:scale=lsun": (30_034_338, 28_864_129),
    "stylegan2.py:scale=cifar10": (20_215_315, 23_089_664),
    "stylegan2.py:scale=cifar10,labels=0": (19_947_539, 20_720_641),
    "stylegan2_ada.py:scale=cifar10": (20_215_315, 23_089_664),
    "stylegan2_ada.py:scale=cifar10,labels=0": (19_947_539, 20_720_641),
    "stylegan2_ada.py:scale=paper": (24_767_458, 24_001_089),
    "stylegan2_ada.py:scale=paper,size=1024": (30_370_060, 29_012_513),
    # A mapping of two layers in the place of eight has 1,575,936 less.
    "stylegan2_ada.py:scale=auto,size=1024": (28_794_124, 29_012_513),
    "stylegan2_ada.py:scale=auto": (23_191_522, 24_001_089),
    "r3gan.py:scale=cifar10": (20_781_952, 21_280_512),
    "r3gan.py:scale=cifar10,labels=0": (20_732_160, 20_683_776),
    "r3gan.py:scale=ffhq64": (22_429_824, 22_381_440),
    "r3gan.py:scale=ffhq256": (23_057_952, 23_009_568),
    "r3gan.py:scale=imagenet32": (82_914_304, 86_548_992),
    "r3gan.py:scale=imagenet64": (103_570_432, 107_205_120),
    "projected_gan.py:scale=paper": (105_684_175, 10_331_328),
    "projected_gan.py:scale=paper,g=fastgan_lite,backbone=1": (79_354_307, 10_331_328),
    # Without the last block, its excitation, and with wider maps before the image.
    "projected_gan.py:scale=paper,size=128": (104_935_821, 10_331_328),
    "cyclegan.py:scale=paper": (11_378_179, 11_378_179, 2_764_737, 2_764_737),
    "cyclegan.py:scale=paper,size=128": (7_837_699, 7_837_699, 2_764_737, 2_764_737),
    # The U-Net's 54,409,603, and gain and bias of BatchNorm in the place of biases; D sees both images.
    "pix2pix.py:scale=paper": (54_413_955, 2_768_705),
}


@pytest.mark.parametrize("spec", PUBLISHED)
def test_published_configs_have_the_exact_counts(spec):
    nets = gans.build(cli.load_config(f"experiments/family/{spec}")).nets
    found = [description.count(net.shapes()["params"]) for net in nets.values()]
    assert tuple(found) == PUBLISHED[spec]


@pytest.mark.parametrize(
    "spec, expected",
    [
        ("size=1024", (32, 4, 32768, 0.002, 6.5536, 10.0)),
        ("size=256", (64, 4, 16384, 0.0025, 0.2048, 20.0)),
        ("size=256,gpus=1", (16, 4, 16384, 0.0025, 0.8192, 5.0)),
        ("size=512,gpus=64", (64, 1, 32768, 0.0025, 0.8192, 20.0)),
    ],
)
def test_what_the_public_code_works_out_by_size_and_devices(spec, expected):
    c = cli.load_config(f"experiments/family/stylegan2_ada.py:scale=auto,{spec}")
    found = c.batch_size, c.model.stddev_group, c.model.channel_base, c.optimizer.d_lr, c.gan.r1_gamma, c.gan.ema_kimg
    assert found == pytest.approx(expected) and (c.gan.augment, c.gan.augment_kimg) == ("bgc", 500)
    assert (c.gan.ema_rampup, c.model.mapping_layers, c.model.mapping_layers_d) == (0.05, 2, 8)


@pytest.mark.parametrize(
    "spec, size",
    [
        ("dcgan.py:size=16", 16),
        ("dcgan.py:size=64", 64),
        ("wgan_gp.py:size=32", 32),
        ("sagan.py:scale=digits,size=16", 16),
    ],
)
def test_a_size_that_is_asked_for_has_data(spec, size):
    config = cli.load_config(f"experiments/family/{spec}")
    assert data.load(config, "test").images.shape[1:] == (size, size, 3)


@pytest.mark.parametrize(
    "spec, part_of_message",
    [
        ("dcgan.py:form=tensorflow", "it must be one of torch, paper, fc"),
        ("dcgan.py:form=paper", "form=paper goes with scale=paper"),
        ("dcgan.py:form=fc,size=64", "form=fc is of 28 pixels"),
        ("gan.py:loss=hinge", "it must be one of non_saturating, saturating"),
        ("cgan.py:scale=paper,conditioning=projection", "scale=paper has the published one"),
        ("sngan.py:scale=cifar10,size=48", "at scale=cifar10 it must be one of 32"),
        ("sngan.py:conditional=label", "it must be one of projection, concat, none"),
        ("sagan.py:attention=all", "it must be one of none"),
        ("wgan_gp.py:scale=paper,size=128", "at scale=paper it must be one of 32, 48, 64"),
        ("stylegan2.py:scale=paper,size=128", "at scale=paper it must be one of 256, 512, 1024"),
        ("stylegan2_ada.py:scale=paper,size=128", "at scale=paper it must be one of 256, 512, 1024"),
        ("stylegan2_ada.py:scale=auto,gpus=0", "gpus=0: it must be at least 1"),
        ("r3gan.py:scale=cifar10,size=64", "size=64: scale=cifar10 has its own"),
        ("r3gan.py:scale=imagenet64,labels=0", "labels=0: it goes with scale=digits and cifar10, not imagenet64"),
        ("projected_gan.py:backbone=5", "it must be one of 0, 1, 2, 3, 4"),
        ("projected_gan.py:features=resnet", "it must be one of trained, random, none"),
        ("improved_gan.py:supervised=2", "it must be one of 0, 1"),
        ("improved_gan.py:task=samples,labels=30", "supervised and labels are for task=semi_supervised"),
        ("toys.py:density=ring9", r"it must be one of ring8.*\(did you mean ring8\?\)"),
        ("ebgan.py:margin=3", "expected key=value with one of the keys pulling_away"),
    ],
)
def test_a_wrong_variant_is_named_with_what_is_allowed(spec, part_of_message):
    with pytest.raises(UsageError, match=part_of_message):
        cli.load_config(f"experiments/family/{spec}")


# ---------------------------------------------------------------------------------------------------------------------
# The commands, over the default configs
# ---------------------------------------------------------------------------------------------------------------------
NARROW_LAYERS = ("model.widths=(8, 8)", "model.widths_d=(8, 8)")
NARROW_MAPS = ("model.channels=4",)
NARROW = dict.fromkeys(("gan", "cgan", "lsgan"), NARROW_LAYERS)
NARROW |= dict.fromkeys(("dcgan", "wgan", "wgan_gp", "sngan", "sagan", "acgan", "ebgan", "began"), NARROW_MAPS)
NARROW |= dict.fromkeys(("infogan", "improved_gan"), (*NARROW_MAPS, "run.standing_stats_batches=1"))
NARROW |= dict.fromkeys(("stylegan2", "stylegan2_ada", "r3gan"), ("model.channel_max=8",))
NARROW["projected_gan"] = ("model.channels=2", "model.random_features=True")
NARROW["stylegan_xl"] = ("model.channel_max=8", "model.random_features=True")


@pytest.mark.slow
@pytest.mark.parametrize("name", NARROW)
def test_a_default_config_is_described_trained_and_sampled(name, tmp_path, capsys):
    changed = NARROW[name] + (("num_d_steps=2",) if name in ("wgan", "wgan_gp", "sngan") else ())
    run = ("num_steps=2", "batch_size=16", "run.log_every=1", "run.monitor_every=0", "run.sample_every=0")
    config = [f"--config=experiments/family/{name}.py", *(f"--config.{key}" for key in (*changed, *run))]
    assert describe.main([*config, "--json"]) == 0
    counts = json.loads(capsys.readouterr().out)["params"]
    assert counts.keys() == {"generator", "discriminator", *["q"] * (name == "infogan")} and min(counts.values()) > 100
    assert train.main([*config, f"--workdir={tmp_path}/run"]) == 0
    records = [json.loads(line) for line in (tmp_path / "run/metrics.jsonl").read_text().splitlines()]
    assert [r["step"] for r in records if "loss/d" in r] == [1, 2] and all(r.get("finite", 1) == 1 for r in records)
    assert sample.main([f"--workdir={tmp_path}/run", f"--out={tmp_path}/out", "--num=4", "--npz"]) == 0
    images = np.load(tmp_path / "out/samples.npz")["images"]
    size = cli.load_config(f"experiments/family/{name}.py").image_size
    assert images.shape == (4, size, size, 3) and images.dtype == np.uint8 and (images == images[..., :1]).all()
    assert Image.open(tmp_path / "out/grid.png").width > 90


# ---------------------------------------------------------------------------------------------------------------------
# Runs beside each other
# ---------------------------------------------------------------------------------------------------------------------
class Copy:
    """Samples of held-out digits, of the classes asked for, or of any."""

    def __init__(self, num_classes):
        self.num_classes, self._real = num_classes, data.load(tiny_config(), "test")

    def sample(self, asked):
        images, labels = self._real.images, self._real.labels
        if not self.num_classes:
            return images[np.arange(asked) % len(images)]
        return np.stack([images[labels == label][i // 10 % 30] for i, label in enumerate(asked)])


@pytest.mark.parametrize("num_classes", [0, 10])
def test_real_digits_are_recognised_with_classes_and_without_and_noise_is_not(num_classes, monkeypatch):
    monkeypatch.setattr(defaults, "SAMPLES", 300)
    real = data.load(tiny_config(), "train"), data.load(tiny_config(), "test")
    judged = defaults.sampled(Copy(num_classes), *real)
    assert judged.asked == bool(num_classes) and judged.found.recognized > 0.96
    share, ratio, rarest = judged.cells()
    assert share == f"{judged.found.recognized:.1%}" and 0.85 < float(ratio) < 1.15
    assert rarest == "–" if num_classes else float(rarest.rstrip("%")) > 6
    noise = np.random.default_rng(0).integers(0, 256, (300, 8, 8, 1), np.uint8).repeat(3, 3)
    assert defaults.judge(noise, None, *real).found.recognized < 0.7
    assert defaults.draw({"a": judged, "b": judged}).shape[2] == 3


def test_runs_on_other_data_are_refused(tmp_path):
    make_run(tmp_path / "toy", cli.load_config("experiments/family/toys.py"))
    with pytest.raises(UsageError, match="toy is of points; all must be of digits"):
        defaults.main([f"--workdirs={tmp_path}", f"--out={tmp_path}/out"])
