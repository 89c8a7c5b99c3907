#!/bin/sh
exec python -m biggan_jax.train --config=experiments/table1.py:row=6 --config.seed=7 --workdir=/tmp/swp/table1-6-s7-b3ad6de1
