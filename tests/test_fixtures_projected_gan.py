"""Projected GAN and FastGAN beside recorded numbers of the authors' code: the feature net, the projections, the heads
in evaluation and in training, and the generator.
"""

import functools
import zlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from biggan_jax.gans import losses
from biggan_jax.models import projected
from biggan_jax.pretrained import from_torch, read_efficientnet_lite
from tests import fixtures, recorded

pytestmark = fixtures.needs_fixtures
# Computed in float64 there and here, and stored as float32.
STATES = ["batch_stats", "spectral_stats"]
STAGES = {0: "layer0.3", 1: "layer0.4", 2: "layer1.0", 3: "layer2.0", 4: "layer2.1", 5: "layer3.0", 6: "layer3.1"}


@pytest.fixture(autouse=True)
def double():
    with jax.enable_x64(True):
        yield


# ---------------------------------------------------------------------------------------------------------------------
# The discriminator
# ---------------------------------------------------------------------------------------------------------------------
def weight(name: str, shape: tuple[int, ...]) -> np.ndarray:
    """The recorded nets' weights are drawn from the names."""
    rng = np.random.RandomState(zlib.crc32(name.encode()))
    if len(shape) == 4:
        array = rng.randn(*shape) * np.sqrt(2 / np.prod(shape[1:]))
    elif len(shape) == 2:
        array = rng.randn(*shape) * np.sqrt(1 / shape[1])
    elif name.endswith("weight"):
        array = rng.uniform(0.5, 1.5, shape)
    else:
        array = rng.randn(*shape) * 0.1
    return array.astype(np.float32).astype(np.float64)


@functools.cache
def weights(kind: str) -> dict[str, np.ndarray]:
    """Of "timm", "proj" or "disc", under their names there."""
    found = recorded.load("projgan_lite0_64")
    listed = zip(found["names"].tolist(), found["shapes"].tolist())
    shapes = {name: tuple(int(n) for n in shape.split(",")) for name, shape in listed}
    drawn = {name: weight(name.partition(":")[2], shape) for name, shape in shapes.items()}
    return recorded.under(drawn | recorded.under(found, "sd/"), f"{kind}:")


def in_checkpoint(name: str) -> str | None:
    """The name that a weight of timm's has in a checkpoint of the code; None for the classifier's."""
    part, _, rest = name.partition(".")
    if part == "blocks":
        stage, _, rest = rest.partition(".")
        return f"feature_network.pretrained.{STAGES[int(stage)]}.{rest}"
    place = {"conv_stem": "layer0.0", "bn1": "layer0.1"}.get(part)
    return place and f"feature_network.pretrained.{place}.{rest}"


@functools.cache
def checkpoint() -> dict[str, np.ndarray]:
    features = {in_checkpoint(name): array for name, array in weights("timm").items() if in_checkpoint(name)}
    return (
        features
        | recorded.prefixed("feature_network.", weights("proj"))
        | recorded.prefixed("discriminator.", weights("disc"))
    )


@functools.cache
def discriminator():
    return from_torch(checkpoint(), family="projected_gan", net="D")


@functools.cache
def images():
    """Two real ones, then two fakes."""
    found = recorded.load("projgan_lite0_64")
    return jnp.concatenate([found["real_nhwc"], found["fake_nhwc"]])


@functools.cache
def maps():
    """Of all images, which do not mix here: as they come from the feature net, and as the heads get them."""
    module, variables = discriminator()

    def both(module, images):
        features = module.backbone(projected.enlarged(images, module.resolution))
        return features, module.projection(features)

    frozen = {name: variables[name] for name in ("features", "projection")}
    return jax.jit(lambda frozen, x: module.apply(frozen, x, method=both))(frozen, images())


