"""Who is in a Ray cluster, and what is installed there: python -m hit.pool.nodes HOST:PORT prints a line of JSON.

A process of its own, that whoever asks can end: Ray waits long for a cluster that is gone.
"""

import json
import os
import sys
import threading
import time
from typing import Any

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from hit.errors import UserError
from hit.pool.ray import connect, line

_SECONDS = 15.0  # for all nodes to say what they have
_LOOK = 0.5  # seconds between two looks at whether anybody waits still


def nodes(where: str) -> list[dict[str, Any]]:
    """Return {address, alive, cpus, and of the living python, ray, hit} of each node. Raises UserError for what is no cluster."""
    connect(where)

    def who() -> dict[str, str]:
        import platform

        import ray

        try:
            import hit
        except ImportError:
            return {"hit": ""}
        return {"python": platform.python_version(), "ray": ray.__version__, "hit": hit.__version__}

    asked = {}
    found = {
        node["NodeID"]: {"address": node["NodeManagerAddress"], "alive": node["Alive"], "cpus": node["Resources"].get("CPU", 0.0)}
        for node in ray.nodes()  # type: ignore[no-untyped-call]
    }
    for number, node in found.items():
        if node["alive"]:
            strategy = NodeAffinitySchedulingStrategy(number, soft=False)
            asked[ray.remote(num_cpus=0, max_retries=0)(who).options(scheduling_strategy=strategy).remote()] = number
    done, late = ray.wait(list(asked), num_returns=len(asked), timeout=_SECONDS) if asked else ([], [])
    for one in done:
        try:
            found[asked[one]] |= ray.get(one)
        except ray.exceptions.RayError as error:
            found[asked[one]] |= {"error": line(error)}
    for one in late:
        found[asked[one]] |= {"error": f"says nothing for {_SECONDS:g} s"}
    return list(found.values())


def _follow(parent: int) -> None:
    """End with whoever asked, who may have had enough of waiting."""
    while os.getppid() == parent:
        time.sleep(_LOOK)
    os._exit(1)


if __name__ == "__main__":
    threading.Thread(target=_follow, args=(os.getppid(),), daemon=True).start()
    try:
        told: dict[str, Any] = {"nodes": nodes(sys.argv[1])}
    except UserError as error:
        told = {"error": [error.what, error.why, error.fix]}
    print(f"\n{json.dumps(told)}", flush=True)
    os._exit(0)  # without Ray's own farewell
