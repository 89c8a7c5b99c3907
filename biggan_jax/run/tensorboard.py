"""What tensorboardX has to write events with. It imports whatever is installed of what it could take tensors from or
write to, PyTorch and the libraries of clouds, for seconds; events are written to local files here, from arrays.
"""

import importlib
import sys

UNUSED = ("boto3", "google.cloud.storage", "torch")


def _imported(*names: str) -> list:
    hidden = [name for name in UNUSED if name not in sys.modules]
    sys.modules |= dict.fromkeys(hidden)  # importing them fails then, which tensorboardX allows for
    try:
        return [importlib.import_module(f"tensorboardX.{name}") for name in names]
    finally:
        for name in hidden:
            del sys.modules[name]


event_file_writer, event_pb2, summary = _imported("event_file_writer", "proto.event_pb2", "summary")
