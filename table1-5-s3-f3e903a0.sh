#!/bin/sh
exec python -m biggan_jax.train --config=experiments/table1.py:row=5 --config.seed=3 --workdir=/tmp/swp/table1-5-s3-f3e903a0
