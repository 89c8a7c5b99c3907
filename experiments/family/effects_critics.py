"""What a critic learns beside samples that stay as they are: bounds on its weights or a penalty on its slope; the
distance that it tells, beside the divergence that a classifier tells.
"""

import functools

import jax
from jax import lax
import jax.numpy as jnp
from matplotlib.figure import Figure
import numpy as np
import optax

from biggan_jax.data import points
from biggan_jax.gans import losses, optimizers, penalties
from biggan_jax.gans.core import Net
from biggan_jax.models import mlp
from biggan_jax.sampling import scatter
from experiments.family import effects_runs as runs

BATCH, LOOKED_AT = 256, 4096  # points an update takes of real and fake; points that are measured
POINT = (jax.ShapeDtypeStruct((1, 2), jnp.float32),)
BOUNDS = {"clip 0.01": 0.01, "clip 0.1": 0.1, "penalty": None}
TARGETS = {"ring8": "8 Gaussians", "swiss_roll": "Swiss roll"}
CRITICS = {f"{name}: {kind}": (target, kind) for target, name in TARGETS.items() for kind in BOUNDS}
DISTANCES = {f"theta = {theta}": theta for theta in (0.1, 0.25, 0.5, 1.0)}
PENALTY = penalties.SlopePenalty("two_sided", 10.0, 1)


@functools.cache  # one object, so that what is compiled for it serves all seeds
def critic(widths: tuple[int, ...], bound: float | None = None) -> Net:
    """A fully connected critic, its weights within `bound` or, without one, to be held by a penalty."""
    optimizer = optimizers.adam(1e-3, 0.5, 0.9, 1e-8)
    if bound:
        optimizer = optax.chain(optimizers.rmsprop(5e-4, 0.99, 1e-8), optimizers.clipped(bound))
    return Net("d", mlp.Discriminator(widths, nonlinearity="relu"), POINT, optimizer)


def objective(params, net, loss, penalty, real, fake, key):
    """D's loss on two batches of points."""
    judge = lambda x: net.apply({"params": params}, x)
    value = loss.d(judge(real), judge(fake))
    return value + penalty.weigh(penalty(judge, real, fake, key)) if penalty else value


@functools.partial(jax.jit, static_argnames=("net", "loss", "penalty", "draw"))
def trained(net, loss, penalty, draw, of, key, steps):
    """Parameters of D after so many updates on `draw(of, BATCH, key)`, real and fake points."""

    def update(i, state):
        draw_key, mix_key = jax.random.split(jax.random.fold_in(key, i))
        gradient = jax.grad(objective)(state.params, net, loss, penalty, *draw(of, BATCH, draw_key), mix_key)
        return net.descend(state, gradient)

    return lax.fori_loop(0, steps, update, net.init(key)).params


def noisy(data, count: int, key):
    """Real points out of `data` [N, 2], and others with noise of N(0, 1): the fixed generator of Gulrajani et al. 2017,
    Section 2.3.
    """
    real_key, fake_key, noise_key = jax.random.split(key, 3)
    pick = lambda key: data[jax.random.randint(key, (count,), 0, len(data))]
    return pick(real_key), pick(fake_key) + jax.random.normal(noise_key, (count, 2))


def apart(theta, count: int, key):
    """Two Gaussians of deviation 0.1 at a distance of theta."""
    real, fake = 0.1 * jax.random.normal(key, (2, count, 2))
    return real, fake + jnp.array([theta, 0.0])


