#!/bin/sh
exec python -m biggan_jax.train --config=experiments/table1.py:row=7 --config.seed=4 --workdir=/tmp/swp/table1-7-s4-6e833b86
