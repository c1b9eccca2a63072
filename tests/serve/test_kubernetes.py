"""docs/kubernetes.md agrees with itself and with the server: ports, probes, flags, times, names."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from manyheads.arguments import parser
from manyheads.serve.hosted import DRAIN_S
from manyheads.serve.keys import PUBLIC_PATHS, VARIABLE
from manyheads.serve.limits import Limits
from serve.test_app import ask, made

PAGE = (Path(__file__).parents[2] / "docs" / "kubernetes.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```yaml\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
FOUND = {one["kind"]: one for block in BLOCKS for one in yaml.safe_load_all(block)}
POD = FOUND["Deployment"]["spec"]["template"]["spec"]
CONTAINERS = {"Deployment": POD["containers"][0], "KServe": FOUND["InferenceService"]["spec"]["predictor"]["containers"][0]}


def probes(container: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield from (one["httpGet"] for name, one in container.items() if name.endswith("Probe"))


@pytest.mark.parametrize("container", CONTAINERS.values(), ids=CONTAINERS)
def test_the_command_is_one_of_ours_and_its_port_is_the_one_that_is_probed(container: dict[str, Any]) -> None:
    command = {name: lambda _: 0 for name in re.findall(r'"([a-z]+)": \("', Path(parser.__code__.co_filename).read_text())}
    options = parser(command).parse_args(container["args"])
    assert options.host == "0.0.0.0"
    [port] = container["ports"]
    assert port["containerPort"] == options.port
    assert all(probe["port"] in (port.get("name"), options.port) for probe in probes(container))
    assert container["resources"]["requests"] == container["resources"]["limits"]


def test_what_is_probed_answers_and_needs_no_key_where_there_are_keys() -> None:
    server = made()
    server.pool.start()
    try:
        for container in CONTAINERS.values():
            for probe in probes(container):
                assert ask(server, "GET", probe["path"]).status_code == 200
    finally:
        server.pool.close()
    keyed = CONTAINERS["Deployment"]
    assert VARIABLE in {one["name"] for one in keyed["env"]}
    assert {probe["path"] for probe in probes(keyed)} == PUBLIC_PATHS
    assert VARIABLE not in {one["name"] for one in CONTAINERS["KServe"]["env"]}


def test_a_pod_may_take_as_long_as_the_server_to_end() -> None:
    _, seconds = CONTAINERS["Deployment"]["lifecycle"]["preStop"]["exec"]["command"]
    assert int(seconds) + Limits().deadline_s + DRAIN_S < POD["terminationGracePeriodSeconds"]


def test_the_parts_name_one_another() -> None:
    deployment, service = FOUND["Deployment"], FOUND["Service"]
    labels = deployment["spec"]["template"]["metadata"]["labels"]
    for selector in (deployment["spec"]["selector"]["matchLabels"], service["spec"]["selector"],
                     FOUND["PodDisruptionBudget"]["spec"]["selector"]["matchLabels"]):  # fmt: skip
        assert selector == labels
    container = CONTAINERS["Deployment"]
    assert [port["targetPort"] for port in service["spec"]["ports"]] == [port["name"] for port in container["ports"]]
    target = FOUND["HorizontalPodAutoscaler"]["spec"]["scaleTargetRef"]
    assert (target["kind"], target["name"]) == ("Deployment", deployment["metadata"]["name"])
    assert {one["name"] for one in POD["volumes"]} == {one["name"] for one in container["volumeMounts"]}
    claims = {one["persistentVolumeClaim"]["claimName"] for one in POD["volumes"] if "persistentVolumeClaim" in one}
    assert claims == {FOUND["PersistentVolumeClaim"]["metadata"]["name"]}
    [secret] = {one["valueFrom"]["secretKeyRef"]["name"] for one in container["env"] if "valueFrom" in one}
    assert f"create secret generic {secret} " in PAGE


def test_a_pod_has_no_rights_and_writes_only_where_it_may() -> None:
    own = CONTAINERS["Deployment"]["securityContext"]
    assert POD["securityContext"]["runAsNonRoot"]
    assert own["readOnlyRootFilesystem"]
    assert not own["allowPrivilegeEscalation"]
    assert not POD["automountServiceAccountToken"]
    mounts = {one["mountPath"]: one.get("readOnly", False) for one in CONTAINERS["Deployment"]["volumeMounts"]}
    assert mounts["/models"]
    dockerfile = (Path(__file__).parents[2] / "Dockerfile").read_text(encoding="utf-8")
    assert f"USER {POD['securityContext']['runAsUser']}:{POD['securityContext']['runAsGroup']}" in dockerfile
    cache = re.findall(r"HF_HOME=(/\w+)/", dockerfile)[0]
    assert mounts[cache] is False
