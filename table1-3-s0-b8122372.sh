#!/bin/sh
exec python -m biggan_jax.train --config=experiments/table1.py:row=3 --config.seed=0 --workdir=/tmp/swp/table1-3-s0-b8122372
