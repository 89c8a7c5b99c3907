#!/bin/sh
exec python -m biggan_jax.train --config=experiments/table1.py:row=8 --config.seed=4 --workdir=/tmp/swp/table1-8-s4-61802b24
