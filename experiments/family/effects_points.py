"""What can be seen of training on points: the size of the latents, and what D's own estimate of a distance is worth."""

from matplotlib.figure import Figure
import numpy as np
from PIL import Image
from scipy import stats

from biggan_jax.data import points
from biggan_jax.evaluation import estimates, points_run
from biggan_jax.evaluation.points import scores
from biggan_jax.sampling import scatter
from experiments.family import effects_runs as runs
from experiments.family import toys

SAMPLES = 5000
DENSITIES = ("moons", "spiral", "checkerboard", "ring_bar", "letters")
LATENTS = {f"{size} latents": size for size in (2, 8, 32)}
FORMS = {"GAN": "gan", "WGAN, clipped": "wgan", "WGAN-GP": "wgan_gp"}
EVERY = 100  # steps between scores


def run_latents(row: str, seed: int, workdir: str, steps: int | None) -> runs.Run:
    """Fleuret's loop on each density, for a quarter of its steps."""
    found, shown = {}, {}
    for density in DENSITIES:
        c = toys.get_config(f"loss=fleuret,density={density},latent={LATENTS[row]}")
        c.num_steps = 10_000
        trained = runs.train(c, seed, f"{workdir}/{density}", steps)
        samples = trained.sample(SAMPLES, seed=seed, batch_size=SAMPLES)
        real = points.load(density, "test", SAMPLES).arrays["point"]
        found[f"W1, {density}"] = scores(samples, real, points.DISTRIBUTIONS[density])["EM"]
        shown[density] = samples[: scatter.DRAWN]
    return runs.Run(found, shown)


def draw_latents(found: dict[str, runs.Run]) -> np.ndarray:
    pictures = []
    for row, one in found.items():
        views = [scatter.View(f"{row}, {density}", one.shown[density]) for density in DENSITIES]
        pictures.append(_panels(views))
    return np.asarray(Image.fromarray(np.concatenate(pictures)).reduce(2))


def _panels(views):
    """Each over its own data; all regions lie in one square."""
    real = [points.load(density, "train", scatter.DRAWN).arrays["point"] for density in DENSITIES]
    bound = points.DISTRIBUTIONS[DENSITIES[0]].bound
    return np.concatenate([scatter.panels([view], of, bound) for view, of in zip(views, real)], axis=1)


def run_estimates(row: str, seed: int, workdir: str, steps: int | None) -> runs.Run:
    """A toy on the ring, scored on its way: the exact distance, and what D's loss says of it."""
    c = toys.get_config(f"density=ring8,loss={FORMS[row]}")
    c.run.evaluate_every, c.run.evaluate_samples = EVERY, 1000
    c.num_steps = 1500
    runs.train(c, seed, workdir, steps)
    by_step = {record.step: record.scores for record in points_run.read(workdir) if record.step}
    told, _ = estimates.read(workdir)
    at = sorted(by_step.keys() & told.keys())
    estimate, distance = [told[step] for step in at], [by_step[step]["EM"] for step in at]
    rank = stats.spearmanr(estimate, distance).statistic if len(at) > 2 else np.nan
    last = {"estimate, last": estimate[-1], "W1, last": distance[-1]}
    found = {"rank correlation with W1": float(rank)} | last | {"modes, last": float(by_step[at[-1]]["modes"])}
    quality = [by_step[step]["high quality"] for step in at]
    return runs.Run(found, {"step": at, "estimate": estimate, "distance": distance, "quality": quality})


def draw_estimates(found: dict[str, runs.Run]) -> np.ndarray:
    figure = Figure(figsize=(4.2 * len(found), 3.4), layout="constrained")
    for i, (row, one) in enumerate(found.items()):
        axes = figure.add_subplot(1, len(found), i + 1)
        name = "D's estimate of the JSD" if FORMS[row] == "gan" else "the critic's estimate"
        axes.plot(one.shown["step"], one.shown["estimate"], color="#c44e52", label=name)
        axes.plot(one.shown["step"], one.shown["distance"], color="#222222", label="exact W1 of samples")
        axes.plot(one.shown["step"], one.shown["quality"], color="#2ca02c", linestyle=":", label="high quality share")
        axes.axhline(0.0, color="#999999", linewidth=0.6)
        axes.set(title=row, xlabel="step")
        axes.legend(fontsize=7)
    return runs.pixels(figure)


LATENT = runs.Effect("Size of the latents", tuple(LATENTS), run_latents, draw_latents)
ESTIMATE = runs.Effect("Estimate and distance in training", tuple(FORMS), run_estimates, draw_estimates)
