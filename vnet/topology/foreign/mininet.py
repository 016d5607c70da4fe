"""Mininet's: `mininet:FILE.py:CLASS?k=4`; CLASS is a subclass of `Topo` or a name in the file's `topos`.

The file is Python and is run, as Mininet would; what it prints goes to standard error. Where Mininet is not
installed, stand-ins for its modules are (`stand_in.py`), which take down what is added. Of links `bw`
(Mbit/s), `delay`, `jitter`, `loss` (%) and `max_queue_size` (packets) are taken over, of hosts `ip` and
`mac`; a host that has no address is given the one that Mininet would give it.
"""

from __future__ import annotations

import contextlib
import importlib.util
import inspect
import ipaddress
import re
import sys
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

from nics.errors import BadInput
from nics.keys import one_of, shown
from vnet.topology.foreign import Converted, stand_in
from vnet.topology.foreign.sketch import Cable, Sketch

BASE = ipaddress.ip_network("10.0.0.0/8")
"""Mininet's `ipBase`."""
SWITCH_WORDS = frozenset(
    {"isSwitch", "cls", "dpid", "ver", "protocols", "failMode", "stp", "datapath", "prio"}
)
LINK_WORDS = frozenset({"node1", "node2", "port1", "port2", "cls", "bw", "delay", "jitter", "loss"})


def convert(name: str, values: Mapping[str, str]) -> Converted:
    """Read `FILE.py:CLASS` and make it with these parameters. Raises BadInput."""
    file, _, wanted = name.partition(":") if ".py:" in name else (name, "", "")
    values = dict(values)
    kind = values.pop("kind", "stack")
    if kind not in ("stack", "netns"):
        raise BadInput(f"mininet:{name}: kind: {shown(kind)}, expected stack or netns")
    module = _load(file)
    topo = _make(module, file, wanted, values)
    notes: list[str] = []
    sketch = Sketch(wanted or type(topo).__name__, f"mininet:{name}")
    _hosts_and_switches(topo, sketch, notes)
    _cables(topo, sketch, notes)
    return Converted(sketch.topology(kind), notes)


def _load(file: str) -> ModuleType:
    """Run the file. Raises BadInput when it can't be, with the line where it ended."""
    path = Path(file)
    if not path.is_file():
        raise BadInput(f"{file}: no such file; expected mininet:FILE.py:CLASS")
    name = f"vnet_foreign_{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise BadInput(f"{file}: not a Python file")
    module = importlib.util.module_from_spec(spec)
    sys.path.insert(0, str(path.parent))
    try:
        with stand_in.installed(), contextlib.redirect_stdout(sys.stderr):
            spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:
        raise _failed(file, error) from error
    finally:
        sys.path.remove(str(path.parent))
    return module


def _failed(file: str, error: BaseException) -> BadInput:
    trace, line = error.__traceback__, getattr(error, "lineno", 0) or 0
    while trace is not None:
        if Path(trace.tb_frame.f_code.co_filename).resolve() == Path(file).resolve():
            line = trace.tb_lineno
        trace = trace.tb_next
    return BadInput(f"{file}:{line}: {type(error).__name__}: {error}")


def _make(module: ModuleType, file: str, wanted: str, values: Mapping[str, str]) -> Any:
    """The `Topo` that is meant, made."""
    known: dict[str, Any] = {
        name: value
        for name, value in vars(module).items()
        if inspect.isclass(value) and value.__module__ == module.__name__ and hasattr(value, "addHost")
    }
    topos = getattr(module, "topos", None)
    known |= topos if isinstance(topos, dict) else {}
    if not wanted and len(set(map(id, known.values()))) == 1:
        wanted = next(iter(known))
    if wanted not in known:
        raise BadInput(
            f"{file}: {shown(wanted)}: no such topology, expected {one_of(known) or 'a Topo in it'}"
        )
    arguments = {key: int(text) if re.fullmatch(r"-?\d+", text) else text for key, text in values.items()}
    try:
        with stand_in.installed(), contextlib.redirect_stdout(sys.stderr):
            made = known[wanted](**arguments)
    except (Exception, SystemExit) as error:
        raise _failed(file, error) from error
    if not all(hasattr(made, word) for word in ("hosts", "switches", "links", "nodeInfo")):
        raise BadInput(f"{file}: {wanted} made {made!r}, expected a Topo")
    return made


