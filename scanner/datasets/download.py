"""A file over HTTP that a broken connection does not lose: what came is kept and completed."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from scanner.errors import DataError

if TYPE_CHECKING:
    from requests import Response

ATTEMPTS = 5  # in a row without a new byte
PAUSE_S = 2.0
TIMEOUT_S = 60.0
CHUNK_BYTES = 1 << 20
BUSY = (429, 500, 502, 503, 504)
Progress = Callable[[int, int, str], None]


class Unreachable(DataError):
    """No answer at all: there is no network here, or no such server."""


class Refused(DataError):
    """An answer, but not the file."""


class _Broken(Exception):
    """An attempt that another one may mend."""


class _State(NamedTuple):
    """What is known of the file that a part belongs to: its version at the server, and its size."""

    version: str
    size: int | None


@dataclass(frozen=True)
class Resumable:
    """A downloader for `pooch.retrieve` that keeps ``<part>`` and goes on from there.

    The part goes on only where the server says that its file is still the same one (`If-Range` with
    the ETag or the date of the first answer) or, without either, has the same length; a server that
    sends the whole file again makes it start again.

    Attributes:
        part: Where the bytes lie until they are complete; ``<part>.json`` lies beside it.
        size: The published size in bytes; None where there is none.
        progress: Called with the bytes so far, the size (0 if unknown) and a text.
    """

    part: Path
    size: int | None
    progress: Progress

    def __call__(self, url: str, output_file: str, _: object) -> None:
        """Download `url` to `output_file`.

        Raises:
            Unreachable: The server cannot be reached and no byte came.
            Refused: It does not give the file.
            DataError: It offers another size, or the connection keeps breaking; the part
                stays where another call can complete it.
        """
        left = ATTEMPTS
        while left:
            before = _size(self.part)
            try:
                self._attempt(url)
                break
            except (_Broken, Unreachable) as error:
                size = _size(self.part)
                if not size and isinstance(error, Unreachable):
                    raise
                left = left - 1 if size <= before else ATTEMPTS - 1
                self.progress(size, self.size or 0, f"{error}; going on")
                cause = error
            time.sleep(PAUSE_S)
        else:
            raise self._give_up(cause) from cause
        self.part.replace(output_file)
        self._state_file.unlink(missing_ok=True)

    @property
    def _state_file(self) -> Path:
        return self.part.with_name(f"{self.part.name}.json")

    def _attempt(self, url: str) -> None:
        """Bring the part to its full length, or raise `_Broken`."""
        state = self._state()
        headers = {"Accept-Encoding": "identity"}
        start = _size(self.part)
        if start and start == (self.size or state.size):
            return
        if start:
            headers["Range"] = f"bytes={start}-"
            if state.version:
                headers["If-Range"] = state.version
        with _request(url, headers) as response:
            total = _range(response, start, state)
            if total is None:
                total = self._begin(url, response, start)
            with self.part.open("ab") as out:
                for chunk in _chunks(response):
                    out.write(chunk)
                    self.progress(out.tell(), total or 0, f"downloading {url}")
                    if total is not None and out.tell() > total:
                        break
        self._check_length(url, total)

    def _begin(self, url: str, response: Response, start: int) -> int | None:
        """Forget the part: the length of the file in this answer, where it says so."""
        self._discard()
        if response.status_code != 200:
            raise _Broken(f"{url}: the server cannot go on from byte {start}")
        if start:
            self.progress(0, self.size or 0, "the server starts the file again")
        length = response.headers.get("Content-Length", "")
        total = int(length) if length.isdigit() else self.size
        if self.size is not None and total != self.size:
            raise DataError(f"{url}: the server offers {total} bytes, the published file has "
                            f"{self.size}; nothing is kept. Try again later")
        tag = response.headers.get("ETag", "")
        version = response.headers.get("Last-Modified", "") if tag.startswith("W/") else tag
        _write_json(self._state_file, {"version": version, "size": total})
        return total

    def _check_length(self, url: str, total: int | None) -> None:
        size = _size(self.part)
        if total is not None and size > total:
            self._discard()
            raise DataError(f"{url}: the server sent more than the {total} bytes of the file; "
                            "nothing is kept. Try again later")
        if total is not None and size < total:
            raise _Broken(f"{url}: the connection ended after {size} of {total} bytes")

    def _state(self) -> _State:
        """The state of the part; a part without one is worthless and goes."""
        try:
            state = _State(**json.loads(self._state_file.read_text()))
        except (OSError, ValueError, TypeError):
            state = _State("", None)
            self._discard()
        return state

    def _discard(self) -> None:
        for path in (self.part, self._state_file):
            path.unlink(missing_ok=True)

    def _give_up(self, error: Exception) -> DataError:
        size, text = _size(self.part), f"{error}, {ATTEMPTS} times in a row"
        if not size:
            return DataError(f"{text}; try again later")
        return DataError(f"{text}. {size} bytes are kept; the same command goes on from there")


def get_json(url: str) -> object:
    """The JSON document at `url`; None where the server has none.

    Raises:
        Unreachable: The server cannot be reached.
    """
    try:
        with _request(url, {}) as response:
            if response.status_code == 200:
                return json.loads(b"".join(_chunks(response)))
    except (_Broken, DataError, ValueError) as error:
        if isinstance(error, Unreachable):
            raise
    return None


@contextmanager
def _request(url: str, headers: dict[str, str]) -> Iterator[Response]:
    """An answer of 200, 206 or 416 to a GET."""
    import requests

    try:
        response = requests.get(url, headers=headers, stream=True, timeout=TIMEOUT_S)
    except (requests.ConnectionError, requests.Timeout) as error:
        raise _lost(url, error) from error
    except requests.RequestException as error:
        raise DataError(f"{url}: {error}") from error
    with response:
        if response.status_code in BUSY:
            raise _Broken(f"{url}: HTTP {response.status_code} {response.reason}")
        if response.status_code not in (200, 206, 416):
            raise Refused(f"{url}: HTTP {response.status_code} {response.reason}; the server does "
                          "not give this file")
        yield response


def _lost(url: str, error: Exception) -> Exception:
    """A connection that was cut may be mended; one that was never made is no network."""
    from urllib3.exceptions import ProtocolError, ReadTimeoutError

    cause = error.args[0] if error.args else error
    reason = getattr(cause, "reason", cause)
    if isinstance(reason, ProtocolError | ReadTimeoutError):
        return _Broken(f"{url}: the server does not answer")
    return Unreachable(f"{url}: no connection ({_plain(reason)})")


def _plain(reason: object) -> str:
    """The words of a nested network error, without the addresses of objects."""
    return str(reason).rpartition(">: ")[2].rpartition("): ")[2] or type(reason).__name__


def _chunks(response: Response) -> Iterator[bytes]:
    """The body, each piece as soon as it is there, so that none is lost with the connection."""
    from urllib3.exceptions import HTTPError

    try:
        while chunk := response.raw.read1(CHUNK_BYTES):
            yield chunk
    except HTTPError as error:
        raise _Broken(f"{response.url}: the connection broke") from error


def _range(response: Response, start: int, state: _State) -> int | None:
    """The whole length that a 206 states; None if this is not the rest of the same file."""
    unit, _, rest = response.headers.get("Content-Range", "").partition(" ")
    span, _, total = rest.partition("/")
    rest_of_it = unit == "bytes" and span.startswith(f"{start}-") and total.isdigit()
    if response.status_code != 206 or not rest_of_it:
        return None
    return int(total) if state.size in (None, int(total)) else None


def _size(path: Path) -> int:
    return path.stat().st_size if path.is_file() else 0


def _write_json(path: Path, content: dict[str, str | int | None]) -> None:
    temporary = path.with_name(f"{path.name}.new")
    temporary.write_text(json.dumps(content))
    temporary.replace(path)
