r"""BigGAN on your own arrays: a .npz or .npy file of small images, one GPU, or a laptop where they are tiny.

python -m biggan_jax.train --config=experiments/arrays.py --config.data.dir=my.npz --config.image_size=32 \
    --config.num_classes=10 --workdir=DIR

What may be in the file, or a folder of files: experiments/README.md. Grey images are learned as one channel with
--config.model.image_channels=1; images without labels need --config.num_classes=0
--config.model.shared_embedding=False. MNIST's own files: --config.dataset=idx --config.data.dir=FOLDER
--config.data.flip=False.
"""

from biggan_jax import config
from experiments import image_folder


def get_config(variant=""):
    config.parse_variant(variant)
    return config.switch(image_folder.get_config("size=32"), dataset="arrays")
