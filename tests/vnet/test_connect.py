"""The words that plug a VM in: for each kind, each program, both roles."""

from __future__ import annotations

import xml.etree.ElementTree as ET

import pytest

from vnet.connect import FORMS, words
from vnet.errors import BadInput

MAC = "02:00:00:00:00:0a"


def facts(kind: str, mtu: int = 1500, **keys):
    return {
        "port": "vm1.0",
        "kind": kind,
        "mac": MAC,
        "mtu": mtu,
        "carries": "tap0",
        "nic": keys,
        "runtime": "/run/vnet/lab",
    }


STREAM = facts("stream", socket="vm1.sock", role="server")
STREAM_TCP = facts("stream", socket="127.0.0.1:5000", role="client")
DGRAM = facts("dgram", local="ours.sock", remote="theirs.sock")
DGRAM_UDP = facts("dgram", local="127.0.0.1:10001", remote="127.0.0.1:10000")
VHOST = facts("vhost-user", socket="vm1.sock", role="server", queues=1)
VHOST_CLIENT = facts("vhost-user", mtu=9000, socket="vm1.sock", role="client", queues=2)
VDE = facts("vde", directory="plug", role="server")
ALL = [STREAM, STREAM_TCP, DGRAM, DGRAM_UDP, VHOST, VHOST_CLIENT, VDE, facts("tap", name="tap0")]


def said(given, form="qemu") -> str:
    return "\n".join(words(given, form))


def test_qemu_is_told_the_other_role():
    assert "server=off" in said(STREAM)
    assert "addr.path=/run/vnet/lab/vm1.sock" in said(STREAM)
    assert "server=on" in said(STREAM_TCP)
    assert "addr.type=inet,addr.host=127.0.0.1,addr.port=5000" in said(STREAM_TCP)
    assert "path=/run/vnet/lab/vm1.sock,server=on,wait=off" in said(VHOST_CLIENT)
    assert "server=on" not in said(VHOST)


def test_qemu_dgram_has_our_remote_as_its_local():
    text = said(DGRAM)
    assert "local.path=/run/vnet/lab/theirs.sock" in text
    assert "remote.path=/run/vnet/lab/ours.sock" in text
    assert "local.port=10000,remote.type=inet" in said(DGRAM_UDP)


def test_qemu_joins_a_group_as_we_do():
    text = said(facts("dgram", local="127.0.0.1:0", remote="230.0.0.1:1234"))
    assert "-netdev dgram,id=net0,remote.type=inet,remote.host=230.0.0.1,remote.port=1234 " in text


def test_qemu_is_told_of_abstract_sockets_where_it_knows_them():
    assert "addr.path=vm1,addr.abstract=on" in said(facts("stream", socket="@vm1", role="server"))
    with pytest.raises(BadInput, match="QEMU's dgram knows no abstract sockets like @theirs"):
        words(facts("dgram", local="@ours", remote="@theirs"), "qemu")


def test_every_device_has_the_mac_and_a_large_mtu():
    for given in ALL:
        for form, kinds in FORMS.items():
            if (
                given["kind"] in kinds
                and form in ("qemu", "libvirt", "cloud-hypervisor")
                and given["kind"] != "tap"
            ):
                assert MAC in said(given, form)
    assert "host_mtu=9000" in said(VHOST_CLIENT)
    assert "host_mtu" not in said(VHOST)


def test_memory_is_shared_for_vhost_user():
    assert "memory-backend-memfd" in said(VHOST)
    assert "share=on" in said(VHOST)
    assert "shared=on" in said(VHOST, "cloud-hypervisor")
    assert "queues=2" in said(VHOST_CLIENT)


@pytest.mark.parametrize("given", [VHOST, VHOST_CLIENT, STREAM, DGRAM, VDE], ids=lambda f: f["kind"])
def test_libvirt_gets_xml(given):
    lines = [line for line in words(given, "libvirt") if not line.startswith("<!--")]
    text = "\n".join(lines).replace("qemu:", "qemu-")
    assert ET.fromstring(f"<domain>{text}</domain>") is not None
    assert MAC in text


