"""The blur through which D sees all images in the beginning (Sauer et al. 2022, StyleGAN-XL, and its code): until it
has faded, D can tell real images and generated ones by coarse structure alone.
"""

import dataclasses

import jax
import jax.numpy as jnp

REACH = 3  # of the kernel, in sigmas; rounded down


@dataclasses.dataclass(frozen=True)
class Fading:
    """sigma: in pixels, at first. images: after which it is 0, linearly until then."""

    sigma: float
    images: float

    def at(self, seen) -> jax.Array:
        """sigma when G has learned from `seen` images."""
        return self.sigma * jnp.maximum(1 - seen / self.images, 0.0)

    def __call__(self, images: jax.Array, sigma: jax.Array) -> jax.Array:
        """images [N, H, W, C] blurred by `sigma`, at most the first one, along both axes; zero beyond their borders."""
        reach = int(REACH * self.sigma)
        kernel = lambda offsets: jnp.where(
            jnp.abs(offsets) <= jnp.floor(REACH * sigma), jnp.exp2(-jnp.square(offsets / jnp.maximum(sigma, 1e-8))), 0.0
        )
        total = kernel(jnp.arange(-reach, reach + 1)).sum()
        for axis, spec in ((1, "yk,nkxc->nyxc"), (2, "xk,nykc->nyxc")):
            places = jnp.arange(images.shape[axis])
            weights = kernel(places[:, None] - places) / total
            images = jnp.einsum(spec, weights.astype(images.dtype), images, precision=jax.lax.Precision.HIGHEST)
        return images
