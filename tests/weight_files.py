"""Named arrays of every type, and the smallest file of torch before 1.6."""

import base64

import ml_dtypes
import numpy as np

DTYPES = ["<f8", "<f4", "<f2", ml_dtypes.bfloat16, "<i8", "<i4", "<i2", "i1", "u1", "?"]

# torch.save(OrderedDict(w=arange(6.).reshape(2, 3).t(), b=tensor([1.5], dtype=float16)),
# _use_new_zipfile_serialization=False)
LEGACY = base64.b64decode(
    "gAKKCmz8nEb5IGqoUBkugAJN6QMugAJ9cQAoWBAAAABwcm90b2NvbF92ZXJzaW9ucQFN6QNYDQAAAGxpdHRsZV9lbmRpYW5xAohYCgAAAHR5"
    "cGVfc2l6ZXNxA31xBChYBQAAAHNob3J0cQVLAlgDAAAAaW50cQZLBFgEAAAAbG9uZ3EHSwR1dS6AAmNjb2xsZWN0aW9ucwpPcmRlcmVkRGlj"
    "dApxAClScQEoWAEAAAB3cQJjdG9yY2guX3V0aWxzCl9yZWJ1aWxkX3RlbnNvcl92MgpxAygoWAcAAABzdG9yYWdlcQRjdG9yY2gKRmxvYXRT"
    "dG9yYWdlCnEFWA4AAAA5NDI3ODg0MTY2OTAyNHEGWAMAAABjcHVxB0sGTnRxCFFLAEsDSwKGcQlLAUsDhnEKiWgAKVJxC3RxDFJxDVgBAAAA"
    "YnEOaAMoKGgEY3RvcmNoCkhhbGZTdG9yYWdlCnEPWA4AAAA5NDI3ODg0MTUxMDQzMnEQaAdLAU50cRFRSwBLAYVxEksBhXETiWgAKVJxFHRx"
    "FVJxFnUugAJdcQAoWA4AAAA5NDI3ODg0MTUxMDQzMnEBWA4AAAA5NDI3ODg0MTY2OTAyNHECZS4BAAAAAAAAAAA+BgAAAAAAAAAAAAAAAACA"
    "PwAAAEAAAEBAAACAQAAAoEA="
)


def arrays(extension):
    """Named arrays of every type and layout that a file of this extension holds."""
    dtypes = [dtype for dtype in DTYPES if not (extension == ".npz" and dtype is ml_dtypes.bfloat16)]
    values = {np.dtype(dtype).name: np.arange(6).reshape(2, 3).astype(dtype) for dtype in dtypes}
    return values | {
        "file": np.float32(7),
        "empty": np.zeros((0, 3), np.float32),
        "not.contiguous": np.arange(6.0).reshape(2, 3).T,
    }


def assert_same(found, wanted):
    """The same names with equal arrays; a .safetensors file has an order of its own."""
    assert found.keys() == wanted.keys()
    for key, value in wanted.items():
        assert (found[key].dtype, found[key].shape) == (value.dtype, value.shape), key
        np.testing.assert_array_equal(found[key], value, err_msg=key)
