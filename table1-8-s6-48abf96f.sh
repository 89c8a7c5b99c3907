#!/bin/sh
exec python -m biggan_jax.train --config=experiments/table1.py:row=8 --config.seed=6 --workdir=/tmp/swp/table1-8-s6-48abf96f
