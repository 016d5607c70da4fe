"""Prometheus' text exposition format 0.0.4, from the documents of `vnet status --json`. Pure.

The names and labels are a contract: they stay, and new ones come beside them. Counters of ports start
again at 0 when a port does, as Prometheus expects of counters; those of usage go on.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import attrs

from vnet.machines.machine import STATES

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


@attrs.frozen
class Metric:
    """One metric and where its samples come from: (more labels, value) of a port's or machine's entry."""

    name: str
    kind: str
    help: str
    samples: Callable[[dict[str, Any]], Iterator[tuple[dict[str, str], float]]]


def _field(*path: str) -> Callable[[dict[str, Any]], Iterator[tuple[dict[str, str], float]]]:
    def samples(entry: dict[str, Any]) -> Iterator[tuple[dict[str, str], float]]:
        value: Any = entry
        for key in path:
            value = value[key]
        yield {}, value

    return samples


def _up(port: dict[str, Any]) -> Iterator[tuple[dict[str, str], float]]:
    yield {}, int(bool(port["carrier"]) and port["link"] == "up")


def _drops(port: dict[str, Any]) -> Iterator[tuple[dict[str, str], float]]:
    for reason, frames in sorted(port["drops"].items()):
        yield {"reason": reason}, frames


def _held(port: dict[str, Any]) -> Iterator[tuple[dict[str, str], float]]:
    if "held" in port:
        yield {}, port["held"]


def _usage(field: str) -> Callable[[dict[str, Any]], Iterator[tuple[dict[str, str], float]]]:
    def samples(port: dict[str, Any]) -> Iterator[tuple[dict[str, str], float]]:
        if usage := port.get("usage"):
            for direction in ("egress", "ingress"):
                for scope in ("fabric", "uplink"):
                    yield {"direction": direction, "scope": scope}, usage[direction][scope][field]

    return samples


def _info(port: dict[str, Any]) -> Iterator[tuple[dict[str, str], float]]:
    networks = port["network"] or ",".join(port.get("trunk", ()))
    yield (
        {
            "switch": port["switch"],
            "network": networks,
            "mac": port.get("mac") or "",
            "ip": ",".join(port.get("ip") or ()),
        },
        1,
    )


METRICS = (
    Metric("vnet_port_info", "gauge", "Always 1; the labels say what the port is.", _info),
    Metric("vnet_port_up", "gauge", "1 while the port has carrier and its link is set up.", _up),
    Metric(
        "vnet_port_received_frames_total",
        "counter",
        "Frames the switch took in at the port.",
        _field("rx", "frames"),
    ),
    Metric(
        "vnet_port_received_bytes_total",
        "counter",
        "Bytes the switch took in at the port, without FCS.",
        _field("rx", "bytes"),
    ),
    Metric(
        "vnet_port_sent_frames_total",
        "counter",
        "Frames the switch sent out of the port.",
        _field("tx", "frames"),
    ),
    Metric(
        "vnet_port_sent_bytes_total",
        "counter",
        "Bytes the switch sent out of the port, without FCS.",
        _field("tx", "bytes"),
    ),
    Metric("vnet_port_dropped_frames_total", "counter", "Frames dropped at the port, by reason.", _drops),
    Metric(
        "vnet_port_held_seconds_total",
        "counter",
        "Time that the port was not read, because nearly all that its guest sent was dropped.",
        _held,
    ),
    Metric(
        "vnet_usage_frames_total",
        "counter",
        "Frames a guest sent (egress) and received (ingress), over uplinks or not; kept over restarts.",
        _usage("frames"),
    ),
    Metric(
        "vnet_usage_bytes_total",
        "counter",
        "Bytes of these, on a wire, without VLAN tags and FCS.",
        _usage("bytes"),
    ),
)
"""Of ports, labelled `fabric`, `port`, `guest` and `kind`."""


FLOWS = (
    ("vnet_flow_sampled_frames_total", "sampled", "Frames that were looked at for the export of flows."),
    ("vnet_flow_records_total", "exported", "Flows that a collector was told of."),
    ("vnet_flow_evicted_total", "evicted", "Flows that had to make room for others."),
    ("vnet_flow_lost_total", "lost", "Flows that nobody was told of, for want of room."),
    ("vnet_flow_unsent_messages_total", "unsent", "Messages that the system did not send to the collector."),
)
"""Of fabrics that export flows."""


def _states(machine: dict[str, Any]) -> Iterator[tuple[dict[str, str], float]]:
    for state in STATES:
        yield {"state": state}, int(machine["state"] == state)


MACHINES = (
    Metric("vnet_machine_state", "gauge", "1 for the state that the machine is in, 0 for others.", _states),
    Metric("vnet_machine_state_seconds", "gauge", "For how long it has been in it.", _field("seconds")),
    Metric(
        "vnet_machine_restarts_total",
        "counter",
        "How often it was started again because it failed, since somebody started it.",
        _field("restarts"),
    ),
)
"""Of guests of kind `qemu`, labelled `fabric` and `guest`."""


def exposition(fabrics: Sequence[dict[str, Any]], silent: Sequence[str] = ()) -> str:
    """The text for these fabrics' status documents, and for those of these names, which don't answer."""
    lines = []
    for metric in METRICS:
        lines += _head(metric.name, metric.kind, metric.help)
        for fabric in fabrics:
            for port in fabric["ports"]:
                labels = {
                    "fabric": fabric["name"],
                    "port": port["port"],
                    "guest": port["guest"] or "",
                    "kind": port["kind"],
                }
                lines += [_line(metric.name, labels | more, value) for more, value in metric.samples(port)]
    for metric in MACHINES:
        lines += _head(metric.name, metric.kind, metric.help)
        for fabric in fabrics:
            for machine in fabric["machines"]:
                labels = {"fabric": fabric["name"], "guest": machine["guest"]}
                lines += [_line(metric.name, labels | more, value) for more, value in metric.samples(machine)]
    lines += _head("vnet_engine_turns_total", "counter", "Turns of the fabric's engine.")
    for fabric in fabrics:
        lines.append(_line("vnet_engine_turns_total", {"fabric": fabric["name"]}, fabric["engine"]["turns"]))
    for name, key, text in FLOWS:
        lines += _head(name, "counter", text)
        lines += [
            _line(name, {"fabric": fabric["name"]}, fabric["flows"][key])
            for fabric in fabrics
            if fabric.get("flows")
        ]
    lines += _head("vnet_fabric_up", "gauge", "1 for a fabric that answers, 0 for one that does not.")
    up = {fabric["name"]: 1 for fabric in fabrics} | dict.fromkeys(silent, 0)
    lines += [_line("vnet_fabric_up", {"fabric": name}, value) for name, value in up.items()]
    lines += _head("vnet_fabrics", "gauge", "Running fabrics of this user.")
    lines.append(_line("vnet_fabrics", {}, len(up)))
    return "\n".join(lines) + "\n"


def _head(name: str, kind: str, text: str) -> list[str]:
    return [f"# HELP {name} {text}", f"# TYPE {name} {kind}"]


def _line(name: str, labels: dict[str, str], value: float) -> str:
    words = ",".join(f'{key}="{_escaped(text)}"' for key, text in labels.items())
    return f"{name}{{{words}}} {value}" if words else f"{name} {value}"


def _escaped(text: str) -> str:
    return text.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")
