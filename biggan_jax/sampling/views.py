"""Views of a GAN on points: samples, D's output on the plane or line, the way from z to x."""

import functools

import jax
import numpy as np

from biggan_jax import data
from biggan_jax.devices import sharding
from biggan_jax.sampling import grids, scatter

NEAR = 1e-4  # of the highest density; below it an estimate says nothing
SHOWN = 20_000  # data at most beside samples: enough for densities on a line


def real_points(config) -> np.ndarray:
    """Points [N, D] of those that a run is trained on, as many as pictures need."""
    return data.some_points(config, min(SHOWN, config.data.get("num_examples", SHOWN)))


def bound(config) -> float:
    """Pictures show [-bound, bound] of every axis."""
    return data.support(config).bound


def view(
    trained,
    discriminator=None,
    seed: int = 0,
    title: str = "",
    truncation: float | None = None,
    mode: str | None = None,
) -> scatter.View:
    """The View of a TrainedGAN on points. discriminator: D's variables, for its output; None: without. title: its step
    where none is given.

    Where there are classes they have as many samples each, and D's output is the mean over them.
    """
    classes = max(trained.num_classes, 1)
    samples = trained.sample(np.arange(scatter.DRAWN) % classes, truncation, seed, mode, scatter.DRAWN)
    dim, path = samples.shape[1], None
    if dim == 1 and trained.config.model.z_dim == 1:
        z = np.sort(np.asarray(trained.gan.latents(jax.random.key(seed), np.arange(scatter.LINES))), axis=0)
        path = z[:, 0], trained.generate(z, np.zeros(len(z), int))[:, 0]
    field = best = None
    if discriminator is not None:
        field = output(trained.gan, discriminator, scatter.places(bound(trained.config), dim), classes)
        best = optimum(trained, samples) if dim == 1 and classes == 1 else None
    return scatter.View(title or f"step {trained.step}", samples, field, path, best)


def optimum(trained, samples: np.ndarray) -> np.ndarray | None:
    """What the best D for `samples` [N, 1] would give at `scatter.places`, by its loss; NaN where no point is near.

    Densities are kernel estimates, of the data too, so that both are blurred alike. None where the loss has no best D,
    or all samples are one.
    """
    loss = getattr(trained.gan, "loss", None)
    if loss is None or loss.optimum is None or np.ptp(samples) == 0:
        return None
    from scipy import stats  # takes half a second to import, and only this needs it

    places = scatter.places(bound(trained.config), 1)[:, 0]
    real, fake = (stats.gaussian_kde(points[:, 0])(places) for points in (real_points(trained.config), samples))
    near = np.minimum(real, fake) > NEAR * np.maximum(real.max(), fake.max())
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(near, loss.optimum(real, fake), np.nan)


def picture(trained, nets, dataset, seed: int) -> np.ndarray:
    """Samples as a run draws them of itself: over the data and the output of D, one of `nets`, NetStates by name."""
    return panel(trained, nets["discriminator"].variables, seed=seed)


def panel(trained, *of_view, **options) -> np.ndarray:
    """The picture of one `view`, uint8 [height, width, 3]."""
    return scatter.panels([view(trained, *of_view, **options)], real_points(trained.config), bound(trained.config))


def truncations(trained, seed: int = 0, mode: str | None = None) -> np.ndarray:
    """A panel per threshold."""
    name = lambda threshold: "no truncation" if threshold is None else f"truncation {threshold:g}"
    views = [view(trained, None, seed, name(t), t, mode) for t in grids.TRUNCATIONS]
    return scatter.panels(views, real_points(trained.config), bound(trained.config))


def output(gan, variables, places: np.ndarray, classes: int = 1) -> np.ndarray | None:
    """D's output at `places` [N, D], float32 [N], mean over labels 0 to classes - 1.

    None where the recipe has no D that gives a number for each point alone.
    """
    net = gan.nets.get("discriminator")
    if net is None or getattr(net.module, "mixes", False):
        return None
    labels = jax.ShapeDtypeStruct((len(places),), np.int32)
    shape = jax.eval_shape(lambda labels: _number(net.apply(variables, places, labels)), labels)
    if shape.shape != (len(places),):
        return None
    labels = (np.full(len(places), label, np.int32) for label in range(classes))
    return np.mean([_output(net, variables, places, label) for label in labels], axis=0)


@functools.partial(jax.jit, static_argnames="net")
def _output(net, variables, places, labels):
    numbers = _number(net.apply(variables, places, labels))
    if jax.sharding.get_abstract_mesh().empty:
        return numbers
    return jax.lax.with_sharding_constraint(numbers, sharding.REPLICATED)


def _number(output):
    """The logits, where a class head or features come with them."""
    return output[0] if isinstance(output, tuple) else output
