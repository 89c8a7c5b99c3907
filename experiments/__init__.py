"""Configs, grids of them, and the tools for grids.

A config is a file with `get_config(variant="")`; run one with --config=FILE.py[:key=value,...] or, wherever you are,
one of these by its name: --config=digits, --config=family/gan:scale=paper.
`get_paper(variant="")`, where a file has it, gives the figures that were published for it.

configs  digits, fashion_mnist, cifar10, image_folder, arrays, imagenet, shapes, biggan_deep, sngan; family/:
         relatives
grids    table1, table2, ablations, batch_scaling: `get_grid` gives many rows, each a config, for `launch.sweep`
tools    grid: what grids share; report: `python -m experiments.report`, its input (runs) and its pictures (plots)
"""
