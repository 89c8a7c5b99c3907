#!/bin/sh
exec python -m biggan_jax.train --config=experiments/table1.py:row=9 --config.seed=3 --workdir=/tmp/swp/table1-9-s3-123e7437
