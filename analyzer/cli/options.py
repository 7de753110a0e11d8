"""What several commands read of their options."""

from pathlib import Path

from analyzer.errors import PolicyError
from analyzer.policy.defaults import layers_for, with_defaults
from analyzer.policy.load import load_objects
from analyzer.policy.mesh import namespace_of
from analyzer.policy.model import DEFAULTS_KIND, KIND, CanaryPolicy
from analyzer.policy.parse import is_foreign, parse_policy


class UsageError(PolicyError):
    """An option is not what it should be."""

    reason = "UsageError"


def read_policy_file(path: Path) -> CanaryPolicy:
    """Read the one policy of a file, over the `CanaryDefaults` that are in it, whatever else is.

    Raises
    ------
    PolicyError
        There is none, or more than one, or it is wrong.
    """
    objects = load_objects([path])
    found = [obj for obj in objects if obj.get("kind") == KIND or is_foreign(obj)]
    if len(found) != 1:
        count = f"{len(found)} policies" if found else f"no {KIND}"
        raise UsageError(f"{path} holds {count}: name a file with exactly one")
    try:
        defaults = [obj for obj in objects if obj.get("kind") == DEFAULTS_KIND]
        return parse_policy(with_defaults(found[0], layers_for(namespace_of(found[0]), defaults)))
    except PolicyError as error:
        raise PolicyError(f"{path}: {error}\n`serin lint {path}` shows the lines") from error