def test_several_queues_are_told_to_everybody():
    assert "queues=2" in said(VHOST_CLIENT)
    assert "mq=on,vectors=6" in said(VHOST_CLIENT)
    assert "<driver queues='2'/>" in said(VHOST_CLIENT, "libvirt")
    assert "<driver" not in said(VHOST, "libvirt")
    assert "num_queues=4,mac=02:00:00:00:00:0a,mtu=9000" in said(VHOST_CLIENT, "cloud-hypervisor")
    assert "vhost_mode=server" in said(VHOST_CLIENT, "cloud-hypervisor")


def test_who_connects_does_so_again():
    assert "reconnect=1" in said(VHOST)
    assert "reconnect-ms=1000" in said(VHOST)
    assert "reconnect" not in said(VHOST_CLIENT)
    assert "mode='client'" in said(VHOST, "libvirt")
    assert "<reconnect enabled='yes' timeout='1'/>" in said(VHOST, "libvirt")
    assert "mode='server'" in said(VHOST_CLIENT, "libvirt")
    assert "path=vm1,abstract=on" in said(facts("vhost-user", socket="@vm1", role="server"))


def test_those_who_take_the_address_from_the_device():
    two = facts("vhost-user", socket="vm1.sock", role="server", queues=2, config=True)
    assert said(two, "crosvm") == "crosvm run --vhost-user net,socket=/run/vnet/lab/vm1.sock"
    assert "{256, 256, 256, 256}" in said(two, "libkrun")
    assert '(ctx, 1, "/run/vnet/lab/vm1.sock", "net0", 4, sizes);' in said(two, "libkrun")
    for form in ("crosvm", "libkrun"):
        assert "config: true" in said(VHOST, form)
        assert MAC in said(VHOST, form)
        with pytest.raises(BadInput, match=f"{form} connects and can't listen: give its NIC role: server"):
            words(VHOST_CLIENT, form)


def test_plugs_are_told_the_folder():
    folder = "/run/vnet/lab/plug"
    assert f"-netdev vde,id=net0,sock={folder} " in said(VDE)
    assert "netdev_del net0" in said(VDE)
    assert f"vde_plug {folder}\n" in said(VDE, "vde")
    assert said(VDE, "bochs") == f"e1000: enabled=1, mac={MAC}, ethmod=vde, ethdev={folder}/ctl"
    assert said(VDE, "simh") == f"set xq mac=02-00-00-00-00-0a\nattach xq vde:{folder}"
    assert said(VDE, "uml") == f"vec0:transport=vde,vnl=vde://{folder},mac={MAC}"
    assert said(VDE, "dynamips") == f"nio create_vde nio0 {folder}/ctl {folder}/dynamips"
    assert f"net_01_host_device = {folder}\n" in said(VDE, "86box")
    for form in ("qemu", "libvirt", "vde", "bochs", "simh", "uml", "dynamips", "86box"):
        with pytest.raises(BadInput, match="connects and can't listen: give its NIC role: server"):
            words(facts("vde", directory="/run/vde.ctl", role="client"), form)


def test_libvirt_has_elements_for_sockets_of_ipv4():
    def element(given):
        return ET.fromstring(said(given, "libvirt"))

    client = element(facts("stream", socket="127.0.0.1:5000", role="server"))
    assert client.get("type") == "client"
    assert client.find("source").attrib == {"address": "127.0.0.1", "port": "5000"}
    assert element(STREAM_TCP).get("type") == "server"
    udp = element(DGRAM_UDP)
    assert udp.get("type") == "udp"
    assert udp.find("source").attrib == {"address": "127.0.0.1", "port": "10001"}
    assert udp.find("source/local").attrib == {"address": "127.0.0.1", "port": "10000"}
    group = element(facts("dgram", local=None, remote="230.0.0.1:1234"))
    assert (group.get("type"), group.find("source").get("port")) == ("mcast", "1234")
    for found in (client, udp, group):
        assert found.find("mac").get("address") == MAC
        assert found.find("mtu") is None, "libvirt takes none there"
    for given in (
        facts("stream", socket="[::1]:5000", role="server"),
        facts("stream", mtu=9000, socket="127.0.0.1:5000", role="server"),
        facts("dgram", mtu=9000, local=None, remote="230.0.0.1:1234"),
    ):
        assert "qemu:commandline" in said(given, "libvirt")


