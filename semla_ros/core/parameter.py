"""What may be said about one parameter: type, default, range, documentation."""

from __future__ import annotations

import math
from dataclasses import Field, dataclass, field
from typing import Any, cast

from semla_ros.core.errors import ConfigError

Value = bool | int | float | str


@dataclass(frozen=True, slots=True)
class ParameterSpec:
    """What may be said about one parameter.

    Attributes:
        name: Its name, everywhere.
        default: Its default; the type of a value must be the type of the default.
        doc: One line.
        unit: Empty where it has none.
        minimum, maximum: Inclusive range of a number, None where open.
        choices: Allowed strings, empty where free.
        live: May change while the node runs.
        fixed: Read when the process starts, never again; what is neither is read at configure.
        decides: `policy`: when the adapters are swapped; `result`: other answers to the same
            frames; empty: neither, or the bundle has a say in it.
    """

    name: str
    default: Value
    doc: str
    unit: str
    minimum: float | None
    maximum: float | None
    choices: tuple[str, ...]
    live: bool
    fixed: bool = False
    decides: str = ""

    @property
    def when(self) -> str:
        """When it can be set, in a word for people."""
        return "live" if self.live else "at start" if self.fixed else "unconfigured"

    def checked(self, value: object) -> Value:
        """Return `value` as this parameter's type.

        Raises:
            ConfigError: Wrong type, out of range, or not among the choices.
        """
        if (
            isinstance(self.default, float)
            and isinstance(value, int)
            and not isinstance(value, bool)
        ):
            value = float(value)
        if type(value) is not type(self.default):
            raise ConfigError(
                f"parameter {self.name!r}: expected {type(self.default).__name__}, got {value!r}"
            )
        if isinstance(value, (int, float)) and not isinstance(value, bool):
            low = -math.inf if self.minimum is None else self.minimum
            high = math.inf if self.maximum is None else self.maximum
            if not low <= value <= high:
                raise ConfigError(
                    f"parameter {self.name!r}: expected {low} to {high}, got {value!r}"
                )
        if self.choices and value not in self.choices:
            raise ConfigError(
                f"parameter {self.name!r}: expected one of {self.choices!r}, got {value!r}"
            )
        if not isinstance(value, (bool, int, float, str)):
            raise ConfigError(f"parameter {self.name!r}: unsupported value {value!r}")
        return value


def parameter(
    default: Value,
    doc: str,
    *,
    unit: str = "",
    low: float | None = None,
    high: float | None = None,
    choices: tuple[str, ...] = (),
    live: bool = False,
    fixed: bool = False,
    decides: str = "",
) -> Any:  # noqa: ANN401  a dataclass field is typed by its annotation
    """Return a dataclass field that declares a parameter, see `ParameterSpec`."""
    meta = {
        "doc": doc,
        "unit": unit,
        "minimum": low,
        "maximum": high,
        "choices": choices,
        "live": live,
        "fixed": fixed,
        "decides": decides,
    }
    return field(default=default, metadata=meta)


def spec_of(declared: Field[Any]) -> ParameterSpec:
    """Return what `parameter` declared."""
    return ParameterSpec(declared.name, cast(Value, declared.default), **declared.metadata)
