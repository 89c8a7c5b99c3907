#!/bin/sh
exec python -m biggan_jax.train --config=experiments/table1.py:row=6 --config.seed=1 --workdir=/tmp/swp/table1-6-s1-a3f97265
