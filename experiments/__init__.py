"""Configs: each file has `get_config(variant="")`; run one with --config=experiments/FILE.py[:key=value,...]."""
