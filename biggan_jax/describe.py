"""Prints a config's nets: python -m biggan_jax.describe --config=experiments/table1.py:row=8 [--json]

Layers with shapes and parameter counts, totals beside the paper's, and FLOPs per image.
"""

import argparse
import json

from biggan_jax import cli


def main(arguments) -> int:
    parser = argparse.ArgumentParser(prog="python -m biggan_jax.describe", description=__doc__.split("\n")[0])
    cli.add_config_argument(parser)
    parser.add_argument("--json", action="store_true", help="one JSON object instead of tables")
    options, config = cli.parse(parser, arguments)
    description = describe(config)
    if options.json:
        print(json.dumps({key: value for key, value in description.items() if key != "layers"}))
    else:
        print_tables(description)
    return 0


def count(params) -> int:
    """Number of parameters of a tree of arrays or shapes."""
    import jax

    return sum(leaf.size for leaf in jax.tree.leaves(params))


def describe(config) -> dict:
    """Parameter counts and FLOPs of a config's nets, without computing anything: shapes only.

    `table1_params` counts as the paper's Table 1 does: both nets without the shared class embedding (no other
    convention reproduces its five figures). FLOPs count a multiplication and an addition as two, for one image,
    forward.
    """
    import jax
    import jax.numpy as jnp

    from biggan_jax import models

    generator, discriminator = models.build(config)
    key = jax.random.key(0)
    z = jax.ShapeDtypeStruct((1, generator.z_dim), jnp.float32)
    labels = jax.ShapeDtypeStruct((1,), jnp.int32)
    images = jax.ShapeDtypeStruct((1, config.image_size, config.image_size, 3), jnp.float32)
    nets = {"generator": (generator, (z, labels)), "discriminator": (discriminator, (images, labels))}
    result = {"layers": {}}
    for name, (net, inputs) in nets.items():
        variables = jax.eval_shape(net.init, key, *inputs)
        result["layers"][name] = [
            ("/".join(entry.key for entry in path), leaf.shape, leaf.size)
            for path, leaf in jax.tree_util.tree_leaves_with_path(variables["params"])
        ]
        result[f"{name}_params"] = count(variables["params"])
        result[f"{name}_flops_per_image"] = forward_flops(net, variables, inputs)
        if name == "generator":
            embedding = count(variables["params"].get("embedding", {}))
    result["shared_embedding_params"] = embedding
    result["table1_params"] = result["generator_params"] + result["discriminator_params"] - embedding
    result["paper"] = config.paper.to_dict()
    return result


def forward_flops(net, variables, inputs) -> int:
    """XLA's count for one forward pass of one image in inference mode, from the unoptimised program."""
    import jax

    lowered = jax.jit(lambda variables, *inputs: net.apply(variables, *inputs, train=False)).lower(variables, *inputs)
    return int(lowered.cost_analysis()["flops"])


def print_tables(description) -> None:
    from rich.console import Console
    from rich.table import Table

    console = Console()
    for name, layers in description["layers"].items():
        table = Table(title=name, title_justify="left")
        table.add_column("parameter", no_wrap=True)
        table.add_column("shape", no_wrap=True)
        table.add_column("count", justify="right", no_wrap=True)
        for path, shape, size in layers:
            table.add_row(path, " x ".join(map(str, shape)) or "scalar", f"{size:,}")
        table.add_section()
        table.add_row("total", "", f"{description[f'{name}_params']:,}")
        console.print(table)
    paper = description["paper"]
    rows = {"generator": "generator_params", "discriminator": "discriminator_params", "Table 1": "table1_params"}
    for name, key in rows.items():
        published = paper.get("params" if name == "Table 1" else key)
        beside = f"  (paper: {published})" if published else ""
        print(f"{name:13} {description[key]:>12,} parameters{beside}")
    for name in ("generator", "discriminator"):
        print(f"{name} forward: {description[f'{name}_flops_per_image'] / 1e9:.2f} GFLOP per image")


if __name__ == "__main__":
    cli.run(main)
