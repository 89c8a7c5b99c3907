#!/bin/sh
exec python -m biggan_jax.train --config=experiments/table1.py:row=8 --config.seed=5 --workdir=/tmp/swp/table1-8-s5-4cdde1a7
