"""The configurations for clusters: by Ray's schema, by the fields in KubeRay's documents, by our flags."""

import pathlib
import re
import shlex

import pytest
import yaml
from absl import flags

from nst_tf.commands import batch
from tests import conftest

FOLDER = conftest.ROOT / "tools" / "batch"
JOB = yaml.safe_load((FOLDER / "rayjob.yaml").read_text())
CLUSTER = yaml.safe_load((FOLDER / "cluster.yaml").read_text())
RAY_CLUSTER = JOB["spec"]["rayClusterSpec"]
GROUPS = {group["groupName"]: group for group in RAY_CLUSTER["workerGroupSpecs"]}

# Fields of the API reference, ray.io/v1, that may be in a file of ours.
JOB_FIELDS = {
    *("entrypoint", "backoffLimit", "shutdownAfterJobFinishes", "ttlSecondsAfterFinished", "rayClusterSpec"),
    *("runtimeEnvYAML", "submissionMode", "suspend", "activeDeadlineSeconds", "submitterPodTemplate"),
}
CLUSTER_FIELDS = {"rayVersion", "authOptions", "headGroupSpec", "workerGroupSpecs", "enableInTreeAutoscaling"}
GROUP_FIELDS = {"groupName", "replicas", "minReplicas", "maxReplicas", "rayStartParams", "template"}
# Of Kubernetes.
POD_FIELDS = {"containers", "tolerations", "nodeSelector", "serviceAccountName", "volumes"}
CONTAINER_FIELDS = {"name", "image", "env", "envFrom", "resources", "volumeMounts"}

# What Ray's own processes take on a node that paints.
RAY_BYTES = 2**30

# A name of Kubernetes' (RFC 1123), and an amount of memory or processors.
NAME = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
QUANTITY = re.compile(r"\d+(\.\d+)?([munkKMGTPE]i?)?")


def _pods():
    """Returns {what: the specification of its pod}."""
    templates = {"head": RAY_CLUSTER["headGroupSpec"], **GROUPS}
    return {name: group["template"]["spec"] for name, group in templates.items()}


def _containers():
    return {name: pod["containers"][0] for name, pod in _pods().items()}


def _commands():
    """Returns (file, command) of each `nst_tf batch` that a person or a cluster is to run."""
    found = [("rayjob.yaml", JOB["spec"]["entrypoint"])]
    for path in (FOLDER / "README.md", *(conftest.ROOT / "nst_tf" / "batch").glob("*.md")):
        text = path.read_text().replace("\\\n", " ")
        for block in re.findall(r"```\w*\n(.*?)```", text, re.DOTALL):
            found += [
                (path.name, line)
                for line in re.findall(r"nst_tf batch --[^'\n]*(?:'[^'\n]*'[^'\n]*)*", block)
            ]
    return found


@pytest.mark.parametrize(("file", "command"), _commands())
def test_the_commands_have_flags_that_exist(file, command):
    values = flags.FlagValues()
    batch.define(values)
    words = [word for word in shlex.split(command, comments=True) if word != "..."]
    assert words[:2] == ["nst_tf", "batch"]
    assert values(words[1:]) == ["batch"], file


def test_the_job_is_of_documented_fields():
    assert (JOB["apiVersion"], JOB["kind"]) == ("ray.io/v1", "RayJob")
    assert set(JOB["spec"]) <= JOB_FIELDS
    assert set(RAY_CLUSTER) <= CLUSTER_FIELDS
    assert set(RAY_CLUSTER["headGroupSpec"]) <= GROUP_FIELDS
    for group in GROUPS.values():
        assert set(group) <= GROUP_FIELDS
    for pod in _pods().values():
        assert set(pod) <= POD_FIELDS
        assert len(pod["containers"]) == 1
    for container in _containers().values():
        assert set(container) <= CONTAINER_FIELDS


def test_the_job_has_names_and_numbers_as_kubernetes_takes_them():
    # KubeRay appends to the first one: 47 characters are its limit.
    assert len(JOB["metadata"]["name"]) <= 47
    names = [JOB["metadata"]["name"], *GROUPS, *(each["name"] for each in _containers().values())]
    assert all(NAME.fullmatch(name) for name in names)
    for container in _containers().values():
        resources = container["resources"]
        assert resources["requests"] == resources["limits"]  # as Ray's documentation asks for
        assert all(QUANTITY.fullmatch(str(amount)) for amount in resources["limits"].values())
        assert all(isinstance(each["value"], str) for each in container["env"])
    for group in (RAY_CLUSTER["headGroupSpec"], *GROUPS.values()):
        assert all(isinstance(value, str) for value in group["rayStartParams"].values())


def test_the_entrypoint_passes_through_shells_as_it_is():
    assert re.fullmatch(r"[\w .,:/=-]+", JOB["spec"]["entrypoint"])
    assert "--address=auto" in JOB["spec"]["entrypoint"].split()


