"""For those who write NICs, and for those who test with vnet: public, and stable as the rest is."""

from vnet.testing.bench import Maker
from vnet.testing.check_nic import check_nic
from vnet.testing.peer import Peer

__all__ = ["Maker", "Peer", "check_nic"]
