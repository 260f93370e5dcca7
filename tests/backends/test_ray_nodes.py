"""A node of a Ray cluster is lost in mid-run: several nodes, all on this machine."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("ray", reason="Ray is not installed: make test-ray")

pytestmark = pytest.mark.ray

LOSES_A_NODE = """
import json, os, sys, threading, time
from pathlib import Path

import ray
from ray.cluster_utils import Cluster

from curation_audit.backends.base import Placement
from curation_audit.backends.ray import RayCore
from tests.backends.jobs import Kept, NodeNoted

folder = Path(sys.argv[1])
cluster = Cluster(
    initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False}
)
nodes = [cluster.add_node(num_cpus=1) for _ in range(2)]
ray.init(address=cluster.address, log_to_driver=False, logging_level="ERROR")


def lose_one():
    while len({one.read_text() for one in folder.glob("began-*")}) < 2:
        time.sleep(0.05)
    cluster.remove_node(nodes[0], allow_graceful=False)
    (folder / "lost").touch()


threading.Thread(target=lose_one).start()
kept = Kept()
work = kept.work(NodeNoted(folder), 12)
found = dict(RayCore(Placement(n_workers=2)).results(work))
alive = sum(node["Alive"] for node in ray.nodes())
print(json.dumps({"found": [found[i] for i in range(12)], "alive": alive}))
ray.shutdown()
cluster.shutdown()
"""


def test_a_node_that_is_lost_changes_nothing(tmp_path):
    """Both nodes are at work when one dies; its task is done again by the other."""
    ended = subprocess.run(
        [sys.executable, "-c", LOSES_A_NODE, str(tmp_path)],
        cwd=Path(__file__).parents[2],
        env=None,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr[-2000:]
    told = json.loads(ended.stdout.splitlines()[-1])
    assert told["found"] == [i * i for i in range(12)]
    assert (tmp_path / "lost").exists()
    assert told["alive"] == 2  # the head and one of two
    begun = [one.name.split("-")[1] for one in tmp_path.glob("began-*")]
    assert len(begun) > len({*begun}) == 12  # some task began twice
