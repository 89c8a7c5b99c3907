#!/bin/sh
exec python -m biggan_jax.train --config=experiments/table1.py:row=8 --config.seed=0 --workdir=/tmp/swp/table1-8-s0-6e95c3cb
