"""Maps of where pixels of generated images attend to (Zhang et al. 2018, Figure 5)."""

import functools

import jax
import numpy as np

from biggan_jax.models import attention
from biggan_jax.sampling import grids

SAMPLES = 6
# Pixels that are asked for, as shares of height and width, and the colours that mark them.
PLACES = ((0.5, 0.5), (0.25, 0.25), (0.25, 0.75), (0.75, 0.25), (0.75, 0.75))
COLOURS = np.array([(214, 39, 40), (31, 119, 180), (44, 160, 44), (255, 127, 14), (148, 103, 189)], np.uint8)
COLUMNS = 2 * (1 + len(PLACES))
MARK = 1 / 16  # least width of a mark, a share of the image's


def picture(trained, seed: int) -> np.ndarray | None:
    """The attention of a TrainedGAN's generator, layer below layer, uint8 [height, width, 3]: `cells` of a few samples;
    None without attention. Every process calls it, outside a mesh.
    """
    gan, variables = trained.gan, trained.variables()["generator"]
    labels = np.resize(grids.classes_to_show(trained.num_classes), SAMPLES)
    z = gan.latents(jax.random.key(seed), np.arange(SAMPLES), None)
    maps = functools.partial(attention.maps, gan.generator.module)
    if not jax.eval_shape(maps, variables, z, labels):
        return None
    images = trained.generate(np.asarray(z), labels)
    layers = jax.device_get(jax.jit(maps)(variables, z, labels)).values()
    blocks = [[cell for image, weights in zip(images, layer) for cell in cells(image, weights)] for layer in layers]
    return grids.stacked([grids.grid(np.stack(block), COLUMNS) for block in blocks])


def cells(image: np.ndarray, weights: np.ndarray) -> list[np.ndarray]:
    """An image, uint8 [H, W, C], as it is shown, with the pixels at PLACES marked, and for each the map of what it
    attends to, white where it does most, uint8 [H, W, 3]. weights: what every pixel of the layer attends to, [pixels,
    keys].
    """
    size, keys = (round(count**0.5) for count in weights.shape)
    marked, maps = grids.shown(image).copy(), []
    for place, colour in zip(PLACES, COLOURS):
        row, column = (min(int(share * size), size - 1) for share in place)
        map = weights[row * size + column].reshape(keys, keys)
        grey = np.uint8(255 * map / map.max()).repeat(len(image) // keys, 0).repeat(len(image) // keys, 1)
        maps.append(np.repeat(grey[..., None], 3, axis=-1))
        width = max(len(image) // size, round(len(image) * MARK), 1)
        top, left = (index * len(image) // size for index in (row, column))
        for shown in (marked, maps[-1]):
            shown[top : top + width, left : left + width] = colour
    return [marked, *maps]
