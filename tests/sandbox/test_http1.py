from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from analyzer.sandbox.http1 import Framing, FramingError

RESPONSE = b"HTTP/1.1 200 OK\r\nX-Version: v2\r\nContent-Length: 5\r\n\r\nhello"
REQUEST = b"GET /hello HTTP/1.1\r\nHost: a:80\r\nConnection: close\r\n\r\n"


@given(st.lists(st.integers(0, len(RESPONSE + REQUEST)), max_size=8))
def test_messages_come_whole_however_the_bytes_are_cut(cuts: list[int]) -> None:
    stream, framing = RESPONSE + REQUEST, Framing()
    edges = [0, *sorted(cuts), len(stream)]
    chunks = [stream[a:b] for a, b in pairwise(edges)]
    response, request = [message for chunk in chunks for message in framing.feed(chunk)]
    assert (response.start, response.body, response.last) == ("HTTP/1.1 200 OK", b"hello", False)
    assert response.headers["x-version"] == "v2"
    assert (request.start, request.body, request.last) == ("GET /hello HTTP/1.1", b"", True)


@pytest.mark.parametrize(
    "head",
    [
        b"GET / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"GET / HTTP/1.1\r\nContent-Length: -1\r\n\r\n",
        b"GET / HTTP/1.1\r\nno colon\r\n\r\n",
        b"x" * 70_000,
    ],
)
def test_what_is_not_understood_is_an_error_not_a_guess(head: bytes) -> None:
    with pytest.raises(FramingError):
        list(Framing().feed(head))