def test_all_of_the_job_is_of_one_version():
    assert len({container["image"] for container in _containers().values()}) == 1
    (base,) = re.findall(r"^FROM (\S+)$", (FOLDER / "Dockerfile").read_text(), re.MULTILINE)
    assert base.startswith(f"rayproject/ray:{RAY_CLUSTER['rayVersion']}-")
    assert f"ray[default]=={RAY_CLUSTER['rayVersion']}" in (FOLDER / "README.md").read_text()
    assert _containers()["head"]["image"] == CLUSTER["docker"]["image"]


def test_the_workers_have_gpus_or_none_and_the_head_paints_nothing():
    gpus = {name: each["resources"]["limits"].get("nvidia.com/gpu") for name, each in _containers().items()}
    assert gpus == {"head": None, "cpu": None, "gpu": 1}
    assert RAY_CLUSTER["headGroupSpec"]["rayStartParams"]["num-cpus"] == "0"
    for group in GROUPS.values():
        assert group["minReplicas"] <= group["replicas"] <= group["maxReplicas"]
    assert [name for name, group in GROUPS.items() if group["replicas"]] == ["cpu"]


def test_a_pod_has_memory_for_painting_and_for_ray():
    started, limits = GROUPS["cpu"]["rayStartParams"], _containers()["cpu"]["resources"]["limits"]
    of_pod = int(limits["memory"].removesuffix("Gi")) * 2**30
    store, painting = int(started["object-store-memory"]), int(started["memory"])
    assert store >= 75 * 2**20  # Ray's least
    assert painting + store + RAY_BYTES <= of_pod <= painting + 2 * (store + RAY_BYTES)


def test_a_cluster_asks_for_a_key_and_tells_nobody():
    assert RAY_CLUSTER["authOptions"] == {"mode": "token"}
    version = [int(part) for part in RAY_CLUSTER["rayVersion"].split(".")]
    assert version >= [2, 52, 0]  # the first that knows keys
    for container in _containers().values():
        assert {"name": "RAY_USAGE_STATS_ENABLED", "value": "0"} in container["env"]
    starts = CLUSTER["head_start_ray_commands"] + CLUSTER["worker_start_ray_commands"]
    starts = [command for command in starts if "ray start" in command]
    assert len(starts) == 2
    assert all("--disable-usage-stats" in command for command in starts)
    assert "--dashboard-host=127.0.0.1" in starts[0]


def test_ray_knows_the_flags_that_it_is_started_with():
    start = pytest.importorskip("ray.scripts.scripts").start
    known = {option for parameter in start.params for option in parameter.opts}
    commands = " ".join(CLUSTER["head_start_ray_commands"] + CLUSTER["worker_start_ray_commands"])
    named = set(re.findall(r"--[\w-]+", commands))
    for group in (RAY_CLUSTER["headGroupSpec"], *GROUPS.values()):
        named |= {f"--{name}" for name in group["rayStartParams"]}
    assert len(named) > 7
    assert named <= known


def test_the_launchers_file_is_as_ray_wants_it():
    util = pytest.importorskip("ray.autoscaler._private.util")
    util.validate_config(util.prepare_config(CLUSTER))


def test_the_launchers_numbers_agree():
    kinds = CLUSTER["available_node_types"]
    assert CLUSTER["head_node_type"] in kinds
    assert kinds["head"]["resources"] == {"CPU": 0}
    assert CLUSTER["max_workers"] >= sum(kind.get("max_workers", 0) for kind in kinds.values())
    assert all(kind.get("min_workers", 0) <= kind.get("max_workers", 0) for kind in kinds.values())
    assert [name for name, kind in kinds.items() if kind.get("min_workers")] == ["cpu"]


def test_what_is_to_be_filled_in_is_marked():
    placeholder = re.compile(r"\b(BUCKET|REGISTRY|PROFILE)\b")
    for path in (FOLDER / "rayjob.yaml", FOLDER / "cluster.yaml"):
        lines = path.read_text().splitlines()
        marked = [number for number, line in enumerate(lines) if "CHANGE" in line]
        for number, line in enumerate(lines):
            if placeholder.search(line):
                assert any(0 <= number - other <= 4 for other in marked), (path.name, line)


def test_the_readme_tells_of_every_file():
    text = (FOLDER / "README.md").read_text()
    assert all(
        f"`{path.name}`" in text for path in pathlib.Path(FOLDER).iterdir() if path.name != "README.md"
    )


def test_a_source_distribution_has_them():
    patterns = (conftest.ROOT / "MANIFEST.in").read_text().splitlines()
    (of_tools,) = (line.split()[2:] for line in patterns if line.startswith("recursive-include tools "))
    for path in FOLDER.iterdir():
        assert any(path.match(pattern) for pattern in of_tools), path.name
