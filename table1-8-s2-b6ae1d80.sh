#!/bin/sh
exec python -m biggan_jax.train --config=experiments/table1.py:row=8 --config.seed=2 --workdir=/tmp/swp/table1-8-s2-b6ae1d80
