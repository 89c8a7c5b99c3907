#!/bin/sh
exec python -m biggan_jax.train --config=experiments/table1.py:row=6 --config.seed=6 --workdir=/tmp/swp/table1-6-s6-e6085943
