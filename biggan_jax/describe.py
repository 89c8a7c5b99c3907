"""Prints a config's nets: python -m biggan_jax.describe --config=experiments/table1.py:row=8 [--step_flops] [--json]

Layers with shapes and parameter counts, totals beside the paper's, and FLOPs: of an image, and of a step when asked.
"""

import argparse
import gc
import json

from etils import epy
from rich.console import Console
from rich.table import Table

from biggan_jax import cli

with epy.lazy_imports():  # mistakes in arguments are told before JAX is imported, which takes seconds
    from biggan_jax import data
    from biggan_jax.programs import description


def main(arguments) -> int:
    parser = argparse.ArgumentParser(prog="python -m biggan_jax.describe", description=__doc__.split("\n")[0])
    cli.add_config_argument(parser)
    parser.add_argument("--json", action="store_true", help="one JSON object instead of tables")
    parser.add_argument("--step_flops", action="store_true", help="a training step's too, which takes seconds to trace")
    options, config = cli.parse(parser, arguments, lambda config: data.complete(config))
    row = row_of(options.config)
    found = description.describe(config, cli.load_paper(options.config))
    found |= {"row": row} if row else {}
    found |= {"step_flops": description.step_flops(config)} if options.step_flops else {}
    if options.json:
        print(json.dumps({key: value for key, value in found.items() if key != "layers"}))
    else:
        print_tables(found)
    return 0


def row_of(spec: str) -> str | None:
    """The row that the config of `spec` is of its file's grid, None where the file has none: the first, by default."""
    module, variant = cli.load_module("config", spec)
    if not hasattr(module, "get_grid"):
        return None
    rows = module.get_grid(",".join(part for part in variant.split(",") if not part.startswith("row=")))
    config = cli.load_config(spec).to_dict()
    return next((name for name, row in rows.items() if row.to_dict() == config), None)


def print_tables(description) -> None:
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
    if "row" in description:
        print(f"row {description['row']} of the grid")
    paper = description["paper"]
    rows = [(name, params, paper.get(f"{name}_params")) for name, params in description["params"].items()]
    if "table1_params" in description:
        rows.append(("Table 1", description["table1_params"], paper.get("params")))
    for name, params, published in rows:
        beside = f"  (paper: {published})" if published else ""
        print(f"{name:13} {params:>12,} parameters{beside}")
    for name in description["params"]:
        print(f"{name} forward: {description[f'{name}_flops_per_image'] / 1e9:.2f} GFLOP per image")
    if "step_flops" in description:
        print(f"training step: {description['step_flops'] / 1e12:.3f} TFLOP")


def command() -> None:
    """The program biggan-describe."""
    gc.disable()  # hardly any of a traced step's million objects is garbage: to look for it takes a sixth of the time
    cli.run(main)


if __name__ == "__main__":
    command()
