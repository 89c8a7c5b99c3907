#!/bin/sh
exec python -m biggan_jax.train --config=experiments/table1.py:row=2 --config.seed=0 --workdir=/tmp/swp/table1-2-s0-e5dfd56a
