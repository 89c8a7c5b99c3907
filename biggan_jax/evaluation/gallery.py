"""The pictures of one checkpoint, made of its samples and written to `WORKDIR/eval/`."""

import jax
import numpy as np

from biggan_jax.run import records as writer
from biggan_jax.evaluation import features, pictures, results

TRUNCATIONS = (None, 1.0, 0.5, 0.04)  # rows of truncation.png, after Figure 2 of the paper
NEIGHBOUR_ROWS = 10  # samples in neighbours.png


def draw(workdir, evaluator, model, found, mode: str) -> str:
    """Draws `model`, whose samples without truncation were summarized as `found`.

    Writes classes.png, truncation.png, interpolation_z.png, interpolation_class.png, neighbours.png and
    class_fid.png. Every process calls it, outside a mesh: grids come in any size; process 0 writes. Returns a
    remark for the user: why a picture is missing, or nothing.
    """
    seed, num_classes = evaluator.seed, model.config.num_classes
    images = {
        "classes": pictures.class_grid(model, seed),
        "truncation": pictures.truncation_grid(model, TRUNCATIONS, mode, seed),
        "interpolation_z": pictures.interpolation_grid(model, "z", seed),
    }
    if num_classes > 1:
        images["interpolation_class"] = pictures.interpolation_grid(model, "class", seed)
    labels = pictures.classes_to_show(num_classes)
    samples = model.sample(np.resize(labels, NEIGHBOUR_ROWS), seed=seed)
    samples_per_call = -(-len(samples) // evaluator.mesh.size) * evaluator.mesh.size
    ((sample_features, _),) = features.stream(evaluator.extractor, [samples], samples_per_call)
    if jax.process_index():
        return ""
    root = results.folder(workdir)
    images["neighbours"] = pictures.neighbour_grid(samples, sample_features, evaluator.reference, evaluator.dataset)
    for name, image in images.items():
        writer.save_png(root / f"{name}.png", image)

    real_labels = evaluator.dataset.labels[evaluator.reference.indices]
    fake_labels = evaluator.labels(num_classes)[: len(found.features)]
    real = evaluator.reference.summary.features
    distances, note = pictures.class_distances(real, real_labels, found.features, fake_labels, num_classes)
    if not distances:
        return f"; no class_fid.png: {note}"
    pictures.class_bars(
        root / "class_fid.png", distances, evaluator.dataset.class_names, evaluator.extractor.score_name("FID"), note
    )
    return ""