def _hosts_and_switches(topo: Any, sketch: Sketch, notes: list[str]) -> None:
    sketch.hosts = list(topo.hosts())
    sketch.switches = list(topo.switches())
    for switch in sketch.switches:
        unknown = sorted(set(topo.nodeInfo(switch)) - SWITCH_WORDS)
        if unknown:
            notes.append(f"switch {switch}: {', '.join(unknown)} is left out")
    for host in sketch.hosts:
        unknown = sorted(set(topo.nodeInfo(host)) - {"ip", "mac", "isSwitch"})
        if unknown:
            notes.append(f"host {host}: {', '.join(unknown)} is left out")


def _cables(topo: Any, sketch: Sketch, notes: list[str]) -> None:
    addressed: set[str] = set()
    for one, other, info in topo.links(withInfo=True):
        said = dict(info)
        # Ports count from where the link was added.
        if (said.get("node1"), said.get("node2")) == (other, one):
            one, other = other, one
        cable = Cable((one, other), _impair(said, f"{sketch.where}: link {one} {other}"))
        for index, end in enumerate((one, other)):
            if end in sketch.hosts and end not in addressed:
                addressed.add(end)
                node = topo.nodeInfo(end)
                cable.addresses[index].extend(_addresses(node, sketch, end))
                macs = list(cable.macs)
                macs[index] = node.get("mac")
                cable.macs = (macs[0], macs[1])
        unknown = sorted(set(said) - LINK_WORDS - {"max_queue_size", "use_htb", "key"})
        if unknown:
            notes.append(f"link {one} {other}: {', '.join(unknown)} is left out")
        sketch.cables.append(cable)


def _addresses(node: Mapping[str, Any], sketch: Sketch, host: str) -> list[Any]:
    """Its own, or Mininet's: in the order of the hosts' names."""
    text = node.get("ip", "")
    if text is None:
        return []
    if not text:
        number = sketch.hosts.index(host) + 1
        return [ipaddress.ip_interface(f"{BASE.network_address + number}/{BASE.prefixlen}")]
    try:
        return [ipaddress.ip_interface(text if "/" in text else f"{text}/{BASE.prefixlen}")]
    except ValueError:
        raise BadInput(f"{sketch.where}: host {host}: ip: {shown(text)}, expected 10.0.0.1/24") from None


def _impair(said: Mapping[str, Any], where: str) -> dict[str, Any]:
    """A TCLink's options in our words."""
    found: dict[str, Any] = {}
    for word in ("delay", "jitter"):
        if (value := said.get(word)) is not None:
            # A number without a unit is microseconds, as for tc.
            text = str(value).strip()
            found[word] = f"{text} us" if re.fullmatch(r"\d+", text) else _spaced(text, where, word)
    for word, ours, unit in (("bw", "rate", "Mbit/s"), ("loss", "loss", "%")):
        value = said.get(word)
        if value is None or (word == "loss" and not value):
            continue
        try:
            found[ours] = f"{float(value):g} {unit}"
        except (TypeError, ValueError):
            raise BadInput(f"{where}: {word}: {shown(value)}, expected a number") from None
    if "jitter" in found and "delay" not in found:
        raise BadInput(f"{where}: jitter without delay")
    if (packets := said.get("max_queue_size")) is not None and "rate" in found:
        found["queue"] = {"packets": int(packets)}
    return found


def _spaced(text: str, where: str, word: str) -> str:
    split = re.fullmatch(r"(\d+(?:\.\d+)?)\s*(us|usec|usecs|ms|msec|msecs|s|sec|secs)", text)
    if split is None:
        raise BadInput(f"{where}: {word}: {shown(text)}, expected a time such as 5ms")
    unit = split[2].removesuffix("ecs").removesuffix("ec")
    return f"{split[1]} {unit}"
