"""Watching a run, besides its losses: signs of collapse (Brock et al. 2018, Section 4 and Appendix F).

Before a collapse the top singular values of G's first layers grow without bound; D tells the images it trains on from
held-out ones: it has memorized them. After it, samples lose their variety, and D tells them from real images without
fail. How well it does is measured by the order of its outputs: a common offset, which changes from step to step, moves
its accuracy between 0 and 1.
"""

import functools
import operator

import jax
from jax import lax
import jax.numpy as jnp
import numpy as np

from biggan_jax.data.dataset import rows
from biggan_jax.errors import CollapsedError, DivergedError, UsageError
from biggan_jax.gans.pair import Pair

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


def matrices(gan, nets) -> dict[str, jax.Array]:
    """The weights of all nets that learn as matrices, by name such as `g/block_0/conv_1`; per-class tables are left
    out.

    `nets`: NetStates by name.
    """
    found = {}
    for name, net in gan.nets.items():
        learned = {} if net.optimizer is None else nets[name].params
        for path, leaf in jax.tree_util.tree_leaves_with_path(learned):
            if path[-1].key == "kernel" and leaf.ndim >= 2:
                found["/".join([net.symbol, *(key.key for key in path[:-1])])] = as_matrix(leaf)
    return found


def first_vectors(gan, nets) -> dict[str, jax.Array]:
    """Where the estimates start: random vectors, the same for every run."""
    large = {name: m.shape[0] for name, m in matrices(gan, nets).items() if m.shape[0] > EXACT_UP_TO}
    return {name: jax.random.normal(jax.random.key(rows), (rows, TOP + 2)) for name, rows in large.items()}


def spectra(gan, nets, vectors) -> tuple[dict[str, jax.Array], dict[str, jax.Array]]:
    """`spectrum/LAYER/1` to `/3` of every layer, before normalisation, and the vectors for the next look."""
    values, new_vectors = {}, {}
    for name, matrix in matrices(gan, nets).items():
        if name in vectors:
            top, new_vectors[name] = estimated_singular_values(matrix, vectors[name])
        else:
            top = exact_singular_values(matrix)
        values |= {f"spectrum/{name}/{i + 1}": top[i] for i in range(top.shape[0])}
    return values, new_vectors


@functools.partial(jax.jit, static_argnames="gan")
def watched_weights(gan, nets) -> dict[str, jax.Array]:
    """Top singular values, before normalisation, of the layers that each net names to be watched: `sigma/g_first`; and
    the largest weight of all nets.
    """
    weights = jax.tree.leaves([state.params for state in nets.values()])
    found = {"weight/largest": jnp.stack([jnp.abs(weight).max() for weight in weights]).max().astype(jnp.float32)}
    for name, net in gan.nets.items():
        for place, path in net.watched.items():
            layer = functools.reduce(lambda tree, key: tree[key], path, nets[name].params)
            found[f"sigma/{net.symbol}_{place}"] = top_singular_value(layer["kernel"])
    return found


def auc(above: jax.Array, below: jax.Array) -> jax.Array:
    """The share of pairs of `above` [N] and `below` [M] in which the first is larger, equal ones counting half: the
    area under the ROC curve (Mann-Whitney U / NM).
    """
    return ((above[:, None] > below).mean() + (above[:, None] >= below).mean()) / 2


def separation(gan: Pair, nets, reals: dict) -> dict[str, jax.Array]:
    """How well D's outputs tell the images of `reals["train"]` from samples with their labels, `d_auc/samples`, and
    from the other `reals`, `d_auc/NAME`: 0.5 not at all, 1 without fail. See `watched` for the arguments.
    """
    labels = reals["train"]["label"]
    variables = {name: state.variables for name, state in nets.items()}
    samples = gan.sample(variables, jax.random.key(0), jnp.arange(len(labels)), {"label": labels}, None)
    of = {name: gan.logits(nets, gan.reals(batch), batch["label"]) for name, batch in reals.items()}
    train = of.pop("train")
    of["samples"] = gan.logits(nets, samples, labels)
    return {f"d_auc/{name}": auc(train, below) for name, below in of.items()}


def watched(gan, nets, reals: dict) -> dict[str, jax.Array]:
    """Records of what the recipe watches (`GAN.watch`) of each set of `reals`, name -> batch, "train" among them; of
    all but "train" those that end in /real. Of one with logits also how D separates the sets.
    """
    found = separation(gan, nets, reals) if isinstance(gan, Pair) and gan.loss else {}
    for split, batch in reals.items():
        for name, value in gan.watch(nets, batch, jax.random.key(0)).items():
            what, _, of = name.rpartition("/")
            if of == "real":
                found[f"{what}/{split}"] = value
            elif split == "train":
                found[name] = value
    return found


