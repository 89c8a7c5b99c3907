#!/bin/sh
exec python -m biggan_jax.train --config=experiments/table1.py:row=9 --config.seed=5 --workdir=/tmp/swp/table1-9-s5-06ba25c6
