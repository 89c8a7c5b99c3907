"""Nets as the public code of Projected GAN builds and names them, in the forms of which no numbers were recorded,
against ours with their weights.
"""

import jax
import numpy as np
import pytest

from biggan_jax.pretrained import from_torch
from tests.efficientnet_lite_weights import timm

torch = pytest.importorskip("torch", reason="the nets are PyTorch's")
nn = torch.nn
sn = torch.nn.utils.spectral_norm
Z, CLASSES, WIDTH = 4, 3, 2  # WIDTH: of FastGAN's maps at 128 pixels
LABELS = np.array([2, 0, 1])
STATES = ["batch_stats", "spectral_stats"]


class Tree(nn.Module):
    """Modules under names with dots in them, and those that `forward` uses besides."""

    def __init__(self, **modules):
        super().__init__()
        for name, module in modules.items():
            self.add_module(name, module)


def conv(inputs, outputs, size, **fields):
    return sn(nn.Conv2d(inputs, outputs, size, **{"bias": False} | fields))


# ---------------------------------------------------------------------------------------------------------------------
# FastGAN
# ---------------------------------------------------------------------------------------------------------------------
class LabelledNorm(Tree):
    def __init__(self, width):
        super().__init__(gain=sn(nn.Linear(Z, width)), bias=sn(nn.Linear(Z, width)))
        self.register_buffer("stored_mean", torch.zeros(width))
        self.register_buffer("stored_var", torch.ones(width))

    def forward(self, x, c):
        normed = nn.functional.batch_norm(x, self.stored_mean, self.stored_var, training=self.training)
        return normed * (1 + self.gain(c))[..., None, None] + self.bias(c)[..., None, None]


