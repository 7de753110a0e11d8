"""What several commands read of their options."""

from pathlib import Path

from analyzer.errors import PolicyError
from analyzer.policy.load import load_objects
from analyzer.policy.model import KIND, CanaryPolicy
from analyzer.policy.parse import is_foreign, parse_policy


class UsageError(PolicyError):
    """An option is not what it should be."""

    reason = "UsageError"


def read_policy_file(path: Path) -> CanaryPolicy:
    """Read the one policy of a file, whatever other objects are in it.

    Raises
    ------
    PolicyError
        There is none, or more than one, or it is wrong.
    """
    found = [obj for obj in load_objects([path]) if obj.get("kind") == KIND or is_foreign(obj)]
    if len(found) != 1:
        count = f"{len(found)} policies" if found else f"no {KIND}"
        raise UsageError(f"{path} holds {count}: name a file with exactly one")
    try:
        return parse_policy(found[0])
    except PolicyError as error:
        raise PolicyError(f"{path}: {error}\n`serin lint {path}` shows the lines") from error
