"""A program: a cluster of two machines in one, each with a worker, and a gathering on it.

    python -m tests.wholesale.ray_cluster RECIPE.toml WAREHOUSE [kill]

Told to kill, it takes the second machine away while that is at a task. It runs apart, as Ray leaves sockets and
processes behind that warnings name.
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
    """Clean, and say where and when, slowly enough to be killed."""
    out.parent.mkdir(parents=True, exist_ok=True)
    (out.parent / f"{out.name}.{ray.get_runtime_context().get_node_id()}").touch()
    time.sleep(1)
    clean(captures, config, out)


def main(recipe: Path, warehouse: Path, kill: bool) -> None:
    """Gather on a cluster and print what was counted, and by how many machines."""
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    second = cluster.add_node(num_cpus=1)
    documents = warehouse / "documents"

    def take_away() -> None:
        while not list(documents.glob(f"*.{second.node_id}")):
            time.sleep(0.05)
        cluster.remove_node(second, allow_graceful=False)

    gathering.clean = slow_clean  # type: ignore[attr-defined]
    if kill:
        threading.Thread(target=take_away, daemon=True).start()
    counts = gather(read_recipe(GatherRecipe, recipe, [f"ray={cluster.address}"]), warehouse)
    marks = list(documents.glob("*.*"))
    print(json.dumps({"counts": counts, "machines": len({mark.suffix for mark in marks}), "tries": len(marks)}))
    cluster.shutdown()


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3:] == ["kill"])
