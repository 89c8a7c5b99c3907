"""What is watched in a run besides its losses: signs of collapse (Brock et al. 2018, Section 4 and Appendix F).

Before a collapse the top singular values of G's first layers grow without bound; D's accuracy on the images it trains
on nears 1 while that on held-out images stays near chance: it has memorized them. After it, samples lose their
variety.
"""

import functools
import operator

import jax
from jax import lax
import jax.numpy as jnp
import numpy as np

from biggan_jax.gans import latents
from biggan_jax.errors import CollapsedError
from biggan_jax.train_step import to_float

TOP = 3  # singular values recorded of each layer, as the paper's Figure 3
EXACT_UP_TO = 256  # rows of the smaller Gram matrix up to which its eigenvalues are computed; above, they are estimated
ITERATIONS = 8  # of the estimate, at each look; it goes on from the last look's vectors
IMAGES = 256  # real images, held-out images and samples looked at


def top_singular_value(weight: jax.Array) -> jax.Array:
    """The largest singular value of a weight [..., outputs] as a matrix, exactly, through its smaller Gram matrix."""
    return exact_singular_values(as_matrix(weight))[0]


def as_matrix(weight: jax.Array) -> jax.Array:
    """A weight [..., outputs] as the matrix [inputs, outputs] that spectral normalisation takes, transposed where that
    has fewer rows.
    """
    matrix = weight.reshape(-1, weight.shape[-1])
    return matrix if matrix.shape[0] < matrix.shape[1] else matrix.T


def exact_singular_values(matrix: jax.Array) -> jax.Array:
    """The largest TOP (or all, if fewer) singular values of `matrix` [K, N], K <= N, largest first."""
    gram = jnp.matmul(matrix, matrix.T, precision=lax.Precision.HIGHEST)
    return jnp.sqrt(jnp.maximum(jnp.linalg.eigvalsh(gram)[::-1][:TOP], 0.0))


def estimated_singular_values(matrix: jax.Array, vectors: jax.Array) -> tuple[jax.Array, jax.Array]:
    """The same by subspace iteration from `vectors` [K, TOP + 2], and the vectors to go on from. Estimates are from
    below.
    """
    product = functools.partial(jnp.matmul, precision=lax.Precision.HIGHEST)
    step = lambda _, v: jnp.linalg.qr(product(matrix, product(matrix.T, v)))[0]
    vectors = lax.fori_loop(0, ITERATIONS, step, vectors)
    return exact_singular_values(product(matrix.T, vectors).T), vectors


def weights(g_params, d_params) -> dict[str, jax.Array]:
    """The matrices of both nets, by name such as `g/block_0/conv_1`; per-class tables are left out."""
    found = {}
    for net, params in (("g", g_params), ("d", d_params)):
        for path, leaf in jax.tree_util.tree_leaves_with_path(params):
            if path[-1].key == "kernel" and leaf.ndim >= 2:
                found["/".join([net, *(key.key for key in path[:-1])])] = as_matrix(leaf)
    return found


def first_vectors(g_params, d_params) -> dict[str, jax.Array]:
    """Where the estimates start: random vectors, the same for every run."""
    large = {name: m.shape[0] for name, m in weights(g_params, d_params).items() if m.shape[0] > EXACT_UP_TO}
    return {name: jax.random.normal(jax.random.key(rows), (rows, TOP + 2)) for name, rows in large.items()}


def spectra(g_params, d_params, vectors) -> tuple[dict[str, jax.Array], dict[str, jax.Array]]:
    """`spectrum/LAYER/1` to `/3` of every layer, before normalisation, and the vectors for the next look."""
    values, new_vectors = {}, {}
    for name, matrix in weights(g_params, d_params).items():
        if name in vectors:
            top, new_vectors[name] = estimated_singular_values(matrix, vectors[name])
        else:
            top = exact_singular_values(matrix)
        values |= {f"spectrum/{name}/{i + 1}": top[i] for i in range(top.shape[0])}
    return values, new_vectors


