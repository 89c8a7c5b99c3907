#!/bin/sh
exec python -m biggan_jax.train --config=experiments/table1.py:row=7 --config.seed=6 --workdir=/tmp/swp/table1-7-s6-36981056
