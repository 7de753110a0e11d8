"""Runs a command in namespaces of its own: `python -m tests.cluster.enter COMMAND…`, root or not.

A user namespace, so that no privilege is needed; a network namespace with nothing but a loopback; a process namespace, so
that whatever is started ends with the command. Exit code 77: something that is needed is missing; it is said what.
"""

import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from typing import Final

from analyzer.errors import TerminalError
from analyzer.sandbox.gateway import find_envoy
from analyzer.sandbox.prometheus import find_prometheus

MISSING: Final = 77
INSIDE: Final = "SERIN_BED"

_UNSHARE: Final = (
    "unshare",
    *("--user", "--map-root-user", "--net", "--pid", "--fork", "--kill-child", "--mount-proc"),
    "--",
)
_LOOPBACK: Final = ("sh", "-c", 'ip link set lo up && exec "$@"', "sh")
"""A new network namespace has a loopback that is down; not every test goes through the bed, which has more to set up."""
_PACKAGES: Final = {"unshare": "util-linux", "setpriv": "util-linux", "ip": "iproute2", "openssl": "openssl"}


def find_missing() -> str | None:
    """Tell what is needed and not there, and how to get it."""
    if sys.platform != "linux":
        return f"Linux namespaces, and this is {sys.platform}."
    for program, package in _PACKAGES.items():
        if shutil.which(program) is None:
            return f"`{program}`: apt-get install {package}"
    for find in (find_envoy, find_prometheus):
        try:
            find()
        except TerminalError as error:
            return f"more than there is: {error}"
    tried = subprocess.run([*_UNSHARE, "true"], capture_output=True, text=True, check=False)
    if tried.returncode:
        return (
            f"user, network and process namespaces, which this machine refuses ({tried.stderr.strip()}). "
            "Look at `sysctl user.max_user_namespaces kernel.unprivileged_userns_clone "
            "kernel.apparmor_restrict_unprivileged_userns`; in a container, at its seccomp profile and its masked /proc."
        )
    return None


def main(command: Sequence[str]) -> int:  # noqa: RET503 - nothing comes after exec
    """Become the command, or say why not."""
    os.environ["PATH"] += ":/usr/sbin:/sbin"  # where `ip` is, for people who are not root
    if missing := find_missing():
        sys.stderr.write(f"The cluster tests need {missing}\n")
        return MISSING
    os.environ[INSIDE] = "inside"
    sys.stdout.flush()
    os.execvp(_UNSHARE[0], [*_UNSHARE, *_LOOPBACK, *command])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
