"""BigGAN in JAX. `biggan_jax.load(workdir)` gives a trained generator; the commands are `python -m biggan_jax.VERB`."""


def load(workdir, step: int | None = None, ema: bool = True):
    """The generator of a run or of converted weights, see `biggan_jax.model.load`."""
    from biggan_jax.run import trained as model

    return model.load(workdir, step, ema)
