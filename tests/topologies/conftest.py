"""Every kind of NIC that the ready topologies use is there, also before its module is."""

from tests.vnet.topology.conftest import nic_kinds

__all__ = ["nic_kinds"]
