"""Prints this node's address and free ports on it, for a script that starts Ray here: `IP PORT PORT …`."""

from __future__ import annotations

import socket
import sys
from collections.abc import Callable


def free_ports(count: int) -> list[int]:
    """Ports of this node that nothing listens on; all different, as they are held together until all are found."""
    held = [socket.socket() for _ in range(count)]
    try:
        for one in held:
            one.bind(("", 0))
        return [int(one.getsockname()[1]) for one in held]
    finally:
        for one in held:
            one.close()


if __name__ == "__main__":
    from ray.util import get_node_ip_address

    ask: Callable[[], str] = get_node_ip_address
    print(ask(), *free_ports(int(sys.argv[1])))
