#!/bin/sh
exec python -m biggan_jax.train --config=experiments/table1.py:row=6 --config.seed=2 --workdir=/tmp/swp/table1-6-s2-5f818565
