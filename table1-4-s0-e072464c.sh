#!/bin/sh
exec python -m biggan_jax.train --config=experiments/table1.py:row=4 --config.seed=0 --workdir=/tmp/swp/table1-4-s0-e072464c
