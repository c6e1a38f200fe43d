"""A Ray cluster on this machine, in a process of its own that is told by lines what dies.

Prints the address, then a line for each one read: ``leave PLACE`` kills a node with all its
processes as a lost machine would be, ``join PLACE`` starts another one. Ends with its input.
One more node has another build of torch, as far as its packages say.
"""

from __future__ import annotations

import sys
from pathlib import Path

NODES, CPUS = 3, 2
OTHER_TORCH = "1.2.3+other"


def other_torch(folder: Path) -> str:
    """A folder in which torch is of another version than the installed one."""
    facts = folder / f"torch-{OTHER_TORCH}.dist-info" / "METADATA"
    facts.parent.mkdir(parents=True)
    facts.write_text(f"Metadata-Version: 2.1\nName: torch\nVersion: {OTHER_TORCH}\n")
    return str(folder)


def main() -> None:
    """Run until there is nothing more to read."""
    from ray.cluster_utils import Cluster  # not in the process of the tests

    head = {"num_cpus": 0, "include_dashboard": False}
    cluster = Cluster(initialize_head=True, head_node_args=head)
    nodes = {str(place): cluster.add_node(num_cpus=CPUS) for place in range(NODES)}
    cluster.add_node(num_cpus=CPUS, env_vars={"PYTHONPATH": other_torch(Path(sys.argv[1]))})
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
