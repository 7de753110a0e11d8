"""The CustomResourceDefinitions as the files in `deploy/crd`."""

from typing import Any

import yaml

from analyzer.policy.crd import crd, defaults_crd

_HEAD = "# Made from the policy model by `serin schema --crd{}`; not written by hand.\n"


class _Dumper(yaml.SafeDumper):
    """No anchors: kubectl reads them, people do not."""

    def ignore_aliases(self, data: object) -> bool:
        del data
        return True


def crd_text() -> str:
    """Write the definition of policies as YAML."""
    return _HEAD.format("") + _yaml(crd())


def defaults_crd_text() -> str:
    """Write the definition of defaults as YAML."""
    return _HEAD.format(" --defaults") + _yaml(defaults_crd())


def _yaml(definition: dict[str, Any]) -> str:
    return yaml.dump(definition, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=120)
