"""BigGAN in JAX. `biggan_jax.load(workdir)` gives a trained generator; the commands are `python -m biggan_jax.VERB`."""


def load(workdir, step: int | None = None, ema: bool = True):
    """The generator of a run or of converted weights, see `biggan_jax.model.load`."""
    from biggan_jax import model  # here, so that importing the package does not import JAX

    return model.load(workdir, step, ema)
