"""A config's nets without computing anything: parameters, shapes, and the FLOPs of its step."""

import jax

from biggan_jax import gans
from biggan_jax.devices import sharding
from biggan_jax.programs.program import Program


def count(params) -> int:
    """Number of parameters of a tree of arrays or shapes."""
    return sum(leaf.size for leaf in jax.tree.leaves(params))


def describe(config, paper: dict) -> dict:
    """Parameter counts and FLOPs of a config's nets, beside `paper`'s figures.

    `params`: count of each net. `layers`: (path, shape, count) of each net's parameters. `table1_params` counts as the
    paper's Table 1 does: all nets without the shared class embedding (no other convention reproduces its five figures).
    FLOPs, NET_flops_per_image, are of one image, forward, a multiplication and an addition counted as two.
    """
    result = {"params": {}, "layers": {}}
    for name, net in gans.build(config).nets.items():
        variables = net.shapes()
        result["params"][name] = result[f"{name}_params"] = count(variables["params"])
        result["layers"][name] = [
            ("/".join(entry.key for entry in path), leaf.shape, leaf.size)
            for path, leaf in jax.tree_util.tree_leaves_with_path(variables["params"])
        ]
        result[f"{name}_flops_per_image"] = forward_flops(net, variables)
        if name == "generator":
            result["shared_embedding_params"] = count(variables["params"].get("embedding", {}))
    if "shared_embedding_params" in result:
        result["table1_params"] = sum(result["params"].values()) - result["shared_embedding_params"]
    return result | {"paper": paper}


def forward_flops(net, variables) -> int:
    """XLA's count for one forward pass of one image in inference mode, from the unoptimised program."""
    return int(jax.jit(net.apply).lower(variables, *net.inputs).cost_analysis()["flops"])


def step_flops(config) -> float:
    """FLOPs of one training step over all devices, from the real step's unoptimised program; of a recipe with several
    kinds of step, the mean over them.
    """
    program = Program(config, sharding.make_mesh(jax.devices()[:1]))
    shares = program.phases()
    return sum(share * program.lower(phase).cost_analysis()["flops"] for phase, share in shares.items())
