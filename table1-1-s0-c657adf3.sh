#!/bin/sh
exec python -m biggan_jax.train --config=experiments/table1.py:row=1 --config.seed=0 --workdir=/tmp/swp/table1-1-s0-c657adf3