def test_who_listens_is_told_where():
    client = facts("stream", socket="nat.sock", role="client")
    assert said(client, "passt") == "passt --foreground --socket /run/vnet/lab/nat.sock"
    assert said(client, "gvproxy") == "gvproxy -listen-qemu unix:///run/vnet/lab/nat.sock"
    assert said(STREAM_TCP, "gvproxy") == "gvproxy -listen-qemu tcp://127.0.0.1:5000"
    for form in ("passt", "gvproxy"):
        with pytest.raises(BadInput, match=f"{form} listens and can't connect: give its NIC role: client"):
            words(STREAM, form)


def test_libkrun_has_a_call_for_each_kind():
    assert 'krun_add_net_unixstream(ctx, "/run/vnet/lab/vm1.sock", -1, mac, 0, 0);' in said(STREAM, "libkrun")
    assert 'krun_add_net_unixgram(ctx, "/run/vnet/lab/ours.sock", -1, mac, 0, 0);' in said(DGRAM, "libkrun")
    assert "{0x02, 0x00, 0x00, 0x00, 0x00, 0x0a}" in said(STREAM, "libkrun")


def test_who_takes_paths_alone_gets_no_other_addresses():
    path = "/run/vnet/lab/ours.sock"
    assert said(DGRAM, "vfkit") == f"--device virtio-net,unixSocketPath={path},mac={MAC}"
    abstract = facts("dgram", local="@ours", remote="@theirs")
    for given in (DGRAM_UDP, abstract):
        for form in ("libkrun", "vfkit"):
            with pytest.raises(BadInput, match=f"{form} speaks through sockets with a path: give it one"):
                words(given, form)
    with pytest.raises(BadInput, match="passt speaks through sockets with a path: give it one"):
        words(STREAM_TCP, "passt")


def test_udp_words_for_the_programs_that_speak_udp():
    assert "dport=10001" in said(DGRAM_UDP, "virtualbox")
    assert "sport=10000" in said(DGRAM_UDP, "virtualbox")
    assert "local port 10000" in said(DGRAM_UDP, "gns3")
    assert said(DGRAM_UDP, "dynamips") == "nio create_udp nio0 10000 127.0.0.1 10001"
    assert said(DGRAM_UDP, "vpcs").startswith("vpcs -i 1 -s 10000 -c 10001 -t 127.0.0.1\n")
    with pytest.raises(BadInput, match="host:port"):
        words(DGRAM, "gns3")


def test_what_does_not_fit_says_what_would():
    with pytest.raises(BadInput, match=r"formats are .*cloud-hypervisor"):
        words(VHOST, "vde")
    # Neither those that would have to connect where we do, nor those that know no such address.
    for given, fitting in (
        (STREAM, "qemu, libvirt, libkrun"),
        (STREAM_TCP, "qemu, libvirt, gvproxy"),
        (DGRAM, "qemu, libvirt, libkrun, vfkit"),
    ):
        with pytest.raises(BadInput, match=f"; its formats are {fitting}$"):
            words(given, "cloud-hypervisor")
    with pytest.raises(BadInput, match=r"which qemu can't be plugged into$"):
        words(facts("stack"), "qemu")
    with pytest.raises(BadInput, match="has no remote"):
        words(facts("dgram", local="a", remote=None), "qemu")
