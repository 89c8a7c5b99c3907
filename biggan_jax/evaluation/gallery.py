"""The pictures of one checkpoint, made of its samples and written to `WORKDIR/eval/`."""

import jax
import numpy as np

from biggan_jax.evaluation import features, pictures, results
from biggan_jax.evaluation.protocol import score_name
from biggan_jax.run import grids
from biggan_jax.run.records import save_png

NEIGHBOUR_ROWS = 10  # samples in neighbours.png


def draw(workdir, evaluator, trained, found, mode: str) -> str:
    """Draws a TrainedGAN, whose samples without truncation were summarized as `found`.

    Writes classes.png, truncation.png, interpolation_z.png, interpolation_class.png, neighbours.png and class_fid.png.
    Every process calls it, outside a mesh: grids come in any size; process 0 writes. Returns a remark for the user: why
    a picture is missing, or nothing.
    """
    seed, num_classes = evaluator.seed, trained.config.num_classes
    images = {
        "classes": grids.class_grid(trained, seed),
        "truncation": grids.truncation_grid(trained, seed, mode),
        "interpolation_z": grids.interpolation_grid(trained, "z", seed),
    }
    if num_classes > 1:
        images["interpolation_class"] = grids.interpolation_grid(trained, "class", seed)
    samples = trained.sample(np.resize(grids.classes_to_show(num_classes), NEIGHBOUR_ROWS), seed=seed)
    samples_per_call = -(-len(samples) // evaluator.mesh.size) * evaluator.mesh.size
    ((sample_features, _),) = features.stream(evaluator.extractor, [samples], samples_per_call)
    if jax.process_index():
        return ""
    root = results.folder(workdir)
    images["neighbours"] = pictures.neighbour_grid(samples, sample_features, evaluator.reference, evaluator.dataset)
    for name, image in images.items():
        save_png(root / f"{name}.png", image)

    real_labels = evaluator.dataset.labels[evaluator.reference.indices]
    fake_labels = evaluator.labels(num_classes)[: len(found.features)]
    real = evaluator.reference.summary.features
    distances, note = pictures.class_distances(real, real_labels, found.features, fake_labels, num_classes)
    if not distances:
        return f"; no class_fid.png: {note}"
    score = score_name("FID", evaluator.extractor.name)
    pictures.class_bars(root / "class_fid.png", distances, evaluator.dataset.class_names, score, note)
    return ""
