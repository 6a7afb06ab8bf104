"""Every parameter of `config.py` as a ROS parameter: described, ranged, settable or read-only.

A wrong value given at the start does not kill the node: it is remembered, and the node refuses to
configure until it is right. A wrong value given later is refused with its reason.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Collection, Iterable
from typing import Any

from rcl_interfaces.msg import (
    FloatingPointRange,
    IntegerRange,
    ParameterDescriptor,
    SetParametersResult,
)
from rclpy.exceptions import ParameterNotDeclaredException
from rclpy.node import Node
from rclpy.parameter import Parameter

from semla_ros.core.config import PARAMETERS, Config, updated
from semla_ros.core.errors import ConfigError, SemlaError
from semla_ros.core.parameter import ParameterSpec
from semla_ros.nodes.qos import check_override

AUTOSTART = "autostart"
COMBINATION = "combination"
OWN = (*PARAMETERS, AUTOSTART)
_KEPT = ("use_sim_time", "start_type_description_service")
_QOS = "qos_overrides"
_RESTART = "it is read at the start only: restart the node with another value"
_MAX_FLOAT = 1.7976931348623157e308
_MAX_INT = 2**63 - 1


def descriptor(spec: ParameterSpec) -> ParameterDescriptor:
    """Return the ROS description of one parameter, its range and choices included."""
    unit = f" [{spec.unit}]" if spec.unit else ""
    message = ParameterDescriptor(
        description=spec.doc + unit,
        read_only=spec.fixed,
        additional_constraints=f"one of: {', '.join(spec.choices)}" if spec.choices else "",
    )
    if spec.minimum is None and spec.maximum is None:
        return message
    if isinstance(spec.default, float):
        low = -_MAX_FLOAT if spec.minimum is None else float(spec.minimum)
        high = _MAX_FLOAT if spec.maximum is None else float(spec.maximum)
        message.floating_point_range = [FloatingPointRange(from_value=low, to_value=high)]
    else:
        lowest = -_MAX_INT if spec.minimum is None else int(spec.minimum)
        highest = _MAX_INT if spec.maximum is None else int(spec.maximum)
        message.integer_range = [IntegerRange(from_value=lowest, to_value=highest)]
    return message


def unknown_overrides(names: Iterable[str], known: Collection[str] = OWN) -> dict[str, str]:
    """Return name -> reason for every given parameter that is not among the `known` ones."""
    problems: dict[str, str] = {}
    for name in names:
        if name in known or name in _KEPT:
            continue
        near = difflib.get_close_matches(name, known, n=1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        problems[name] = f"unknown parameter {name!r}{hint}"
    return problems


class NodeParameters:
    """Declares the parameters on a node and keeps the `Config` that they make.

    Attributes:
        config: The settings in force.
        problems: Parameter -> why its value at the start could not be taken; the default stands
            in, and the node must not be configured with it.
        ignored: Parameter -> why it was given in vain.
    """

    def __init__(self, node: Node, *, on_change: Callable[[Config], None]) -> None:
        """Declare everything on `node`.

        Args:
            node: Made with `automatically_declare_parameters_from_overrides=True`, so that
                unknown names can be told.
            on_change: Called with new settings before they are accepted; refuses them by a
                SemlaError.
        """
        self._node = node
        self._on_change = on_change
        self.problems: dict[str, str] = {}
        given = take_overrides(node)
        self._qos = [name for name in given if name.startswith(f"{_QOS}.")]
        self.ignored = unknown_overrides(name for name in given if name not in self._qos)
        for name in self._qos:
            self._check_qos(given[name])
        self._autostart = self._declare_autostart(given.get(AUTOSTART))
        self._values = {s.name: self._declare(s, given.get(s.name)) for s in PARAMETERS.values()}
        self.config = self._initial()
        node.add_pre_set_parameters_callback(self._prepare)
        node.add_on_set_parameters_callback(self._accept)

    @property
    def autostart(self) -> bool:
        """Whether the node configures and activates itself."""
        return self._autostart

    @property
    def problem(self) -> str:
        """All problems in a sentence, empty without one."""
        return "; ".join(self.problems.values())

    @property
    def mendable(self) -> bool:
        """Whether setting parameters can solve every problem."""
        settable = {name for name, spec in PARAMETERS.items() if not spec.fixed}
        return self.problems.keys() <= settable | {COMBINATION}

    def look_for_unused(self) -> list[str]:
        """Ignore the QoS overrides that no endpoint took, once all exist; return why, if new."""
        taken = [f"{_QOS}.{name}" for name in self._node.get_parameters_by_prefix(_QOS)]
        unused = unknown_overrides(self._qos, taken)
        new = [reason for name, reason in unused.items() if name not in self.ignored]
        self.ignored = {n: r for n, r in self.ignored.items() if n not in self._qos} | unused
        return new

    def _check_qos(self, given: Parameter[Any]) -> None:
        try:
            check_override(given.name, given.value)
        except ConfigError as error:
            self.problems[given.name] = f"{error}; {_RESTART}"

    def _declare_autostart(self, given: Parameter[Any] | None) -> bool:
        described = ParameterDescriptor(
            description="Configure and activate without a lifecycle manager", read_only=True
        )
        value = True if given is None else given.value
        if not isinstance(value, bool):
            self.problems[AUTOSTART] = (
                f"parameter {AUTOSTART!r}: expected true or false, got {value!r}; {_RESTART}"
            )
            value = True
        self._node.declare_parameter(AUTOSTART, value, described, ignore_override=True)
        return value

    def _declare(self, spec: ParameterSpec, given: Parameter[Any] | None) -> object:
        value: object = spec.default
        if given is not None:
            try:
                value = spec.checked(given.value)
            except ConfigError as error:
                self.problems[spec.name] = f"{error}; {_RESTART}" if spec.fixed else str(error)
        self._node.declare_parameter(spec.name, value, descriptor(spec), ignore_override=True)
        return value

    def _initial(self) -> Config:
        try:
            return updated(Config(), self._values)
        except ConfigError as error:  # each is right, together they are not
            self.problems[COMBINATION] = str(error)
            fixed = {name: v for name, v in self._values.items() if PARAMETERS[name].fixed}
            return updated(Config(), fixed)

    def _prepare(self, parameters: list[Parameter[Any]]) -> list[Parameter[Any]]:
        """Refuse unknown names as at the start, and widen whole numbers."""
        unknown = [p.name for p in parameters if not self._node.has_parameter(p.name)]
        if reasons := unknown_overrides(unknown):
            error = ParameterNotDeclaredException(unknown)
            error.args = ("; ".join(reasons.values()),)  # rclpy's services answer with it
            raise error
        return _widen(parameters)

    def _accept(self, parameters: list[Parameter[Any]]) -> SetParametersResult:
        """Check and apply in one step, so that a value which is shown is always in force."""
        changes = {p.name: p.value for p in parameters if p.name in PARAMETERS}
        if not changes:
            return SetParametersResult(successful=True)
        values = self._values | changes
        try:
            config = updated(Config(), values)
            self._on_change(config)
        except SemlaError as error:
            return SetParametersResult(successful=False, reason=str(error))
        self._values, self.config = values, config
        for name in (*changes, COMBINATION):
            self.problems.pop(name, None)
        return SetParametersResult(successful=True)


def take_overrides(node: Node) -> dict[str, Parameter[Any]]:
    """Return what was given at the start, undeclared again so that it can be declared properly."""
    given = {
        name: parameter
        for name, parameter in node.get_parameters_by_prefix("").items()
        if name not in _KEPT
    }
    for name in given:
        node.undeclare_parameter(name)
    return given


def _widen(parameters: list[Parameter[Any]]) -> list[Parameter[Any]]:
    """Return the parameters with whole numbers made floats where a float is expected."""
    return [
        Parameter(p.name, Parameter.Type.DOUBLE, float(p.value))
        if p.type_ is Parameter.Type.INTEGER
        and p.name in PARAMETERS
        and isinstance(PARAMETERS[p.name].default, float)
        else p
        for p in parameters
    ]
