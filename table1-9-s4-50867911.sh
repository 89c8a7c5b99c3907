#!/bin/sh
exec python -m biggan_jax.train --config=experiments/table1.py:row=9 --config.seed=4 --workdir=/tmp/swp/table1-9-s4-50867911