def test_features_and_projections():
    found = recorded.load("projgan_lite0_64")
    module, variables = discriminator()
    enlarged = projected.enlarged(images()[:2], 224)
    np.testing.assert_allclose(enlarged[:, ::8, ::8], found["resized_sub8_nhwc"], atol=1e-6)
    features, csm = maps()
    only_channels = projected.Projection(module.channels, "ccm")
    ccm = only_channels.apply({"projection": variables["projection"]["projection"]}, features)
    for kind, of_kind in {"feat": features, "ccm": ccm, "csm": csm}.items():
        for i, x in enumerate(of_kind):
            (key,) = [key for key in found if key.startswith(f"{kind}{i}_nhwc_stride")]
            stride = int(key.rpartition("stride")[2])
            x = np.asarray(x[:2])
            recorded.compare({key: x[:, ::stride, ::stride]}, {key: found[key]})
            np.testing.assert_allclose(np.linalg.norm(x), found[f"{kind}{i}_norm"], rtol=1e-6)


def test_logits():
    found = recorded.load("projgan_lite0_64")
    module, variables = discriminator()
    judge = jax.jit(lambda variables, maps: module.apply(variables, maps, method="judge"))
    with recorded.optimized():
        logits = judge(variables, maps()[1])
    recorded.compare({"real": logits[:2], "fake": logits[2:]}, recorded.under(found, "eval/logits_"))


def test_timms_own_checkpoint_gives_the_same_feature_net():
    module, variables = read_efficientnet_lite(weights("timm"))
    assert module == discriminator()[0].features
    jax.tree.map(np.testing.assert_array_equal, variables, discriminator()[1]["features"]["backbone"]["variables"])


class Pass:
    """A pass of the heads in training: logits, the mean of max(floor, offset + sign * logits), its gradients with
    respect to the parameters and the maps, and the states after it.
    """

    def __init__(self, variables, maps, sign, offset=0.0, floor=-np.inf):
        with recorded.optimized():
            self.logits, self.loss, self.gradient, self.of_maps, states = _pass(variables, maps, sign, offset, floor)
        self.variables = {**variables, **states}


@jax.jit
def _pass(variables, maps, sign, offset, floor):
    module, _ = discriminator()

    def loss(params, maps):
        net = {**variables, "params": params}
        logits, states = module.apply(net, maps, train=True, mutable=STATES, method="judge")
        return jnp.mean(jnp.maximum(floor, offset + sign * logits)), (logits, states)

    differentiate = jax.value_and_grad(loss, (0, 1), has_aux=True)
    (value, (logits, states)), (gradient, of_maps) = differentiate(variables["params"], maps)
    return logits, value, gradient, of_maps, states


HINGE = dict(offset=1.0, floor=0.0)


@functools.cache
def names():
    named = recorded.names(from_torch, checkpoint(), family="projected_gan", net="D")
    return {path: name.removeprefix("discriminator.") for path, name in named.items()}


@pytest.mark.slow
def test_losses_and_gradients_of_the_heads():
    found = recorded.load("projgan_lite0_64")
    _, variables = discriminator()
    real, fake = [x[:2] for x in maps()[1]], [x[2:] for x in maps()[1]]
    g = Pass(variables, fake, -1.0)
    d_fake, d_real = Pass(variables, fake, 1.0, **HINGE), Pass(variables, real, -1.0, **HINGE)
    recorded.compare({"fake": g.logits, "real": d_real.logits}, recorded.under(found, "train/logits_"))
    np.testing.assert_allclose(g.loss, found["train/G_loss"], rtol=1e-6)
    np.testing.assert_allclose(g.loss, losses.hinge.g(g.logits), rtol=1e-12)
    by_head = np.split(np.asarray(g.logits), np.cumsum(found["logits_per_head"])[:-1], 1)
    np.testing.assert_allclose(-sum(x.mean() for x in by_head), found["train/G_loss_sum_over_heads"], rtol=1e-6)
    for name, done in {"fake": d_fake, "real": d_real}.items():
        np.testing.assert_allclose(done.loss, found[f"train/D_loss_{name}"], rtol=1e-6)
        norms = recorded.norms(done.gradient, names())
        wanted = recorded.under(found, f"train/grad_norm_{name}/")
        # Biases before BatchNorm have no gradient but rounding.
        recorded.compare(norms, wanted, rtol=1e-6, atol=1e-7)
    np.testing.assert_allclose(losses.hinge.d(d_real.logits, d_fake.logits), d_real.loss + d_fake.loss, rtol=1e-12)
    after = recorded.renamed({name: d_real.variables[name] for name in STATES}, names())
    wanted = recorded.under(found, "train/after_real/")
    for name, value in wanted.items():  # vectors of maps stand in another order
        np.testing.assert_allclose(np.sort(after[name].ravel()), np.sort(value.ravel()), atol=1e-6, err_msg=name)


