"""The CustomResourceDefinition as the file in `deploy/crd`."""

import yaml

from analyzer.policy.crd import crd

_HEAD = "# Made from the policy model by `serin schema --crd`; not written by hand.\n"


class _Dumper(yaml.SafeDumper):
    """No anchors: kubectl reads them, people do not."""

    def ignore_aliases(self, data: object) -> bool:
        del data
        return True


def crd_text() -> str:
    """Write the definition as YAML."""
    return _HEAD + yaml.dump(crd(), Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=120)
