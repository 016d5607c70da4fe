"""The words that plug a guest into a port, for each program that can be plugged there.

`words(facts, form)` is pure: from what `vnet connect` was told about a port to lines that can be
pasted. MAC addresses stand in them because the fabric knows its guests by them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from vnet.connect import libvirt, programs, qemu
from vnet.connect.facts import Facts
from vnet.errors import BadInput

__all__ = ["FORMS", "Facts", "words"]

Words = Callable[[Facts], list[str]]

FORMS: Mapping[str, Mapping[str, Words]] = {
    "qemu": qemu.KINDS,
    "libvirt": {
        "vhost-user": libvirt.vhost_user,
        "tap": libvirt.tap,
        "stream": libvirt.stream,
        "dgram": libvirt.dgram,
        "vde": libvirt.arguments,
    },
    "cloud-hypervisor": {"vhost-user": programs.cloud_hypervisor},
    "crosvm": {"vhost-user": programs.crosvm},
    "libkrun": {
        "vhost-user": programs.libkrun,
        "stream": programs.libkrun_stream,
        "dgram": programs.libkrun_dgram,
    },
    "passt": {"stream": programs.passt},
    "gvproxy": {"stream": programs.gvproxy},
    "vfkit": {"dgram": programs.vfkit},
    "gns3": {"dgram": programs.gns3},
    "dynamips": {"dgram": programs.dynamips, "vde": programs.dynamips_vde},
    "vpcs": {"dgram": programs.vpcs},
    "virtualbox": {"dgram": programs.virtualbox},
    "vde": {"vde": programs.vde},
    "bochs": {"vde": programs.bochs},
    "simh": {"vde": programs.simh},
    "uml": {"vde": programs.uml},
    "86box": {"vde": programs.ibm_pc},
}


def words(facts: Facts, form: str) -> list[str]:
    """The lines for `form`. Raises BadInput when that program can't be plugged into such a NIC."""
    kinds = FORMS[form]
    if facts["kind"] not in kinds:
        fitting = ", ".join(form for form in FORMS if _fits(facts, form))
        other = f"; its formats are {fitting}" if fitting else ""
        raise BadInput(
            f"{facts['port']} is of kind {facts['kind']}, which {form} can't be plugged into{other}"
        )
    return kinds[facts["kind"]](facts)


def _fits(facts: Facts, form: str) -> bool:
    """Whether there are words for such a NIC as it is: of its kind, in its role, at its addresses."""
    try:
        return facts["kind"] in FORMS[form] and bool(FORMS[form][facts["kind"]](facts))
    except BadInput:
        return False
