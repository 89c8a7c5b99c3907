#!/bin/sh
exec python -m biggan_jax.train --config=experiments/table1.py:row=5 --config.seed=0 --workdir=/tmp/swp/table1-5-s0-bb1195a3
