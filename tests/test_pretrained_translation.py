"""Nets of CycleGAN and pix2pix as the public PyTorch code builds and names them, against ours with their weights."""

from collections import OrderedDict

import jax
import numpy as np
import pytest

from biggan_jax.errors import DataError
from biggan_jax.pretrained import from_torch

torch = pytest.importorskip("torch", reason="the nets are PyTorch's")
nn = torch.nn
WIDTH, IN, OUT = 2, 3, 1


class Named(nn.Module):
    """A sequence of layers under one name; `skip`: its output is the input and theirs, side by side."""

    def __init__(self, name, *layers, skip=None):
        super().__init__()
        self.name, self.skip = name, skip
        self.add_module(name, nn.Sequential(*layers))

    def forward(self, x):
        out = getattr(self, self.name)(x)
        if self.skip == "beside":
            return torch.cat([x, out], 1)
        return x + out if self.skip == "sum" else out


def normed(norm, channels, *after):
    return [nn.BatchNorm2d(channels) if norm == "batch" else nn.InstanceNorm2d(channels), *after]


def unet(norm, downs=5):
    biased = norm == "instance"
    down = lambda i, o: nn.Conv2d(i, o, 4, 2, 1, bias=biased)
    up = lambda i, o: nn.ConvTranspose2d(i, o, 4, 2, 1, bias=biased)
    widths = [WIDTH * min(2**i, 8) for i in range(downs)]
    *_, around, width = widths
    layers = [nn.LeakyReLU(0.2), down(around, width), nn.ReLU(), up(width, around), *normed(norm, around)]
    inner = Named("model", *layers, skip="beside")
    for around, width in reversed(list(zip(widths[:-2], widths[1:-1]))):
        there = [nn.LeakyReLU(0.2), down(around, width), *normed(norm, width)]
        back = [nn.ReLU(), up(2 * width, around), *normed(norm, around)]
        inner = Named("model", *there, inner, *back, skip="beside")
    last = nn.ConvTranspose2d(2 * WIDTH, OUT, 4, 2, 1)
    return nn.Sequential(OrderedDict(model=Named("model", down(IN, WIDTH), inner, nn.ReLU(), last, nn.Tanh())))


def resnet(norm, dropout):
    biased, wide = norm == "instance", 4 * WIDTH

    def half():
        return [nn.ReflectionPad2d(1), nn.Conv2d(wide, wide, 3, bias=biased), *normed(norm, wide)]

    block = lambda: Named("conv_block", *half(), nn.ReLU(), *[nn.Dropout(0.5)] * dropout, *half(), skip="sum")
    layers = [nn.ReflectionPad2d(3), nn.Conv2d(IN, WIDTH, 7, bias=biased), *normed(norm, WIDTH, nn.ReLU())]
    for width in (WIDTH, 2 * WIDTH):
        layers += [nn.Conv2d(width, 2 * width, 3, 2, 1, bias=biased), *normed(norm, 2 * width, nn.ReLU())]
    layers += [block(), block()]
    for width in (2 * WIDTH, WIDTH):
        back = nn.ConvTranspose2d(2 * width, width, 3, 2, 1, 1, bias=biased)
        layers += [back, *normed(norm, width, nn.ReLU())]
    return Named("model", *layers, nn.ReflectionPad2d(3), nn.Conv2d(WIDTH, OUT, 7), nn.Tanh())


def patch(norm):
    biased = norm == "instance"
    layers = [nn.Conv2d(IN, WIDTH, 4, 2, 1), nn.LeakyReLU(0.2)]
    for width, stride in ((WIDTH, 2), (2 * WIDTH, 1)):
        layers += [nn.Conv2d(width, 2 * width, 4, stride, 1, bias=biased)]
        layers += normed(norm, 2 * width, nn.LeakyReLU(0.2))
    return Named("model", *layers, nn.Conv2d(4 * WIDTH, 1, 4, 1, 1))


def pixel(norm):
    biased = norm == "instance"
    inner = [nn.Conv2d(WIDTH, 2 * WIDTH, 1, bias=biased), *normed(norm, 2 * WIDTH, nn.LeakyReLU(0.2))]
    return Named("net", nn.Conv2d(IN, WIDTH, 1), nn.LeakyReLU(0.2), *inner, nn.Conv2d(2 * WIDTH, 1, 1, bias=biased))


def randomized(net):
    """The net in float64 with every weight and statistic drawn."""
    generator = torch.Generator().manual_seed(0)
    net = net.double().eval()
    for name, array in net.state_dict().items():
        if array.is_floating_point():
            drawn = torch.randn(array.shape, generator=generator, dtype=torch.float64)
            array.copy_(drawn.abs() + 0.5 if name.endswith("running_var") else 0.5 * drawn)
    return net


@pytest.mark.parametrize("norm", ["instance", "batch"])
@pytest.mark.parametrize(
    "net, build",
    [
        ("G", unet),
        ("G", lambda norm: resnet(norm, dropout=True)),
        ("G", lambda norm: resnet(norm, dropout=False)),
        ("D", patch),
        ("D", pixel),
    ],
    ids=["unet", "resnet with dropout", "resnet", "patch", "pixel"],
)
def test_nets_of_their_form_compute_the_same(net, build, norm):
    theirs = randomized(build(norm))
    x = np.random.default_rng(1).normal(size=(2, 64, 32, IN))
    with torch.no_grad():
        expected = theirs(torch.tensor(x.transpose(0, 3, 1, 2))).numpy().transpose(0, 2, 3, 1)
    with jax.enable_x64(True):
        module, variables = from_torch(theirs.state_dict(), family="pix2pix", net=net)
        found = jax.jit(module.apply)(variables, x)
    assert module.norm == norm
    # Sums of at most 1,000 products of a dozen layers in float64, rounded to 1e-16 each.
    np.testing.assert_allclose(found, expected if net == "G" else expected[..., 0], rtol=1e-9, atol=1e-10)


def test_settings_and_statistics_of_old_files():
    weights = resnet("instance", dropout=True).state_dict()
    old = {"model.2.running_mean": np.zeros(WIDTH), "model.2.running_var": np.ones(WIDTH)}
    module, _ = from_torch(weights | old, family="cyclegan", dropout=0.5)
    assert (module.dropout, module.norm, module.blocks) == (0.5, "instance", 2)


@pytest.mark.parametrize(
    "build, change, message",
    [
        (unet, {"model.model.1.model.1.weight": (4, 2, 3, 3)}, "the weights' model.model.1.model.1.weight is "),
        (unet, {"model.model.1.model.6.running_var": None}, "lack model.model.1.model.6.running_var"),
        (unet, {"model.model.1.model.6.weight": None}, "lack what this net has as batch_stats/norm_up_1/mean"),
        (unet, {"model.model.3.weight": None}, "the weights lack model.model.3.weight"),
        (unet, {"model.model.9.weight": (1,)}, "have model.model.9.weight, for which this net has no place"),
        (
            lambda norm: resnet(norm, False),
            {"model.4.weight": None},
            r"which does not make batch_stats/norm_down_0/mean \(4,\)",
        ),
        (pixel, {"net.0.weight": (2, 3, 1)}, r"the weights' net.0.weight is float32 \(2, 3, 1\)"),
    ],
)
def test_what_is_none_of_these_nets_is_refused_by_name(build, change, message):
    weights = build("batch").state_dict()
    for name, shape in change.items():
        weights.pop(name, None)
        if shape:
            weights[name] = np.zeros(shape, np.float32)
    with pytest.raises(DataError, match=message):
        from_torch(weights, family="pix2pix", net="D" if build is pixel else "G")
