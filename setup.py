import pathlib
import re

from setuptools import find_packages, setup

VERSION = (pathlib.Path(__file__).parent / "biggan_jax" / "version.py").read_text()
PROGRAMS = {  # see `python -m biggan_jax`
    "biggan_jax": ("train", "sample", "evaluate", "describe", "plan", "bench", "convert", "prepare"),
    "launch": ("sweep",),
    "experiments": ("report",),
    "experiments.family": ("effects", "defaults"),
}

setup(
    name="biggan_jax",
    version=re.search(r'^__version__ = "(.+)"$', VERSION, re.MULTILINE)[1],
    description="BigGAN in JAX: large-batch ablations on TPU pods, small GANs on one GPU or CPU, the same code",
    license="Apache-2.0",
    packages=find_packages(include=["biggan_jax*", "experiments*", "launch*"]),
    entry_points={
        "console_scripts": [
            f"biggan-{name} = {package}.{name}:command" for package, names in PROGRAMS.items() for name in names
        ]
    },
    python_requires=">=3.11",
    install_requires=[
        "absl-py",
        "array-record",
        "chex",
        "etils[epath]",
        "filelock",
        "flax>=0.12",
        "google-crc32c",
        "importlib_resources",  # tensorflow-datasets needs it and does not say so
        "jax>=0.10",
        "matplotlib",
        "ml-collections>=1.1",
        "numpy>=2",
        "optax>=0.2.8",
        "orbax-checkpoint>=0.11",
        "pillow",
        "rich",
        "safetensors>=0.8",
        "scikit-learn",
        "scipy",
        "tensorboardX",
        "tensorflow-datasets>=4.9.10",
    ],
    extras_require={
        "cuda": ["jax[cuda12]"],
        "tpu": ["jax[tpu]"],
        # Building TFDS data sets from their sources; reading them needs none of it.
        "prepare": ["tensorflow"],
        # Data in files of other programs.
        "hdf5": ["h5py"],
        "huggingface": ["datasets"],
        # Sweeps in the cloud: manifests, and gs:// paths without TensorFlow.
        "launch": ["gcsfs", "pyyaml"],
        # A logger.
        "wandb": ["wandb"],
        "test": [
            "datasets",
            "gcsfs",
            "h5py",
            "ipykernel",
            "kubernetes-validate",
            "nbclient",
            "nbformat",
            "psutil",
            "pytest",
            "pytest-xdist",
            "pyyaml",
            "setuptools>=68",
            "wandb",
        ],
        # The implementations that ours is compared with, used by tests only.
        "reference": ["torch==2.13.0", "torch-fidelity", "prdc", "pytorch-pretrained-biggan"],
    },
)
