"""The pictures of one checkpoint, made of its samples and written to `WORKDIR/eval/`."""

import jax
import numpy as np

from biggan_jax.evaluation import arithmetic, attention_maps, features, pictures, results
from biggan_jax.evaluation.protocol import score_name
from biggan_jax.run.records import save_png
from biggan_jax.sampling import grids

NEIGHBOUR_ROWS = 10  # samples in neighbours.png


def draw(workdir, evaluator, trained, found, mode: str) -> str:
    """Draws a TrainedGAN, whose samples without truncation were summarized as `found`.

    Writes classes.png, interpolation_z.png and neighbours.png; truncation.png where the prior has a truncation;
    interpolation_class.png and class_fid.png of a GAN with classes; codes.png of one with codes; styles.png, noise.png
    and interpolation_w.png of one with styles; attention.png of one with attention; arithmetic.png of one without
    classes whose data have them, by a classifier of these. Every process calls it, outside a mesh: grids come in any
    size; process 0 writes. Returns a remark for the user: why a picture is missing, or nothing.
    """
    seed, num_classes = evaluator.seed, trained.num_classes
    images = {"classes": grids.picture(trained, None, evaluator.dataset, seed)}
    if hasattr(trained.gan, "latents"):
        images["interpolation_z"] = grids.interpolation_grid(trained, "z", seed)
    if trained.gan.truncates:
        images["truncation"] = grids.truncations(trained, seed, mode)
    if num_classes > 1:
        images["interpolation_class"] = grids.interpolation_grid(trained, "class", seed)
    if hasattr(trained.gan, "traversals"):
        images["codes"] = grids.code_grid(trained, seed)
    if hasattr(trained.gan, "styled"):
        images["interpolation_w"] = grids.interpolation_grid(trained, "w", seed)
        images |= {"styles": grids.style_grid(trained, seed), "noise": grids.noise_grid(trained, seed)}
    if (attended := attention_maps.picture(trained, seed)) is not None:
        images["attention"] = attended
    remark = ""
    if not num_classes and evaluator.extractor.num_classes:
        picture, why = arithmetic.picture(trained, evaluator.extractor, seed, evaluator.batch_size)
        images |= {} if picture is None else {"arithmetic": picture}
        remark = why and f"; no arithmetic.png: {why}"
    samples = trained.sample(np.resize(grids.classes_to_show(num_classes), NEIGHBOUR_ROWS), seed=seed)
    samples_per_call = -(-len(samples) // evaluator.mesh.size) * evaluator.mesh.size
    ((sample_features, _),) = features.stream(evaluator.extractor, [samples], samples_per_call)
    if jax.process_index():
        return remark
    root = results.folder(workdir)
    images["neighbours"] = pictures.neighbour_grid(samples, sample_features, evaluator.reference, evaluator.dataset)
    for name, image in images.items():
        save_png(root / f"{name}.png", image)

    real_labels = evaluator.dataset.labels[evaluator.reference.indices]
    fake_labels = evaluator.labels(num_classes)[: len(found.features)]
    real = evaluator.reference.summary.features
    distances, note = pictures.class_distances(real, real_labels, found.features, fake_labels, num_classes)
    if not distances:
        return f"{remark}; no class_fid.png: {note}"
    score = score_name("FID", evaluator.extractor.name)
    pictures.class_bars(root / "class_fid.png", distances, evaluator.dataset.class_names, score, note)
    return remark
