#!/bin/sh
exec python -m biggan_jax.train --config=experiments/table1.py:row=9 --config.seed=6 --workdir=/tmp/swp/table1-9-s6-eecf22e3
