#!/bin/sh
exec python -m biggan_jax.train --config=experiments/table1.py:row=7 --config.seed=3 --workdir=/tmp/swp/table1-7-s3-b21a9e19
