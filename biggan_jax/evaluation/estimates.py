"""Estimates of a distance that D's loss gave in training, read from a run's records."""

from biggan_jax.run import records

# Records of training that are D's estimate of a distance.
ESTIMATES = {"jensen_shannon": "JSD, D's estimate", "wasserstein": "EM, the critic's estimate"}


def read(workdir) -> tuple[dict[int, float], str]:
    """The estimate by step and its name; nothing where the loss says nothing, see `gans.losses`."""
    found = records.read(workdir)
    for name, title in ESTIMATES.items():
        if estimates := {record["step"]: record[name] for record in found if record.get(name) is not None}:
            return estimates, title
    return {}, ""
