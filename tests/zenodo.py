"""A server on the loopback that looks like Zenodo, with one fault per request on demand."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

LINE = "1;{};1;160000;0.5;j,900000,700000,0.1,0.2;j,21000,20000,0.1,0.2;\n"
TEXTS = {
    "training_files/chan3/background_chan3_8.02.csv": LINE.format("njets") * 3000,
    "training_files/chan3/stlp_st1000_chan3.csv": LINE.format("stlp_st1000") * 500,
}


def archive(texts=TEXTS, extra=()):
    """A tar archive of texts, then of members given as (name, type, link target)."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for name, text in texts.items():
            info = tarfile.TarInfo(name)
            info.size = len(text.encode())
            tar.addfile(info, io.BytesIO(text.encode()))
        for name, kind, target in extra:
            info = tarfile.TarInfo(name)
            info.type, info.linkname = kind, target
            tar.addfile(info)
    return buffer.getvalue()


class Zenodo:
    """The server.

    Attributes:
        content: The archive.
        published: What the record says of it, as JSON text; None for no record.
        tag: Its ETag.
        faults: Names of what goes wrong, one for each of the next requests of the file.
        ranges: The Range header of each request of the file.
        reached, released: Set when half of an answer is sent with the fault `wait`; what it then
            waits for.
    """

    def __init__(self, content, name="training_files.tar", record=3961917):
        self.name, self.record, self.tag = name, record, '"one"'
        self.faults, self.ranges = [], []
        self.reached, self.released = threading.Event(), threading.Event()
        self.offer(content)
        zenodo = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self):
                self.close_connection = True
                if self.path == f"/api/records/{zenodo.record}" and zenodo.published:
                    zenodo.answer(self, 200, zenodo.published.encode())
                elif self.path == f"/record/{zenodo.record}/files/{zenodo.name}?download=1":
                    zenodo.serve(self)
                else:
                    zenodo.answer(self, 404, b"")

            def log_message(self, *_):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        self.file = f"{self.url}/record/{record}/files/{name}?download=1"
        threading.Thread(target=self.server.serve_forever, args=(0.01,), daemon=True).start()

    def offer(self, content, checksum=True):
        """Serve this content from now on, with or without a published checksum."""
        self.content = content
        entry = {"key": self.name, "size": len(content)}
        entry |= {"checksum": "md5:" + hashlib.md5(content).hexdigest()} if checksum else {}
        self.published = json.dumps({"files": [entry]})

    def close(self):
        self.released.set()
        self.server.shutdown()
        self.server.server_close()

    def answer(self, request, code, body, length=None, **headers):
        request.send_response(code)
        if length != "chunked":
            headers["Content-Length"] = str(len(body) if length is None else length)
        for key, value in headers.items():
            request.send_header(key.replace("_", "-"), value)
        request.end_headers()
        request.wfile.write(body)
        request.wfile.flush()

    def serve(self, request):
        fault = self.faults.pop(0) if self.faults else ""
        self.ranges.append(request.headers.get("Range"))
        if fault.isdigit():
            return self.answer(request, int(fault), b"")
        if fault == "hang up":
            return None
        start, code, headers = 0, 200, {"ETag": self.tag} if self.tag else {}
        wanted, condition = request.headers.get("Range"), request.headers.get("If-Range", self.tag)
        if wanted and condition == self.tag and fault != "no range":
            start, code = int(wanted.removeprefix("bytes=").removesuffix("-")), 206
            shown = start + (fault == "wrong range")
            headers["Content-Range"] = f"bytes {shown}-{len(self.content) - 1}/{len(self.content)}"
        body = self.content[start:]
        half = body[:len(body) // 2]
        if fault == "wrong bytes":
            body = bytes(byte ^ 1 for byte in body)
        if fault == "cut":
            return self.answer(request, code, half, len(body), **headers)
        if fault == "wrong length":
            return self.answer(request, code, half, **headers)
        if fault == "too long":
            return self.answer(request, code, body + b"more", "chunked", **headers)
        if fault == "wait":
            self.answer(request, code, half, len(body), **headers)
            self.reached.set()
            self.released.wait(60)
            return None
        return self.answer(request, code, body, **headers)
