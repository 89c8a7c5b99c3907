#!/bin/sh
exec python -m biggan_jax.train --config=experiments/table1.py:row=7 --config.seed=7 --workdir=/tmp/swp/table1-7-s7-d251c41e
