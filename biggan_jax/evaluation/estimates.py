"""Estimates of a distance that D's loss gave in training, read from a run's records."""

import json

from biggan_jax.run import storage

# Records of training that are D's estimate of a distance.
ESTIMATES = {"jensen_shannon": "JSD, D's estimate", "wasserstein": "EM, the critic's estimate"}


def read(workdir) -> tuple[dict[int, float], str]:
    """The estimate by step and its name; nothing where the loss says nothing, see `gans.losses`."""
    path = storage.path(workdir) / "metrics.jsonl"
    lines = path.read_text().splitlines() if path.exists() else []
    records = [json.loads(line) for line in lines if line.endswith("}")]
    for name, title in ESTIMATES.items():
        if found := {r["step"]: r[name] for r in records if r.get(name) is not None}:
            return found, title
    return {}, ""
