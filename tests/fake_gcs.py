"""Buckets in memory behind the JSON API of Google Cloud Storage: what TensorStore, gcsfs and google-cloud-storage ask.

As there, objects appear whole when their upload ends and cannot be appended to; there are no folders but in names;
a write may ask for the generation that it replaces; nobody may create a bucket.
"""

import dataclasses
import email.parser
import email.policy
import http.server
import itertools
import json
import pathlib
import re
import sys
import threading
import urllib.parse

PAGE = 1000  # entries of a listing


@dataclasses.dataclass(frozen=True)
class Object:
    data: bytes
    generation: int


class FakeGCS:
    """`buckets[bucket][name]` is an Object; processes with `environment` see these buckets and no others."""

    def __init__(self, *buckets: str):
        self.buckets = {bucket: {} for bucket in buckets}
        self._generations = itertools.count(1)
        self._upload_ids = itertools.count()
        self._uploads = {}  # resumable ones: (bucket, name, query, bytearray) by id
        self._lock = threading.RLock()
        handler = type("Handler", (_Handler,), {"gcs": self})
        self._server = _Server(("localhost", 0), handler)
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        url = f"http://localhost:{self._server.server_port}"
        self.environment = {
            "STORAGE_EMULATOR_HOST": url,
            "TENSORSTORE_GCS_HTTP_URL": url,
            "GOOGLE_AUTH_TOKEN_FOR_TESTING": "none",  # else TensorStore looks for a machine of Google's
            "GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT": "false",  # it would ask by gRPC
        }

    def names(self, bucket, prefix="") -> set[str]:
        return {name.removeprefix(prefix) for name in self.buckets[bucket] if name.startswith(prefix)}

    def text(self, bucket, name) -> str:
        return self.buckets[bucket][name].data.decode()

    def download(self, bucket, directory) -> pathlib.Path:
        for name, found in self.buckets[bucket].items():
            path = directory / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(found.data)
        return directory

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def answer(self, method: str, url: str, headers, body: bytes):
        """`(status, headers, body)` of a request."""
        parts = urllib.parse.urlsplit(url)
        query = {key: values[0] for key, values in urllib.parse.parse_qs(parts.query).items()}
        path = re.sub(r"^/(download|upload|resumable)(?=/storage)", "", parts.path)
        bucket, _, rest = path.removeprefix("/storage/v1/b").removeprefix("/").partition("/")
        with self._lock:
            if "upload_id" in query:
                return self._continue_upload(query["upload_id"], headers, body)
            if not bucket:
                return _error(403, "no permission to create or list buckets")
            if bucket not in self.buckets:
                return _error(404, f"The specified bucket {bucket} does not exist.")
            if not rest:
                return _json({"kind": "storage#bucket", "name": bucket, "id": bucket})
            name = urllib.parse.unquote(rest.removeprefix("o").removeprefix("/"))
            if parts.path.startswith("/upload"):
                return self._upload(bucket, query, headers, body, url)
            if not name:
                return self._list(bucket, query)
            copied = re.fullmatch(r"o/([^/]*)/(rewriteTo/b/([^/]*)|moveTo)/o/([^/]*)", rest)
            if copied:
                source, verb, to_bucket, target = map(urllib.parse.unquote, (x or "" for x in copied.groups()))
                return self._copy(bucket, source, to_bucket or bucket, target, verb == "moveTo")
            return self._object(method, bucket, name, query, headers)

    def _object(self, method, bucket, name, query, headers):
        found = self.buckets[bucket].get(name)
        if found is None:
            return _error(404, f"No such object: {bucket}/{name}")
        if str(found.generation) != query.get("ifGenerationMatch", str(found.generation)):
            return _error(412, "conditionNotMet")
        if str(found.generation) == query.get("ifGenerationNotMatch"):
            return 304, {}, b""
        if method == "DELETE":
            del self.buckets[bucket][name]
            return 204, {}, b""
        if query.get("alt") != "media":
            return _json(_resource(bucket, name, found))
        extra = {"Content-Type": "application/octet-stream", "X-Goog-Generation": str(found.generation)}
        wanted = re.fullmatch(r"bytes=(\d*)-(\d*)", headers.get("Range", ""))
        if not wanted:
            return 200, extra, found.data
        size = len(found.data)
        first, last = wanted.groups()
        start = int(first) if first else max(size - int(last), 0)
        stop = min(int(last) + 1, size) if first and last else size
        if start >= size:
            return _error(416, "requested range not satisfiable")
        return 206, extra | {"Content-Range": f"bytes {start}-{stop - 1}/{size}"}, found.data[start:stop]

    def _list(self, bucket, query):
        prefix, delimiter = query.get("prefix", ""), query.get("delimiter")
        entries = {}
        for name, found in sorted(self.buckets[bucket].items()):
            if not name.startswith(prefix) or not query.get("startOffset", "") <= name < query.get(
                "endOffset", "\U0010ffff"
            ):
                continue
            head, separator, _ = name[len(prefix) :].partition(delimiter or "\0")
            if separator:
                entries[prefix + head + delimiter] = None
            else:
                entries[name] = _resource(bucket, name, found)
        names = sorted(entries)
        start = int(query.get("pageToken", 0))
        stop = start + min(int(query.get("maxResults", PAGE)), PAGE)
        page = {
            "kind": "storage#objects",
            "items": [entries[name] for name in names[start:stop] if entries[name]],
            "prefixes": [name for name in names[start:stop] if not entries[name]],
        }
        return _json(page | ({"nextPageToken": str(stop)} if stop < len(names) else {}))

    def _upload(self, bucket, query, headers, body, url):
        if query["uploadType"] == "media":
            return self._store(bucket, query["name"], query, body)
        if query["uploadType"] == "multipart":
            kind = f"Content-Type: {headers['Content-Type']}\r\n\r\n".encode()
            boundary = email.parser.BytesParser(policy=email.policy.HTTP).parsebytes(kind).get_boundary().encode()
            _, description, content, _ = re.split(rb"\r?\n?--" + re.escape(boundary), body)
            meta, data = (re.split(rb"\r?\n\r?\n", part, maxsplit=1)[1] for part in (description, content))
            return self._store(bucket, query.get("name") or json.loads(meta)["name"], query, data)
        upload = str(next(self._upload_ids))
        name = query.get("name") or json.loads(body)["name"]
        self._uploads[upload] = bucket, name, query, bytearray()
        return 200, {"Location": f"http://{headers['Host']}{url}&upload_id={upload}"}, b""

    def _continue_upload(self, upload, headers, body):
        bucket, name, query, data = self._uploads[upload]
        if bucket not in self.buckets:
            return _error(404, f"The specified bucket {bucket} does not exist.")
        data += body
        total = headers.get("Content-Range", "*").rpartition("/")[2]
        if total == "*" or len(data) < int(total):
            return 308, {"Range": f"bytes=0-{len(data) - 1}"} if data else {}, b""
        del self._uploads[upload]
        return self._store(bucket, name, query, bytes(data))

    def _store(self, bucket, name, query, data):
        found = self.buckets[bucket].get(name)
        generation = str(found.generation if found else 0)
        if query.get("ifGenerationMatch", generation) != generation:
            return _error(412, "conditionNotMet")
        self.buckets[bucket][name] = Object(data, next(self._generations))
        return _json(_resource(bucket, name, self.buckets[bucket][name]))

    def _copy(self, bucket, source, to_bucket, target, move):
        found = self.buckets[bucket].get(source)
        if found is None or to_bucket not in self.buckets:
            return _error(404, f"No such object: {bucket}/{source}")
        status, headers, body = self._store(to_bucket, target, {}, found.data)
        if move:
            del self.buckets[bucket][source]
            return status, headers, body
        return _json({"kind": "storage#rewriteResponse", "done": True, "resource": json.loads(body)})


def _resource(bucket, name, found):
    now = "2025-01-01T00:00:00.000Z"
    return {
        "kind": "storage#object",
        "bucket": bucket,
        "name": name,
        "size": str(len(found.data)),
        "generation": str(found.generation),
        "metageneration": "1",
        "timeCreated": now,
        "updated": now,
    }


def _json(value, status=200):
    return status, {"Content-Type": "application/json"}, json.dumps(value).encode()


def _error(status, message):
    return _json({"error": {"code": status, "message": message, "errors": [{"message": message}]}}, status)


class _Server(http.server.ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request, client_address):
        if not isinstance(sys.exception(), ConnectionError):  # a client that was killed has left: no fault of ours
            super().handle_error(request, client_address)


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def _serve(self):
        if self.headers.get("Transfer-Encoding") == "chunked":
            body = b""
            while size := int(self.rfile.readline(), 16):
                body += self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()
        else:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        status, headers, data = self.gcs.answer(self.command, self.path, self.headers, body)
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        if status not in (204, 304):
            self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    do_GET = do_POST = do_PUT = do_DELETE = _serve

    def log_message(self, *_):
        pass