def run_critics(row: str, seed: int, workdir: str, steps: int | None) -> runs.Run:
    target, kind = CRITICS[row]
    bound = BOUNDS[kind]
    penalty = None if bound else PENALTY
    data, key = jnp.asarray(points.load(target, "train", 10_000).arrays["point"]), jax.random.key(seed)
    net = critic((64,) * 4, bound)
    params = trained(net, losses.wasserstein, penalty, noisy, data, key, steps or 1500)
    judge = lambda x: net.apply({"params": params}, x)
    deep = critic((64,) * 12, bound)
    deep_params = trained(deep, losses.wasserstein, penalty, noisy, data, key, steps or 600)
    slopes = _slopes(judge)
    weights = jnp.concatenate([leaf.ravel() for leaf in jax.tree.leaves(params)])
    scores = {
        "mean slope": slopes.mean(),
        "deviation of slopes": slopes.std(),
        "weights at the bound": jnp.mean(jnp.abs(weights) > 0.999 * bound) if bound else np.nan,
        "mean slope, 12 layers": _slopes(lambda x: deep.apply({"params": deep_params}, x)).mean(),
    }
    field = judge(scatter.places(points.DISTRIBUTIONS[target].bound, 2))
    fake = noisy(data, scatter.DRAWN // 2, key)[1]
    return runs.Run(jax.tree.map(float, scores), {"field": np.asarray(field), "samples": np.asarray(fake)})


def _slopes(judge):
    """Those of a critic at places evenly spread over [-2, 2]^2."""
    axis = jnp.linspace(-2, 2, 64)
    return penalties.slopes(judge, jnp.stack(jnp.meshgrid(axis, axis), -1).reshape(-1, 2))


def draw_critics(found: dict[str, runs.Run]) -> np.ndarray:
    pictures = []
    for target in dict.fromkeys(CRITICS[row][0] for row in found):
        rows = {row: one.shown for row, one in found.items() if CRITICS[row][0] == target}
        views = [scatter.View(row, shown["samples"], shown["field"]) for row, shown in rows.items()]
        real = points.load(target, "train", scatter.DRAWN).arrays["point"]
        pictures.append(scatter.panels(views, real, points.DISTRIBUTIONS[target].bound))
    return np.concatenate(pictures)


def run_distance(row: str, seed: int, workdir: str, steps: int | None) -> runs.Run:
    theta, key = DISTANCES[row], jax.random.key(seed)
    net = critic((128, 128))
    real, fake = apart(theta, LOOKED_AT, jax.random.key(2**31 + seed))
    scores = {}
    for name, loss, penalty in (("JSD", losses.non_saturating, None), ("W", losses.wasserstein, PENALTY)):
        params = trained(net, loss, penalty, apart, theta, key, steps or 600)
        judge = lambda x, params=params: net.apply({"params": params}, x)
        (scores[f"{name} estimate"],) = loss.distance(loss.d(judge(real), judge(fake))).values()
        pull = {"saturating": losses.saturating, "non-saturating": losses.non_saturating}
        for kind, of_g in pull.items() if name == "JSD" else {"critic": loss}.items():
            scores[f"gradient, {kind}"] = _pull(of_g, judge, fake)
    return runs.Run(jax.tree.map(float, scores), {})


def _pull(loss, judge, fake):
    """The mean length of what G's loss says to each of its samples."""
    gradient = jax.grad(lambda x: len(x) * loss.g(judge(x)))(fake)
    return jnp.linalg.norm(gradient, axis=1).mean()


def draw_distance(found: dict[str, runs.Run]) -> np.ndarray:
    figure = Figure(figsize=(8, 3), layout="constrained")
    left, right = figure.subplots(1, 2)
    theta = [DISTANCES[row] for row in found]
    for name in next(iter(found.values())).scores:
        axes = right if name.startswith("gradient") else left
        values = [one.scores[name] for one in found.values()]
        axes.plot(theta, values, marker="o", label=name.removeprefix("gradient, "))
    left.axhline(np.log(2), color="#999999", linewidth=1, linestyle="--", label="log 2")
    left.set(xlabel="distance theta of two Gaussians", title="estimate")
    right.set(xlabel="distance theta of two Gaussians", title="gradient at G's samples", yscale="log")
    for axes in (left, right):
        axes.legend(fontsize=8)
    return runs.pixels(figure)


CLIPPING = runs.Effect("Clipping against penalty", tuple(CRITICS), run_critics, draw_critics)
DISTANCE = runs.Effect("Distance against divergence", tuple(DISTANCES), run_distance, draw_distance)
