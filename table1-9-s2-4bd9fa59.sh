#!/bin/sh
exec python -m biggan_jax.train --config=experiments/table1.py:row=9 --config.seed=2 --workdir=/tmp/swp/table1-9-s2-4bd9fa59
