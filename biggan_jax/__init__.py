"""BigGAN in JAX. `biggan_jax.load(workdir)` gives a trained GAN; the commands are listed by `python -m biggan_jax`."""

from biggan_jax.version import __version__ as __version__


def load(workdir, step: int | None = None, ema: bool = True):
    """The GAN of a run or of converted weights, to sample from: see `biggan_jax.run.loading.load`."""
    from biggan_jax.run import loading  # here, so that importing the package does not import JAX

    return loading.load(workdir, step, ema)
