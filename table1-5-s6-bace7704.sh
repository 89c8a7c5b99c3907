#!/bin/sh
exec python -m biggan_jax.train --config=experiments/table1.py:row=5 --config.seed=6 --workdir=/tmp/swp/table1-5-s6-bace7704
