#!/bin/sh
exec python -m biggan_jax.train --config=experiments/table1.py:row=7 --config.seed=0 --workdir=/tmp/swp/table1-7-s0-69833916
