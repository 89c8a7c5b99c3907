r"""BigGAN on your own arrays: a .npz or .npy file of small images, one GPU, or a laptop where they are tiny.

python -m biggan_jax.train --config=experiments/arrays.py --config.data.dir=my.npz --config.image_size=32 --workdir=DIR

What may be in the file, or a folder of files: experiments/README.md. There are as many classes as the labels have, none
without labels, and one channel where all images are grey. MNIST's own files: --config.dataset=idx
--config.data.dir=FOLDER --config.data.flip=False.
"""

from biggan_jax import config
from experiments import image_folder


def get_config(variant=""):
    config.parse_variant(variant)
    return config.switch(image_folder.get_config("size=32"), dataset="arrays")
