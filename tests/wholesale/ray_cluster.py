"""A program that gathers on a Ray cluster of two simulated machines with one worker each.

    python -m tests.wholesale.ray_cluster RECIPE.toml WAREHOUSE [kill]

With `kill`, the second machine is removed while it works on a task. The program runs in a process of its own because
Ray leaves sockets and processes behind, for which Python would issue warnings.
"""

import json
import os
import sys
import threading
import time
from pathlib import Path

os.environ["RAY_USAGE_STATS_ENABLED"] = "0"

import ray
from ray.cluster_utils import Cluster

from baicai.config import read_recipe
from baicai.wholesale import gather as gathering
from baicai.wholesale.gather import GatherRecipe, gather
from baicai.wholesale.processing.clean import CleanConfig, clean


def slow_clean(captures: Path, config: CleanConfig, out: Path) -> None:
    """Clean slowly enough to be killed, after leaving a marker file with the node's id."""
    out.parent.mkdir(parents=True, exist_ok=True)
    (out.parent / f"{out.name}.{ray.get_runtime_context().get_node_id()}").touch()
    time.sleep(1)
    clean(captures, config, out)


def main(recipe: Path, warehouse: Path, kill: bool) -> None:
    """Gather on a cluster; print the counts, the number of machines and the number of tries."""
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    second_node = cluster.add_node(num_cpus=1)
    documents = warehouse / "documents"

    def remove_second_node() -> None:
        while not list(documents.glob(f"*.{second_node.node_id}")):
            time.sleep(0.05)
        cluster.remove_node(second_node, allow_graceful=False)

    gathering.clean = slow_clean  # type: ignore[attr-defined]
    if kill:
        threading.Thread(target=remove_second_node, daemon=True).start()
    counts = gather(read_recipe(GatherRecipe, recipe, [f"ray={cluster.address}"]), warehouse)
    markers = list(documents.glob("*.*"))
    print(json.dumps({"counts": counts, "machines": len({marker.suffix for marker in markers}), "tries": len(markers)}))
    cluster.shutdown()


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3:] == ["kill"])
