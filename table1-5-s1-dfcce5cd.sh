#!/bin/sh
exec python -m biggan_jax.train --config=experiments/table1.py:row=5 --config.seed=1 --workdir=/tmp/swp/table1-5-s1-dfcce5cd
