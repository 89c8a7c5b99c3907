"""The shared part of the translations: the variables a module expects, and arrays out of a state dict with every
mismatch named."""

from collections.abc import Mapping

from flax import traverse_util
import jax
import jax.numpy as jnp
import numpy as np

from biggan_jax.errors import DataError
from biggan_jax.models import biggan, biggan_deep

GENERATORS = (biggan.Generator, biggan_deep.Generator)

Path = tuple[str, ...]  # collection, module names, variable: ("params", "block_0", "conv_1", "kernel")


def inputs(module) -> tuple[jax.ShapeDtypeStruct, jax.ShapeDtypeStruct]:
    """Shapes of what goes into a generator or discriminator for one image: z or the image, and the label."""
    is_generator = isinstance(module, GENERATORS)
    shape = (1, module.z_dim) if is_generator else (1, module.image_size, module.image_size, 3)
    return jax.ShapeDtypeStruct(shape, jnp.float32), jax.ShapeDtypeStruct((1,), jnp.int32)


def expected_shapes(module) -> dict[Path, tuple[int, ...]]:
    """Path and shape of every variable of a generator or discriminator. Nothing is computed."""
    variables = jax.eval_shape(module.init, jax.random.key(0), *inputs(module))
    return {path: leaf.shape for path, leaf in traverse_util.flatten_dict(variables).items()}


def nest(arrays: Mapping[Path, np.ndarray]) -> dict:
    """Variables for `module.apply`; dtypes stay (float64 becomes float32 where 64-bit types are off)."""
    return traverse_util.unflatten_dict({path: jnp.array(array) for path, array in arrays.items()})


def take(state_dict: Mapping[str, np.ndarray], key: str, shape: tuple[int | None, ...]) -> np.ndarray:
    """The floating point array `key`; a None in `shape` allows any size."""
    if key not in state_dict:
        raise DataError(f"the weights lack {key}")
    array = np.asarray(state_dict[key])
    fits = array.ndim == len(shape) and all(want in (None, have) for want, have in zip(shape, array.shape))
    if not fits or not jnp.issubdtype(array.dtype, jnp.floating):
        wanted = str(shape).replace("None", "any")
        raise DataError(f"the weights' {key} is {array.dtype} {array.shape}; this net needs floating point {wanted}")
    return array