@jax.jit
def edge_singular_values(g_params, d_params) -> dict[str, jax.Array]:
    """Top singular values, before normalisation, of the first and last layers of both nets, where collapse shows."""
    d_first = d_params["input_conv"] if "input_conv" in d_params else d_params["block_0"]["conv_1"]
    layers = {
        "sigma/g_first": g_params["linear"],
        "sigma/g_last": g_params["output_conv"],
        "sigma/d_first": d_first,
        "sigma/d_last": d_params["linear"],
    }
    return {name: top_singular_value(layer["kernel"]) for name, layer in layers.items()}


def judgement(generator, discriminator, state, reals: dict) -> dict[str, jax.Array]:
    """D's accuracy on each set of `reals`, name -> (uint8 [N, H, W, 3], labels [N]), "train" among them, and on
    samples; and their variety.

    Accuracy is the share that D gives the right sign. Variety is the mean over pixels of the standard deviation of N
    samples, relative to that of "train": 1 is as varied as real images, 0 is one image. Nothing of the state changes.
    """
    accuracy = lambda logits, sign: (sign * logits > 0).mean()
    judge = lambda images, labels: discriminator.apply(state.d.variables, images, labels, train=False)
    found = {
        f"d_accuracy/{name}": accuracy(judge(to_float(images), labels), 1) for name, (images, labels) in reals.items()
    }
    train, labels = reals["train"]
    z = latents.sample_z(jax.random.key(0), (len(labels), generator.z_dim))
    samples = generator.apply(state.g.variables, z, labels, train=False)
    found["d_accuracy/samples"] = accuracy(judge(samples, labels), -1)
    spread = lambda images: images.std(axis=0).mean()
    return found | {"variety": spread(samples) / spread(to_float(train))}


class Monitor:
    """Looks at a state now and then. The images it looks at are the first IMAGES of each data set, in an order of its
    own.
    """

    def __init__(self, gan, datasets: dict, where):
        """`datasets`: "train" and, if there is one, "held_out". `where`: the sharding of everything, replicated."""
        self._reals = {
            name: jax.tree.map(lambda x: jax.device_put(x, where), _some(dataset)) for name, dataset in datasets.items()
        }
        self._spectra = jax.jit(spectra, out_shardings=where)
        self._judgement = jax.jit(functools.partial(judgement, gan.generator, gan.discriminator), out_shardings=where)
        self._first_vectors = jax.jit(first_vectors, out_shardings=where)
        self._vectors = None

    def __call__(self, state) -> dict[str, jax.Array]:
        if self._vectors is None:
            self._vectors = self._first_vectors(state.g.params, state.d.params)
        values, self._vectors = self._spectra(state.g.params, state.d.params, self._vectors)
        return values | self._judgement(state, self._reals)


def _some(dataset) -> tuple[np.ndarray, np.ndarray]:
    indices = np.random.PCG64(0).random_raw(min(IMAGES, len(dataset.labels))) % len(dataset.labels)
    indices = indices.astype(np.int64)
    return np.asarray(dataset.images[indices]), dataset.labels[indices]


# Record, config key below `collapse`, and which side of the limit is collapse.
LIMITS = (
    ("sigma/g_first", "max_sigma", operator.gt),
    ("d_accuracy/train", "max_d_accuracy", operator.gt),
    ("variety", "min_variety", operator.lt),
    ("FID over its least", "max_fid_ratio", operator.gt),
)


def check_collapse(step: int, values: dict[str, float], limits) -> None:
    """Raises CollapsedError when a record has passed one of the config's `collapse` limits that is not 0."""
    for name, key, beyond in LIMITS:
        if limits[key] and name in values and beyond(values[name], limits[key]):
            raise CollapsedError(
                f"step {step}: {name} is {values[name]:.4g}, the limit config.run.collapse.{key} is {limits[key]:g}. "
                "The checkpoints are kept; --config.init_from=RUN@STEP starts a new run from one of them"
            )
