"""A guest as the network of unmodified trio programs: `async with guest.as_network():`.

Inside the block, and in every task started there, `trio.open_tcp_stream`, `trio.serve_tcp`,
`trio.socket.socket` and name resolution are the guest's: its addresses, its ports, its neighbours.
Other tasks of the same run have theirs, or the machine's own network.

Reading order: `place.py` who is where, `names.py` name resolution, `interfaces.py` and `address.py`
by which way and written how, `tcp.py` and `udp.py` what a socket does, `options.py` what can be set,
`guest_socket.py` trio's face of it.
"""

from vnet.sockets.place import AsNetwork

__all__ = ["AsNetwork"]
