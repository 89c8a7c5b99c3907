#!/bin/sh
exec python -m biggan_jax.train --config=experiments/table1.py:row=8 --config.seed=7 --workdir=/tmp/swp/table1-8-s7-bee21a2d