@pytest.mark.slow
def test_passes_in_the_codes_order():
    found = recorded.load("projgan_lite0_64")
    _, variables = discriminator()
    real, fake = [x[:2] for x in maps()[1]], [x[2:] for x in maps()[1]]
    g = Pass(variables, fake, -1.0)
    d_fake = Pass(g.variables, fake, 1.0, **HINGE)
    d_real = Pass(d_fake.variables, real, -1.0, **HINGE)
    total = jax.tree.map(jnp.add, d_fake.gradient, d_real.gradient)
    ours = [g.loss, d_fake.loss, d_real.loss, jnp.sqrt(sum(jnp.sum(x**2) for x in jax.tree.leaves(total)))]
    recorded.compare(dict(zip(sorted(recorded.under(found, "seq/")), ours)), recorded.under(found, "seq/"))


@pytest.mark.slow
def test_the_gradient_at_the_image():
    found = recorded.load("projgan_lite0_64")
    module, variables = discriminator()
    g = Pass(variables, [x[2:] for x in maps()[1]], -1.0)

    @jax.jit
    def pulled(x, cotangent):
        return jax.vjp(lambda x: module.apply(variables, x, method="project"), x)[1](cotangent)[0]

    with recorded.optimized():
        gradient = pulled(images()[2:], g.of_maps)
    recorded.compare({"": gradient}, {"": found["train/grad_image_nhwc"]})
    np.testing.assert_allclose(np.linalg.norm(gradient), found["train/grad_image_norm"], rtol=1e-6)


# ---------------------------------------------------------------------------------------------------------------------
# The generator
# ---------------------------------------------------------------------------------------------------------------------
@functools.cache
def generator():
    """`(module, variables, names)`, with the recorded noise."""
    module, variables, named = recorded.read("fastgan_128", "fastgan", "generator")
    number = iter(range(1, 11))
    noise = {}
    for size in (8, 16, 32, 64, 128):
        drawn = lambda: np.random.RandomState(next(number)).randn(2, 1, size, size)[:, 0]
        noise[f"block_{size}"] = {f"noise_{i}": {"const": jnp.asarray(drawn())} for i in range(2)}
    return module, {**variables, "noise": noise}, named


def test_images():
    found = recorded.load("fastgan_128")
    module, variables, _ = generator()
    drawn = jax.jit(module.apply)(variables, found["z"])
    recorded.compare({"G": drawn[:, ::2, ::2]}, {"G": found["eval/G_nhwc_stride2"]})
    np.testing.assert_allclose(np.linalg.norm(drawn), found["eval/G_norm"], rtol=1e-6)


@pytest.mark.slow
def test_images_and_gradients_in_training():
    found = recorded.load("fastgan_128")
    module, variables, named = generator()
    probe = np.cos(np.arange(2 * 3 * 128 * 128)).reshape(2, 3, 128, 128).transpose(0, 2, 3, 1)

    @jax.jit
    @functools.partial(jax.value_and_grad, has_aux=True)
    def loss(params):
        net = {**variables, "params": params}
        drawn, states = module.apply(net, found["z"], train=True, noise="const", mutable=STATES)
        return jnp.mean(drawn * probe), (drawn, states)

    (value, (drawn, states)), gradient = loss(variables["params"])
    recorded.compare({"G": drawn[:, ::2, ::2]}, {"G": found["train/G_nhwc_stride2"]})
    np.testing.assert_allclose(np.linalg.norm(drawn), found["train/G_norm"], rtol=1e-6)
    np.testing.assert_allclose(value, found["train/probe_loss"], rtol=1e-6)
    wanted = recorded.under(found, "train/grad_norm/")
    largest = max(wanted.values())
    recorded.compare(recorded.norms(gradient, named), wanted, rtol=1e-6, atol=1e-9 * largest)
    after = recorded.renamed(states, named)
    for name, value in recorded.under(found, "after_train/").items():
        np.testing.assert_allclose(np.sort(after[name].ravel()), np.sort(value.ravel()), atol=1e-6, err_msg=name)
