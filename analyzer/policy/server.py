"""Rules that the API server enforces by itself, in the words of `serin lint`.

A type of field carries its rule in its JSON Schema, beside the validator that says the same in Python. The schema for
editors leaves them out, the CustomResourceDefinition takes them.
"""

from typing import Final

SERVER_RULES: Final = "x-kubernetes-validations"


def server_rule(expression: str, problem: str, mend: str) -> dict[str, str]:
    """Make a rule in CEL over one string, whose message begins with the string itself."""
    return {"rule": expression, "messageExpression": f"'`' + self + '` {problem}; {mend}'"}
