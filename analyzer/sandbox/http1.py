"""Just enough HTTP/1.1 for servers and clients of our own: keep-alive and Content-Length, nothing else.

A full HTTP library costs ten times the CPU, and the sandbox shares two cores with what it measures.
"""

from collections.abc import Iterator, Mapping
from typing import Final, NamedTuple

_LONGEST_HEAD: Final = 65_536


class FramingError(Exception):
    """The peer speaks something that we do not."""


class Message(NamedTuple):
    """One request or response."""

    start: str
    headers: Mapping[str, str]  # names in lower case; of repeated names the last
    body: bytes

    @property
    def last(self) -> bool:
        """True where the sender closes the connection after this message."""
        return self.headers.get("connection", "").lower() == "close"


class Framing:
    """Cuts a stream of bytes into messages."""

    __slots__ = ("_buffer",)

    def __init__(self) -> None:
        self._buffer = b""

    def feed(self, data: bytes) -> Iterator[Message]:
        """Give the messages that are complete now.

        Raises
        ------
        FramingError
            A head that is too long or has no colon in a line, or a body without Content-Length.
        """
        self._buffer += data
        while (end := self._buffer.find(b"\r\n\r\n")) >= 0:
            start, headers = _parse_head(self._buffer[:end])
            size = _body_size(headers)
            body = self._buffer[end + 4 : end + 4 + size]
            if len(body) < size:
                return
            self._buffer = self._buffer[end + 4 + size :]
            yield Message(start, headers, body)
        if len(self._buffer) > _LONGEST_HEAD:
            raise FramingError(f"no end of the head within {_LONGEST_HEAD} bytes")


def _parse_head(head: bytes) -> tuple[str, dict[str, str]]:
    start, *lines = head.decode("latin-1").split("\r\n")
    headers = {}
    for line in lines:
        name, colon, value = line.partition(":")
        if not colon:
            raise FramingError(f"a header without a colon: {line!r}")
        headers[name.lower()] = value.strip()
    return start, headers


def _body_size(headers: Mapping[str, str]) -> int:
    if "transfer-encoding" in headers:
        raise FramingError("Transfer-Encoding is not spoken here")
    text = headers.get("content-length", "0")
    if not text.isdecimal():
        raise FramingError(f"Content-Length is {text!r}")
    return int(text)
