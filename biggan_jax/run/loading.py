"""The GAN of a run, or of converted weights, to sample from."""

from biggan_jax import gans
from biggan_jax.devices import cpu
from biggan_jax.errors import UsageError
from biggan_jax.pretrained import folder
from biggan_jax.run import checkpoint, identity
from biggan_jax.sampling.trained import TrainedGAN


def load(workdir, step: int | None = None, ema: bool = True) -> TrainedGAN:
    """The GAN of a run, or of converted weights, to sample from; local or gs:// path. Also of a folder that
    `convert --to=folder` wrote, which holds one step and one set of weights.

    `step`: the checkpoint (default: the newest). `ema`: averaged weights, or those being trained. Raises UsageError
    when there is no such checkpoint, DataError when it cannot be read.
    """
    cpu.convolve_on_all_cores()  # as in `sample`, where it is not too late for that
    if folder.is_one(workdir):
        trained = folder.read(workdir)
        if not ema or step not in (None, trained.step):
            raise UsageError(f"{workdir} holds the weights to sample with, of step {trained.step}, and no others")
        return trained
    checkpoints, step = checkpoint.open_for_reading(workdir, step)
    try:
        config = checkpoints.config(step)
        gan = gans.build(config)
        averages = checkpoint.read_averages(checkpoints, step) if ema and set(gan.averaged) & set(gan.sampled) else {}
        read = lambda name: averages[name] if name in averages else checkpoint.read_net(checkpoints, step, name)[1]
        variables = {name: read(name) for name in gan.sampled}
        truncation_stats = None
        if "truncation_stats" in checkpoints.items(step):
            truncation_stats = checkpoints.restore_any(step, "truncation_stats")
    finally:
        checkpoints.close()
    return TrainedGAN(config, gan, variables, step, identity.class_names(workdir), truncation_stats)
