"""A release of the user's own: `errors=0.02,latency=1.5` as a new pod template."""

import copy
from dataclasses import asdict, dataclass, fields
from typing import Self

from analyzer.errors import PolicyError
from analyzer.ports import Object
from analyzer.sandbox.behaviour import Behaviour


@dataclass(frozen=True, slots=True, kw_only=True)
class Release:
    """How a new version differs from the declared defaults.

    Attributes
    ----------
    errors
        Share of requests answered with 500 [ratio]; None: as ever.
    latency
        Factor on the latency, 1 is as ever.
    sigma
        Factor on the spread of the latency.
    hangs
        Share of requests never answered [ratio].
    cpu
        Factor on the CPU cost per request.
    warmup
        The first requests take `1 + warmup` times as long; it wears off over a minute.
    """

    errors: float | None = None
    latency: float = 1.0
    sigma: float = 1.0
    hangs: float = 0.0
    cpu: float = 1.0
    warmup: float = 0.0

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read `name=number,name=number`; the empty text is a release that changes nothing.

        Raises
        ------
        PolicyError
            An unknown or repeated name, no number, or one out of its range.
        """
        names = [field.name for field in fields(cls)]
        values: dict[str, float] = {}
        for part in filter(None, (part.strip() for part in text.split(","))):
            name, equals, number = (piece.strip() for piece in part.partition("="))
            if not equals or name not in names:
                raise PolicyError(f"release {text!r}: {part!r}: write NAME=NUMBER, NAME one of {', '.join(names)}")
            if name in values:
                raise PolicyError(f"release {text!r}: {name} is given twice")
            values[name] = _parse_number(number, of=name, where=text)
        release = cls(**values)
        try:
            release.behaviour(Behaviour())
        except PolicyError as error:
            raise PolicyError(f"release {text!r}: {error}") from None
        return release

    def behaviour(self, usual: Behaviour) -> Behaviour:
        """Apply the release to a behaviour.

        Raises
        ------
        PolicyError
            The result is out of range.
        """
        changed = asdict(usual) | {
            "latency_ms": usual.latency_ms * self.latency,
            "latency_sigma": usual.latency_sigma * self.sigma,
            "hang_share": self.hangs,
            "warmup_factor": self.warmup,
            "cpu_milliseconds_per_request": usual.cpu_milliseconds_per_request * self.cpu,
        }
        if self.errors is not None:
            changed["error_rate"] = self.errors
        return Behaviour(**changed)

    def template(self, template: Object, *, tag: str) -> Object:
        """Make the pod template of this release from the usual one, with another image tag."""
        fresh = copy.deepcopy(template)
        container = fresh["spec"]["containers"][0]
        path, slash, name = container["image"].rpartition("/")
        container["image"] = f"{path}{slash}{name.partition(':')[0]}:{tag}"
        usual = Behaviour.of_template(template)
        wanted = self.behaviour(usual)
        changed = {
            field.name.upper(): f"{getattr(wanted, field.name):g}"
            for field in fields(Behaviour)
            if getattr(wanted, field.name) != getattr(usual, field.name)
        }
        kept = [entry for entry in container.get("env", []) if entry["name"] not in changed]
        container["env"] = [*kept, *({"name": name, "value": value} for name, value in sorted(changed.items()))]
        return fresh


def _parse_number(number: str, *, of: str, where: str) -> float:
    try:
        return float(number)
    except ValueError:
        raise PolicyError(f"release {where!r}: {of}={number!r} is no number: write 0.02, say") from None
