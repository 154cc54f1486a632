"""The Kubernetes manifests: valid by schema, locked down, and consistent with each other."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import kubernetes_validate  # type: ignore[import-untyped]
import pytest
import yaml

from vitrine_server.config import Settings

FOLDER = Path(__file__).resolve().parents[3] / "deploy" / "kubernetes"
KINDS = {"Deployment", "StatefulSet"}
# The HorizontalPodAutoscaler's v2 and the others are stable in all of these.
VERSIONS = ("1.30", "1.33", "1.37")


def kustomization() -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((FOLDER / "kustomization.yaml").read_text())
    return found


def manifests() -> list[dict[str, Any]]:
    return [
        document
        for name in kustomization()["resources"]
        for document in yaml.safe_load_all((FOLDER / name).read_text())
    ]


def workloads() -> list[Any]:
    return [
        pytest.param(manifest, id=manifest["metadata"]["name"])
        for manifest in manifests()
        if manifest["kind"] in KINDS
    ]


def named(kind: str, name: str) -> dict[str, Any]:
    (found,) = [m for m in manifests() if m["kind"] == kind and m["metadata"]["name"] == name]
    return found


def setting(name: str, value: str) -> Settings:
    """Fails as the server would where a variable of a manifest is no setting of it."""
    return Settings.model_validate({name.removeprefix("VITRINE_").lower(): value})


@pytest.mark.parametrize("version", VERSIONS)
def test_every_manifest_is_valid(version: str) -> None:
    for manifest in manifests():
        kubernetes_validate.validate(manifest, version, strict=True)


def test_the_validator_refuses_what_is_wrong() -> None:
    manifest = named("Deployment", "triton")
    manifest["spec"]["template"]["spec"]["containers"][0]["resource"] = {}
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(manifest, VERSIONS[-1], strict=True)


def test_every_file_is_in_the_kustomization() -> None:
    apart = {"kustomization.yaml", "prometheus-adapter-values.yaml"}
    assert {file.name for file in FOLDER.iterdir()} - apart == set(kustomization()["resources"])


@pytest.mark.parametrize("workload", workloads())
def test_containers_are_locked_down(workload: dict[str, Any]) -> None:
    pod = workload["spec"]["template"]["spec"]
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["runAsUser"] > 0
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert pod["automountServiceAccountToken"] is False
    # a Service called vitrine would set VITRINE_PORT, which looks like a setting
    assert pod["enableServiceLinks"] is False
    for container in pod["containers"]:
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }


@pytest.mark.parametrize("workload", workloads())
def test_containers_have_probes_and_limits(workload: dict[str, Any]) -> None:
    for container in workload["spec"]["template"]["spec"]["containers"]:
        ports = {port["name"] for port in container["ports"]}
        for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
            assert container[probe]["httpGet"]["port"] in ports
        # ready asks more than alive does: a busy server must not be restarted
        ready, alive = (
            container[f"{kind}Probe"]["httpGet"]["path"] for kind in ("readiness", "liveness")
        )
        assert ready != alive
        for kind in ("requests", "limits"):
            assert container["resources"][kind].keys() == {"cpu", "memory"}


@pytest.mark.parametrize("workload", workloads())
def test_variables_are_settings(workload: dict[str, Any]) -> None:
    for container in workload["spec"]["template"]["spec"]["containers"]:
        for variable in container["env"]:
            setting(variable["name"], variable["value"])


@pytest.mark.parametrize("workload", workloads())
def test_ports_are_those_that_the_server_listens_on(workload: dict[str, Any]) -> None:
    ports = Settings.model_fields
    (container,) = workload["spec"]["template"]["spec"]["containers"]
    listening = {port["name"]: port["containerPort"] for port in container["ports"]}
    assert listening == (
        {"http": ports["http_port"].default, "grpc": ports["grpc_port"].default}
        if container["name"] == "vitrine"
        else {
            "http": ports["triton_http_port"].default,
            "grpc": ports["triton_grpc_port"].default,
            "metrics": ports["triton_metrics_port"].default,
        }
    )


def test_selectors_select() -> None:
    labels = {
        m["metadata"]["name"]: m["spec"]["template"]["metadata"]["labels"]
        for m in manifests()
        if m["kind"] in KINDS
    }
    for manifest in manifests():
        name, spec = manifest["metadata"]["name"], manifest.get("spec", {})
        selector = {
            "Service": lambda spec: spec["selector"],
            "PodDisruptionBudget": lambda spec: spec["selector"]["matchLabels"],
            "NetworkPolicy": lambda spec: spec["podSelector"]["matchLabels"],
        }.get(manifest["kind"])
        if selector is not None:
            assert selector(spec).items() <= labels[name].items(), manifest["kind"]


def test_the_server_asks_for_a_key() -> None:
    pod = named("StatefulSet", "vitrine")["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    variables = {variable["name"]: variable["value"] for variable in container["env"]}
    assert "VITRINE_ALLOW_ANONYMOUS" not in variables
    folder, _, file = variables["VITRINE_API_KEYS"].rpartition("/")
    (mount,) = [mount for mount in container["volumeMounts"] if mount["mountPath"] == folder]
    (volume,) = [volume for volume in pod["volumes"] if volume["name"] == mount["name"]]
    text = (FOLDER / "vitrine.yaml").read_text()
    assert f"generic {volume['secret']['secretName']} -n vitrine" in text
    assert f"--from-file=deploy/secrets/{file}\n" in text


def test_the_server_is_reached_over_http_and_grpc() -> None:
    ports = {port["targetPort"] for port in named("Service", "vitrine")["spec"]["ports"]}
    rules = named("NetworkPolicy", "vitrine")["spec"]["ingress"]
    assert ports == {port["port"] for port in rules[0]["ports"]} == {"http", "grpc"}


def test_the_server_finds_triton() -> None:
    (container,) = named("StatefulSet", "vitrine")["spec"]["template"]["spec"]["containers"]
    host = next(v["value"] for v in container["env"] if v["name"] == "VITRINE_TRITON_HOST")
    service = named("Service", host)
    assert service["spec"]["clusterIP"] == "None"
    assert Settings.model_fields["triton_grpc_port"].default in {
        port["port"] for port in service["spec"]["ports"]
    }


def test_the_autoscaler_reads_the_queue_time() -> None:
    spec = named("HorizontalPodAutoscaler", "triton")["spec"]
    assert named(spec["scaleTargetRef"]["kind"], spec["scaleTargetRef"]["name"])
    (metric,) = spec["metrics"]
    adapter = yaml.safe_load((FOLDER / "prometheus-adapter-values.yaml").read_text())
    (rule,) = adapter["rules"]["external"]
    assert metric["external"]["metric"]["name"] == rule["name"]["as"]
    rules = yaml.safe_load((FOLDER.parent / "prometheus" / "rules.yml").read_text())
    recorded = {entry.get("record") for group in rules["groups"] for entry in group["rules"]}
    assert rule["seriesQuery"] in recorded
