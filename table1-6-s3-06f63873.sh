#!/bin/sh
exec python -m biggan_jax.train --config=experiments/table1.py:row=6 --config.seed=3 --workdir=/tmp/swp/table1-6-s3-06f63873
