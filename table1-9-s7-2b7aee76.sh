#!/bin/sh
exec python -m biggan_jax.train --config=experiments/table1.py:row=9 --config.seed=7 --workdir=/tmp/swp/table1-9-s7-2b7aee76
