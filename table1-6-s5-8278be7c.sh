#!/bin/sh
exec python -m biggan_jax.train --config=experiments/table1.py:row=6 --config.seed=5 --workdir=/tmp/swp/table1-6-s5-8278be7c
