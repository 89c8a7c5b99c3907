"""What D's frozen features do for Projected GAN: learned, random or none; mixed by random projections or not."""

from experiments.family import effects_images, projected_gan
from experiments.family import effects_runs as runs

PLAIN = "none: D sees the image"
ROWS = {
    "learned": "",
    "random": "features=random",
    PLAIN: "features=none",
    # Enlarged twice as much, so that the heads see maps of the same sizes.
    "learned, across channels alone": "mixing=ccm",
    "learned, not mixed": "mixing=none",
}


def run(row: str, seed: int, workdir: str, steps: int | None) -> runs.Run:
    """FID is by features of another classifier than D's."""
    c = projected_gan.get_config(ROWS[row])
    c.num_steps = 400
    return effects_images.judged(c, seed, workdir, steps)[1]


PROJECTED = runs.Effect("Projected GAN's features", tuple(ROWS), run, effects_images.strips)
