"""A stand-in for Google Cloud Storage: the part of its JSON API that the three clients use.

Objects live in memory. `Server()` listens at a free port of the loopback interface; `environ` sends
gcsfs, TensorStore, array_record and Google's own client there.
"""

from __future__ import annotations

import base64
import contextlib
import email.parser
import hashlib
import http.server
import json
import re
import threading
import urllib.parse

TIME = "2025-01-01T00:00:00.000Z"


class Server:
    def __init__(self) -> None:
        self.objects: dict[str, bytes] = {}  # bucket/name -> content
        self.generations: dict[str, int] = {}
        self.uploads: dict[str, tuple[str, bytearray]] = {}
        self.lock = threading.Lock()
        handler = type("Handler", (_Handler,), {"server_state": self})
        self._http = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self.url = f"http://127.0.0.1:{self._http.server_address[1]}"
        threading.Thread(target=self._http.serve_forever, daemon=True).start()

    @property
    def environ(self) -> dict[str, str]:
        return {
            "STORAGE_EMULATOR_HOST": self.url,
            "TENSORSTORE_GCS_HTTP_URL": self.url,
            "CLOUD_STORAGE_EMULATOR_ENDPOINT": self.url,
            "GOOGLE_AUTH_TOKEN_FOR_TESTING": "none",
            "GOOGLE_CLOUD_PROJECT": "test",
            "GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT": "false",
            "NO_PROXY": "127.0.0.1",
            "no_proxy": "127.0.0.1",
        }

    def put(self, key: str, content: bytes) -> None:
        with self.lock:
            self.objects[key] = content
            self.generations[key] = self.generations.get(key, 0) + 1

    def metadata(self, key: str) -> dict[str, str]:
        bucket, _, name = key.partition("/")
        digest = base64.b64encode(hashlib.md5(self.objects[key]).digest()).decode()
        return {
            "kind": "storage#object",
            "bucket": bucket,
            "name": name,
            "size": str(len(self.objects[key])),
            "generation": str(self.generations[key]),
            "metageneration": "1",
            "md5Hash": digest,
            "etag": digest,
            "timeCreated": TIME,
            "updated": TIME,
            "storageClass": "STANDARD",
            "contentType": "application/octet-stream",
        }

    def close(self) -> None:
        self._http.shutdown()
        self._http.server_close()


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server_state: Server

    def handle(self) -> None:
        with contextlib.suppress(ConnectionError):  # a client that was killed
            super().handle()

    def log_message(self, *args: object) -> None:
        pass

    def _answer(self, code: int, body: bytes | dict = b"", **headers: str) -> None:
        content = json.dumps(body).encode() if isinstance(body, dict) else body
        self.send_response(code)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def _missing(self) -> None:
        self._answer(404, {"error": {"code": 404, "message": "Not Found", "errors": []}})

    def _body(self) -> bytes:
        if "chunked" in self.headers.get("Transfer-Encoding", ""):
            body = b""
            while size := int(self.rfile.readline().split(b";")[0], 16):
                body += self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()
            return body
        return self.rfile.read(int(self.headers.get("Content-Length", 0)))

    def _handle(self) -> None:
        state = self.server_state
        url = urllib.parse.urlsplit(self.path)
        query = dict(urllib.parse.parse_qsl(url.query, keep_blank_values=True))
        body = self._body()
        path = re.sub(r"^/(download|resumable)?/?", "/", url.path)
        upload = path.startswith("/upload/")
        path = path.removeprefix("/upload")
        match = re.fullmatch(r"/storage/v1/b/([^/]+)(?:/o(?:/(.*))?)?", path)
        if match is None:
            self._xml(path, query, body)
            return
        bucket, name = match[1], urllib.parse.unquote(match[2] or "")
        if upload:
            self._upload(bucket, query, body)
        elif "/moveTo/o/" in (match[2] or ""):
            source, target = (urllib.parse.unquote(x) for x in match[2].split("/moveTo/o/"))
            if f"{bucket}/{source}" not in state.objects:
                return self._missing()
            state.put(f"{bucket}/{target}", state.objects.pop(f"{bucket}/{source}"))
            self._answer(200, state.metadata(f"{bucket}/{target}"))
        elif (name and "/rewriteTo/" in (match[2] or "")) or "/copyTo/" in (match[2] or ""):
            source, target = re.split(r"/(?:rewriteTo|copyTo)/b/", match[2])
            to_bucket, _, to_name = target.partition("/o/")
            key = f"{bucket}/{urllib.parse.unquote(source)}"
            if key not in state.objects:
                return self._missing()
            to = f"{to_bucket}/{urllib.parse.unquote(to_name)}"
            state.put(to, state.objects[key])
            self._answer(200, {"done": True, "resource": state.metadata(to)})
        elif name:
            self._object(f"{bucket}/{name}", query)
        elif path.endswith("/o"):
            self._list(bucket, query)
        else:
            self._answer(200, {"kind": "storage#bucket", "name": bucket, "location": "US"})

    do_GET = do_POST = do_PUT = do_DELETE = do_HEAD = do_PATCH = _handle

    def _xml(self, path: str, query: dict[str, str], body: bytes) -> None:
        """The other address of an object: /BUCKET/NAME."""
        self._object(urllib.parse.unquote(path.lstrip("/")), query | {"alt": "media"})

    def _object(self, key: str, query: dict[str, str]) -> None:
        state = self.server_state
        if key not in state.objects:
            return self._missing()
        if self.command == "DELETE":
            with state.lock:
                del state.objects[key]
            return self._answer(204)
        if query.get("alt") != "media":
            return self._answer(200, state.metadata(key))
        content = state.objects[key]
        generation = {
            "x_goog_generation": str(state.generations[key]),
            "x_goog_stored_content_length": str(len(content)),
        }
        span = re.match(r"bytes=(\d*)-(\d*)", self.headers.get("Range", ""))
        if span is None:
            return self._answer(200, content, **generation)
        if span[1]:
            first, last = int(span[1]), int(span[2] or len(content) - 1)
        else:
            first, last = max(0, len(content) - int(span[2])), len(content) - 1
        last = min(last, len(content) - 1)
        if first > last:
            return self._answer(416, b"", Content_Range=f"bytes */{len(content)}")
        where = f"bytes {first}-{last}/{len(content)}"
        self._answer(206, content[first : last + 1], Content_Range=where, **generation)

    def _list(self, bucket: str, query: dict[str, str]) -> None:
        state = self.server_state
        prefix, delimiter = query.get("prefix", ""), query.get("delimiter", "")
        first, end = query.get("startOffset", ""), query.get("endOffset")
        items, prefixes = [], set()
        with state.lock:
            for key in sorted(state.objects):
                owner, _, name = key.partition("/")
                if owner != bucket or not name.startswith(prefix) or name < first:
                    continue
                if end and name >= end:
                    continue
                head, found, _ = name.removeprefix(prefix).partition(delimiter or "\0")
                if delimiter and found:
                    prefixes.add(prefix + head + delimiter)
                else:
                    items.append(state.metadata(key))
        self._answer(200, {"kind": "storage#objects", "items": items, "prefixes": sorted(prefixes)})

    def _upload(self, bucket: str, query: dict[str, str], body: bytes) -> None:
        state = self.server_state
        kind = query.get("uploadType")
        if "upload_id" in query:
            key, parts = state.uploads[query["upload_id"]]
            parts += body
            total = self.headers.get("Content-Range", "/*").rpartition("/")[2]
            if total == "*" or len(parts) < int(total):
                return self._answer(308, b"", Range=f"bytes=0-{len(parts) - 1}")
            content = bytes(parts)
        elif kind == "resumable":
            name = query.get("name") or json.loads(body)["name"]
            number = str(len(state.uploads))
            state.uploads[number] = (f"{bucket}/{name}", bytearray())
            place = f"{state.url}/upload/storage/v1/b/{bucket}/o?upload_id={number}"
            return self._answer(200, b"", Location=place)
        elif kind == "multipart":
            head = f"Content-Type: {self.headers['Content-Type']}\r\n\r\n".encode()
            message = email.parser.BytesParser().parsebytes(head + body)
            facts, data = message.get_payload()
            key = f"{bucket}/{json.loads(facts.get_payload())['name']}"
            content = data.get_payload(decode=True)
        else:
            key, content = f"{bucket}/{query['name']}", body
        wanted = query.get("ifGenerationMatch")
        now = state.generations.get(key, 0) if key in state.objects else 0
        if wanted is not None and int(wanted) != now:
            return self._answer(412, {"error": {"code": 412, "message": "conditionNotMet"}})
        state.put(key, content)
        self._answer(200, state.metadata(key))