class Strength(nn.Module):
    """Of noise, which is left out here."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1))

    def forward(self, x):
        return x


class LabelledBlock(Tree):
    def __init__(self, inputs, outputs, lite):
        self.layers = [("conv", "bn")] if lite else [("conv1", "bn1"), ("conv2", "bn2")]
        modules = {} if lite else {"noise": Strength()}
        for i, (name, norm) in enumerate(self.layers):
            modules |= {
                name: conv(outputs if i else inputs, 2 * outputs, 3, padding=1),
                norm: LabelledNorm(2 * outputs),
            }
        super().__init__(**modules)

    def forward(self, x, c):
        x = nn.functional.interpolate(x, scale_factor=2)
        for name, norm in self.layers:
            x = nn.functional.glu(getattr(self, norm)(getattr(self, name)(x), c), 1)
        return x


def block(inputs, outputs, lite):
    half = lambda n: [conv(n, 2 * outputs, 3, padding=1), *[Strength()] * (not lite), nn.BatchNorm2d(2 * outputs)]
    layers = [nn.Upsample(scale_factor=2), *half(inputs), nn.GLU(1)]
    return nn.Sequential(*layers, *([] if lite else [*half(outputs), nn.GLU(1)]))


class FastGAN(nn.Module):
    """Of 16 pixels, which the public code has not: below 64 there is no excitation."""

    def __init__(self, lite, labelled):
        super().__init__()
        wide, middle, last = 16 * WIDTH, 8 * WIDTH, 4 * WIDTH
        first = nn.Sequential(
            sn(nn.ConvTranspose2d(Z, 2 * wide, 4, bias=False), dim=1), nn.BatchNorm2d(2 * wide), nn.GLU(1)
        )
        build = LabelledBlock if labelled else block
        blocks = {"feat_8": build(wide, middle, lite), "feat_16": build(middle, last, lite)}
        embed = {"embed": nn.Embedding(CLASSES, Z)} if labelled else {}
        self.synthesis = Tree(init=Tree(init=first), to_big=conv(last, 3, 3, padding=1, bias=True), **blocks, **embed)

    def forward(self, z, labels):
        net = self.synthesis
        labels = (net.embed(labels),) if hasattr(net, "embed") else ()
        x = net.init.init((z / (z**2).mean(1, keepdim=True).add(1e-8).sqrt())[..., None, None])
        return net.to_big(net.feat_16(net.feat_8(x, *labels), *labels))


# ---------------------------------------------------------------------------------------------------------------------
# The heads
# ---------------------------------------------------------------------------------------------------------------------
class Down(nn.Module):
    def __init__(self, inputs, outputs, separable):
        super().__init__()
        layers = [conv(inputs, outputs, 4, stride=2, padding=1, bias=True)]
        if separable:
            depthwise = conv(inputs, inputs, 3, padding=1, groups=inputs)
            layers = [Separable(depthwise=depthwise, pointwise=conv(inputs, outputs, 1))]
        pool = [nn.AvgPool2d(2)] * separable
        self.main = nn.Sequential(*layers, nn.BatchNorm2d(outputs), nn.LeakyReLU(0.2), *pool)

    def forward(self, x):
        return self.main(x)


class Separable(Tree):
    def forward(self, x):
        return self.pointwise(self.depthwise(x))


class Head(nn.Module):
    """Narrow: 8 maps at 8 pixels, half as many at twice the size."""

    def __init__(self, inputs, halvings, separable, labelled):
        super().__init__()
        widths = [inputs, *(8 >> i for i in reversed(range(halvings)))]
        downs = [Down(n, m, separable) for n, m in zip(widths, widths[1:])]
        self.labelled = labelled
        self.main = nn.Sequential(*downs, *([] if labelled else [conv(widths[-1], 1, 4)]))
        if labelled:
            self.cls, self.embed = conv(widths[-1], 64, 4), nn.Embedding(CLASSES, 128)
            self.embed_proj = nn.Sequential(nn.Linear(128, 64), nn.LeakyReLU(0.2))

    def forward(self, x, labels):
        x = self.main(x)
        if self.labelled:
            x = (self.cls(x) * self.embed_proj(self.embed(labels))[..., None, None]).sum(1) / 8
        return x.flatten(1)


class Heads(nn.Module):
    def __init__(self, widths, halvings, separable, labelled):
        super().__init__()
        heads = [Head(width, n, separable, labelled) for width, n in zip(widths, halvings)]
        self.discriminator = Tree(mini_discs=nn.ModuleDict({str(i): head for i, head in enumerate(heads)}))

    def forward(self, maps, labels):
        heads = self.discriminator.mini_discs.values()
        return torch.cat([head(x, labels) for head, x in zip(heads, maps)], 1)


# ---------------------------------------------------------------------------------------------------------------------
# Comparisons
# ---------------------------------------------------------------------------------------------------------------------
def randomized(net):
    """The net in float64 with every statistic and number drawn."""
    torch.manual_seed(0)
    net = net.double()
    for name, array in net.state_dict().items():
        if array.is_floating_point() and not name.endswith(("_orig", "_u", "_v")):
            drawn = torch.randn(array.shape, dtype=torch.float64)
            array.copy_(drawn.abs() + 0.5 if name.endswith("_var") else drawn)
    return net


def compare(theirs, inputs, state_dict, ours, **options):
    """In evaluation, and in training from the same states."""
    module, variables = ours
    for train in (False, True):
        theirs.load_state_dict(state_dict)
        with torch.no_grad():
            expected = theirs.train(train)(*inputs).numpy()
        to_last = lambda x: np.moveaxis(x.numpy(), 1, -1)
        arguments = jax.tree.map(to_last, inputs[0], is_leaf=torch.is_tensor), inputs[1].numpy()
        found, _ = module.apply(variables, *arguments, train=train, mutable=STATES, **options)
        # Sums of at most 1,000 products in a dozen layers in float64, rounded to 1e-16 each.
        np.testing.assert_allclose(found, np.moveaxis(expected, 1, -1), rtol=1e-9, atol=1e-10)


@pytest.mark.parametrize("lite, labelled", [(True, False), (False, True), (True, True)])
def test_generators(lite, labelled):
    theirs = randomized(FastGAN(lite, labelled))
    weights = {name: array.clone() for name, array in theirs.state_dict().items()}
    with jax.enable_x64(True):
        ours = from_torch(weights, family="projected_gan")
        module = ours[0]
        assert (module.image_size, module.channels, module.lite) == (16, WIDTH, lite)
        assert (module.num_classes, module.z_dim) == (CLASSES * labelled, Z)
        z = torch.randn(3, Z, dtype=torch.float64)
        compare(theirs, (z, torch.tensor(LABELS)), weights, ours, noise="none")


@pytest.mark.parametrize("separable, labelled, mixing", [(False, True, "none"), (True, True, "ccm")])
def test_discriminators(separable, labelled, mixing):
    taps = (24, 40, 112, 320)
    widths = taps if mixing == "none" else (2, 4, 8, 16)
    theirs = randomized(Heads(widths, (3, 2, 1, 0), separable, labelled))
    weights = {name: array.clone() for name, array in theirs.state_dict().items()}
    frozen = {f"feature_network.pretrained.{place(name)}": x for name, x in timm(0).items() if place(name)}
    for i, (tap, width) in enumerate(zip(taps, widths)) if mixing == "ccm" else ():
        prefix = f"feature_network.scratch.layer{i}_ccm"
        frozen |= {f"{prefix}.weight": np.zeros((width, tap, 1, 1)), f"{prefix}.bias": np.zeros(width)}
    with jax.enable_x64(True):
        ours = from_torch({**weights, **frozen}, family="projected_gan", net="D", resolution=0)
        module = ours[0]
        assert (module.mixing, module.separable, module.num_classes) == (mixing, separable, CLASSES * labelled)
        maps = [torch.randn(3, width, 33 >> i, 33 >> i, dtype=torch.float64) for i, width in enumerate(widths)]
        compare(theirs, (maps, torch.tensor(LABELS)), weights, ours, method="judge")


PLACES = (("conv_stem", "layer0.0"), ("bn1", "layer0.1"), ("blocks.0", "layer0.3"), ("blocks.1", "layer0.4"),
          ("blocks.2", "layer1.0"), ("blocks.3", "layer2.0"), ("blocks.4", "layer2.1"), ("blocks.5", "layer3.0"),
          ("blocks.6", "layer3.1"))  # fmt: skip


def place(name):
    """The name of a weight of timm's within the code's feature net; None: it is not there."""
    return next((name.replace(part, there, 1) for part, there in PLACES if name.startswith(f"{part}.")), None)
