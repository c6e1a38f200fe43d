"""A Ray cluster on this machine, in a process of its own that is told by lines what dies.

Prints the address, then a line for each one read: ``leave PLACE`` kills a node with all its
processes as a lost machine would be, ``join PLACE`` starts another one. Ends with its input.
"""

from __future__ import annotations

import sys

from ray.cluster_utils import Cluster

NODES, CPUS = 3, 2


def main() -> None:
    """Run until there is nothing more to read."""
    head = {"num_cpus": 0, "include_dashboard": False}
    cluster = Cluster(initialize_head=True, head_node_args=head)
    nodes = {str(place): cluster.add_node(num_cpus=CPUS) for place in range(NODES)}
    print(cluster.address, flush=True)
    for line in sys.stdin:
        order, place = line.split()
        if order == "leave":
            cluster.remove_node(nodes.pop(place), allow_graceful=False)
        else:
            nodes[place] = cluster.add_node(num_cpus=CPUS)
        print(order, flush=True)
    cluster.shutdown()  # type: ignore[no-untyped-call]


if __name__ == "__main__":
    main()
