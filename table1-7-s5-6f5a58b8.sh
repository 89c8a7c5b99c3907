#!/bin/sh
exec python -m biggan_jax.train --config=experiments/table1.py:row=7 --config.seed=5 --workdir=/tmp/swp/table1-7-s5-6f5a58b8
