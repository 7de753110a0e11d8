import asyncio
import random
from collections.abc import Mapping

import pytest

from analyzer.sandbox.behaviour import COMPANY_COOKIE, Behaviour
from analyzer.sandbox.workloads import Pod


async def statuses(pod: Pod, *cookies: str) -> list[int]:
    """Send requests over one connection, each with its cookies or, where there are none, without."""
    reader, writer = await asyncio.open_connection("127.0.0.1", await pod.listen())
    seen = []
    for cookie in cookies:
        header = f"Cookie: {cookie}\r\n" if cookie else ""
        writer.write(f"GET /hello HTTP/1.1\r\nHost: helloworld\r\n{header}\r\n".encode())
        head = await reader.readuntil(b"\r\n\r\n")
        await reader.readuntil(b"\n")
        seen.append(int(head.split()[1]))
    writer.close()
    pod.close()
    return seen


@pytest.mark.parametrize(
    ("declared", "insiders", "others"),
    [
        ({"error_rate_insiders": 1.0}, 500, 200),
        ({"error_rate_others": 1.0}, 200, 500),
        ({"error_rate": 1.0, "error_rate_others": 1.0}, 500, 500),
    ],
)
async def test_a_pod_may_fail_for_some_users_only(declared: Mapping[str, float], insiders: int, others: int) -> None:
    behaviour = Behaviour(**{"error_rate": 0.0, "latency_ms": 1.0, **declared})
    pod = Pod("pod", version="v2", behaviour=behaviour, rng=random.Random(1))
    cookies = (COMPANY_COOKIE, "", f"theme=dark; {COMPANY_COOKIE}", "theme=dark")
    assert await statuses(pod, *cookies) == [insiders, others, insiders, others]
