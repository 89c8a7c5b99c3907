"""Random nets as files of other projects, and converted."""

import functools
import json

from biggan_jax import convert, pretrained
from biggan_jax.models import biggan
from biggan_jax.pretrained.variables import inputs
from tests.test_huggingface import CONFIG as HF_CONFIG
from tests.test_huggingface import weights as hf_weights
from tests.tiny import random_variables

G = biggan.Generator(
    image_size=32,
    channels=2,
    num_classes=3,
    z_dim=8,
    embedding_size=4,
    attention_resolutions=(16,),
    bn_eps=2e-5,
    output_bn_eps=1e-5,
    sn_eps=3e-6,
)
D = biggan.Discriminator(image_size=32, channels=2, num_classes=3, attention_resolutions=(8,), wide=False, sn_eps=3e-6)
EPS = ("--bn_eps=2e-5", "--sn_eps=3e-6")


def random_net(module, seed=0):
    return random_variables(module, *inputs(module), seed=seed)


@functools.cache
def state_dict(module, seed=0):
    return pretrained.to_biggan_pytorch(random_net(module, seed), module, mybn=False)


def run(*arguments):
    assert convert.main([str(argument) for argument in arguments]) == 0


def from_pytorch(out, **files):
    run("--from=biggan-pytorch", *(f"--{name}={path}" for name, path in files.items()), f"--out={out}", *EPS)
    return out


def write_files(folder):
    """Paths of files of one GAN: its averaged generator, the generator, the discriminator. Another project's is beside
    them.
    """
    nets = {"weights": (G, 0), "generator": (G, 1), "discriminator": (D, 2)}
    paths = {name: folder / f"{name}.pth" for name in nets}
    for name, net in nets.items():
        pretrained.write_state_dict(paths[name], state_dict(*net))
    pretrained.write_state_dict(folder / "hf.npz", hf_weights())
    return paths


def from_huggingface(out, files):
    (out.parent / "model.json").write_text(json.dumps(HF_CONFIG))
    weights = files["weights"].with_name("hf.npz")
    run("--from=huggingface", f"--weights={weights}", f"--hf_config={out.parent}/model.json", f"--out={out}")
    return out
