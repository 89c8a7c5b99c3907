#!/bin/sh
exec python -m biggan_jax.train --config=experiments/table1.py:row=9 --config.seed=0 --workdir=/tmp/swp/table1-9-s0-8ff43cd4
