#!/bin/sh
exec python -m biggan_jax.train --config=experiments/table1.py:row=8 --config.seed=3 --workdir=/tmp/swp/table1-8-s3-0232506d
