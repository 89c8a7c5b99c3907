#!/bin/sh
exec python -m biggan_jax.train --config=experiments/table1.py:row=7 --config.seed=2 --workdir=/tmp/swp/table1-7-s2-1615bf18
