"""A Mininet file as people write them."""

from mininet.cli import CLI
from mininet.link import TCLink
from mininet.log import setLogLevel
from mininet.net import Mininet
from mininet.node import OVSSwitch
from mininet.topo import LinearTopo, Topo


class Diamond(Topo):
    "Four switches in a ring, two ways from one end to the other."

    def build(self, hosts=2, slow="10ms"):
        s1, s2, s3, s4 = [self.addSwitch(f"s{n}", cls=OVSSwitch) for n in range(1, 5)]
        for here, there in ((s1, s2), (s2, s4), (s1, s3)):
            self.addLink(here, there)
        self.addLink(s3, s4, cls=TCLink, bw=10, delay=slow, loss=1, jitter="2ms", max_queue_size=50)
        for n in range(1, hosts + 1):
            self.addLink(self.addHost(f"h{n}"), s1, delay="1ms") if n == 1 else self.addLink(
                self.addHost(f"h{n}"), s4
            )


class Pair(Topo):
    def build(self):
        one = self.addHost("Left_Host", ip="192.168.7.1/24", mac="00:00:00:00:00:11", cpu=0.5)
        other = self.addHost("right", ip="192.168.7.2/24")
        self.addLink(one, other, delay="5ms")


class Fails(Topo):
    def build(self):
        self.addLink("a", "b")


topos = {"mine": (lambda n=2: LinearTopo(k=n))}

if __name__ == "__main__":
    setLogLevel("info")
    net = Mininet(topo=Diamond(), link=TCLink)
    net.start()
    CLI(net)
    net.stop()