class Monitor:
    """Looks at a state now and then. The images it looks at are the first IMAGES of each data set, in an order of its
    own.
    """

    def __init__(self, gan, datasets: dict, where):
        """`datasets`: "train" and, if there is one, "held_out". `where`: the sharding of everything, replicated."""
        self._reals = jax.device_put({name: _some(dataset) for name, dataset in datasets.items()}, where)
        self._spectra = jax.jit(functools.partial(spectra, gan), out_shardings=where)
        self._watched = jax.jit(functools.partial(watched, gan), out_shardings=where)
        self._first_vectors = jax.jit(functools.partial(first_vectors, gan), out_shardings=where)
        self._vectors = None

    def records(self, state) -> set[str]:
        """Names of what the recipe watches; `state` may be abstract."""
        return set(jax.eval_shape(self._watched, state.nets, self._reals))

    def __call__(self, state) -> dict[str, jax.Array]:
        if self._vectors is None:
            self._vectors = self._first_vectors(state.nets)
        values, self._vectors = self._spectra(state.nets, self._vectors)
        return values | self._watched(state.nets, self._reals)


def _some(dataset) -> dict[str, np.ndarray]:
    found = {}
    for stream in dataset.streams:
        indices = np.argsort(np.random.PCG64(0).random_raw(rows(stream)))[:IMAGES]
        found |= {name: np.asarray(array[indices]) for name, array in stream.items()}
    return found


def check_divergence(step: int, values: dict[str, float], limits) -> None:
    """Raises DivergedError when a loss, gradient norm or weight has passed a limit of the config's `run.divergence`; 0
    is no limit.
    """
    kinds = {
        "max_loss": lambda name: name.startswith(("loss/", "class_loss/")),
        "max_grad_norm": lambda name: name.startswith("grad_norm/"),
        "max_weight": lambda name: name == "weight/largest",
    }
    for key, is_kind in kinds.items():
        for name, value in values.items():
            if limits[key] and is_kind(name) and abs(value) > limits[key]:
                raise DivergedError(
                    f"step {step}: {name} is {value:.4g}, the limit config.run.divergence.{key} is {limits[key]:g}"
                )


def lifeless(values: dict[str, float]) -> str | None:
    """A remark on samples that no training leads back from, by the records of a look at them; None for others."""
    if values.get("range/samples", 2.0) < 1 / 255 <= values.get("range/train", 2.0):
        return "all samples are of one colour"
    if values.get("saturated/samples", 0.0) > 0.999 and values["saturated/train"] < 0.95:
        return "all values of samples are at the ends of their range"
    if values.get("variety", 1.0) < 1e-6:
        return "all samples are alike"
    return None


SCORE_RATIO = "score over its least"
# Record, config key below `run.collapse`, and which side of the limit is collapse.
LIMITS = (
    ("sigma/g_first", "max_sigma", operator.gt),
    ("d_auc/samples", "max_d_auc", operator.gt),
    ("d_auc/held_out", "max_d_auc_held_out", operator.gt),
    ("variety", "min_variety", operator.lt),
    (SCORE_RATIO, "max_fid_ratio", operator.gt),
)


def check_limits(config, monitor: Monitor | None, program) -> None:
    """Raises UsageError for a limit on what this run does not record: it would never be reached."""
    state = program.abstract_state()
    recorded = set(jax.eval_shape(functools.partial(watched_weights, program.gan), state.nets))
    recorded |= monitor.records(state) if monitor else set()
    recorded |= {SCORE_RATIO} if config.run.evaluate_every else set()
    for name, key, _ in LIMITS:
        if config.run.collapse[key] and name not in recorded:
            raise UsageError(
                f"config.run.collapse.{key} is {config.run.collapse[key]:g}, but this run does not record {name}: it "
                "needs run.evaluate_every for scores, run.monitor_every for the others, run.monitor_split for "
                "held_out, and a recipe whose D gives logits for d_auc; it must be 0"
            )


def passed_limit(values: dict[str, float], limits) -> str | None:
    """A remark on the first record that has passed one of the config's `run.collapse` limits that is not 0."""
    for name, key, beyond in LIMITS:
        if limits[key] and values.get(name) is not None and beyond(values[name], limits[key]):
            return f"{name} is {values[name]:.4g}, the limit config.run.collapse.{key} is {limits[key]:g}"
    return None


def check_collapse(step: int, values: dict[str, float], limits) -> None:
    """Raises CollapsedError when a record has passed a limit."""
    if passed := passed_limit(values, limits):
        raise CollapsedError(f"step {step}: {passed}")
