"""The files that run and watch Keepsake elsewhere agree with the settings, processes and metrics there are."""

from __future__ import annotations

import importlib
import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from stack.checks import PROCESSES
from tests.support.stack import MODULES, ROOT
from tools.settings_reference import PER_SERVICE, known_names, names_in

KUBERNETES = ROOT / "deploy" / "kubernetes"
PROMETHEUS = ROOT / "deploy" / "prometheus"
VERSIONS = ("1.29", "1.37")
OVERLAYS = ("base", "overlays/production", "overlays/development")
SANDBOX = "stripe-sandbox"
PODS = [name for name in MODULES if name != SANDBOX]

Manifest = dict[str, Any]


def _lay_over(below: Any, above: Any) -> Any:
    """Merge as kustomize does, as far as these files need it: mappings by key, lists of named things by name."""
    if isinstance(below, dict) and isinstance(above, dict):
        return {key: _lay_over(below[key], above[key]) if key in below and key in above
                else above.get(key, below.get(key)) for key in below | above}  # fmt: skip
    if isinstance(below, list) and isinstance(above, list) and all("name" in item for item in [*below, *above]):
        named = {item["name"]: item for item in below}
        return list({**named, **{i["name"]: _lay_over(named.get(i["name"], {}), i) for i in above}}.values())
    return above


def _settings(path: Path) -> dict[str, str]:
    lines = [line for line in path.read_text().splitlines() if line and not line.startswith("#")]
    return dict(line.split("=", 1) for line in lines)


@cache
def _read(folder: Path) -> list[Manifest]:
    kustomization = yaml.safe_load((folder / "kustomization.yaml").read_text())
    found: list[Manifest] = []
    for name in kustomization["resources"]:
        path = (folder / name).resolve()
        found += _read(path) if path.is_dir() else yaml.safe_load_all(path.read_text())
    pod = yaml.safe_load((KUBERNETES / "pod" / "pod.yaml").read_text()) | {"metadata": {}}
    return [_lay_over(one, pod) if one["kind"] == "Deployment" else one for one in found]


def _named(kind: str, overlay: str = "base") -> dict[str, Manifest]:
    return {one["metadata"]["name"]: one for one in _read(KUBERNETES / overlay) if one["kind"] == kind}


def _templates() -> Iterator[tuple[str, Manifest]]:
    everything = {**_named("Deployment", "overlays/development"), **_named("Job")}
    yield from ((name, one["spec"]["template"]) for name, one in everything.items())


@pytest.mark.parametrize("version", VERSIONS)
def test_every_manifest_is_what_kubernetes_takes(version: str) -> None:
    everything = [one for overlay in OVERLAYS for one in _read(KUBERNETES / overlay)]
    for manifest in {json.dumps(one): one for one in everything}.values():
        kubernetes_validate.validate(manifest, version, strict=True)


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_kustomize_builds_what_these_tests_read(overlay: str) -> None:
    """Where kubectl is there, it has the last word."""
    ours = {(one["kind"], one["metadata"]["name"]) for one in _read(KUBERNETES / overlay)}
    if kubectl := shutil.which("kubectl"):
        done = subprocess.run([kubectl, "kustomize", KUBERNETES / overlay], capture_output=True, text=True, check=True)
        built = [one for one in yaml.safe_load_all(done.stdout) if one["kind"] != "ConfigMap"]
        assert {(one["kind"], one["metadata"]["name"]) for one in built} == ours
        pods = {
            one["metadata"]["name"]: one["spec"]["template"]["spec"] for one in built if one["kind"] == "Deployment"
        }
        for name, pod in pods.items():
            mine = _named("Deployment", overlay)[name]["spec"]["template"]["spec"]
            assert pod["containers"][0].keys() == mine["containers"][0].keys()
            assert pod.keys() == mine.keys()
    assert ours


@pytest.mark.parametrize("name", PODS)
def test_each_process_has_what_a_rolling_service_needs(name: str) -> None:
    for kind in ("Deployment", "Service", "PodDisruptionBudget", "HorizontalPodAutoscaler"):
        assert name in _named(kind)
    deployment = _named("Deployment")[name]
    template = deployment["spec"]["template"]
    container = template["spec"]["containers"][0]
    assert container["args"] == [MODULES[name]]
    assert container["livenessProbe"]["httpGet"]["path"] == "/health"
    assert container["readinessProbe"]["httpGet"]["path"] == "/ready"
    port = PROCESSES[name].model_fields["port"].default
    assert container["ports"] == [{"name": "http", "containerPort": port}]
    assert _named("Service")[name]["spec"]["ports"][0]["port"] == port
    assert template["metadata"]["annotations"]["prometheus.io/port"] == str(port)
    labels = {"app.kubernetes.io/name": name}
    assert labels.items() <= template["metadata"]["labels"].items()
    assert deployment["spec"]["selector"]["matchLabels"] == labels
    assert _named("Service")[name]["spec"]["selector"] == labels
    assert _named("PodDisruptionBudget")[name]["spec"]["selector"]["matchLabels"] == labels
    scaler = _named("HorizontalPodAutoscaler")[name]["spec"]
    assert scaler["scaleTargetRef"]["name"] == name
    assert scaler["minReplicas"] >= 2
    assert "replicas" not in deployment["spec"]  # it would undo what the autoscaler decided


@pytest.mark.parametrize(("name", "template"), list(_templates()), ids=[name for name, _ in _templates()])
def test_each_pod_runs_as_an_ordinary_user_who_writes_only_to_its_folders(name: str, template: Manifest) -> None:
    spec = template["spec"]
    assert spec["securityContext"]["runAsNonRoot"] is True
    assert spec["securityContext"]["runAsUser"] == 10001
    assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert spec["automountServiceAccountToken"] is False
    # CHECKOUT_PORT and its like would come from the cluster's Services otherwise.
    assert spec["enableServiceLinks"] is False
    (container,) = spec["containers"]
    assert container["securityContext"]["readOnlyRootFilesystem"] is True
    assert container["securityContext"]["allowPrivilegeEscalation"] is False
    assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
    assert {mount["mountPath"] for mount in container["volumeMounts"]} == {"/data", "/tmp"}
    assert all("emptyDir" in volume for volume in spec["volumes"])
    assert {"cpu", "memory"} <= container["resources"]["requests"].keys() & container["resources"]["limits"].keys()


def test_the_stop_is_longer_than_what_happens_in_it() -> None:
    from shared.app.server import DRAIN_S

    spec = _named("Deployment")["gateway"]["spec"]["template"]["spec"]
    _sleep, seconds = spec["containers"][0]["lifecycle"]["preStop"]["exec"]["command"]
    assert spec["terminationGracePeriodSeconds"] > int(seconds) + DRAIN_S


def _secrets(process: str) -> set[str]:
    """Return the settings of a process that are never shown: those are its secrets."""
    model = PROCESSES[process]
    hidden = type(model.__name__, (), {"model_fields": {n: f for n, f in model.model_fields.items() if not f.repr}})
    return {name for name in names_in(hidden) if not PER_SERVICE.fullmatch(name)}


@pytest.mark.parametrize("name", PODS)
def test_each_process_gets_its_own_secrets_and_no_other(name: str) -> None:
    container = _named("Deployment")[name]["spec"]["template"]["spec"]["containers"][0]
    assert {one["name"] for one in container["env"]} == _secrets(name)
    for one in container["env"]:
        reference = one["valueFrom"]["secretKeyRef"]
        assert (reference["name"], reference["key"]) == ("keepsake-secrets", one["name"])


def test_the_settings_are_all_there_is_but_the_secrets() -> None:
    secrets = set().union(*(_secrets(name) for name in PROCESSES))
    expected = {name for name in known_names() - secrets if not PER_SERVICE.fullmatch(name)}
    assert set(_settings(KUBERNETES / "base" / "settings.env")) == expected
    for overlay in ("production", "development"):
        assert set(_settings(KUBERNETES / "overlays" / overlay / "settings.env")) <= expected


@pytest.mark.parametrize("overlay", ["production", "development"])
@pytest.mark.parametrize("name", MODULES)
def test_every_process_starts_with_these_settings(
    overlay: str, name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    if overlay == "production" and name == SANDBOX:
        assert SANDBOX not in _named("Deployment", "overlays/production")
        return
    monkeypatch.chdir(tmp_path)
    base, own = (_settings(KUBERNETES / path / "settings.env") for path in ("base", f"overlays/{overlay}"))
    strong = {key: f"{key}-{'x' * 40}" for key in ("INTERNAL_SECRET", "STRIPE_WEBHOOK_SECRET", "STRIPE_SECRET_KEY")}
    for key, value in {**base, **own, **strong, "REDIS_URL": "redis://redis:6379/0"}.items():
        monkeypatch.setenv(key, value)
    settings = PROCESSES[name]()
    assert settings.environment == overlay
    assert settings.host == "0.0.0.0"


def test_no_secret_is_in_the_manifests() -> None:
    for path in KUBERNETES.rglob("*"):
        if path.is_file():
            text = path.read_text()
            assert "kind: Secret\n" not in text
            assert not re.search(r"(?:sk_live_|whsec_|AKIA)[A-Za-z0-9]", text), path


def test_only_the_gateway_is_reachable_from_everywhere() -> None:
    policies = _named("NetworkPolicy")
    whole = {"matchLabels": {"app.kubernetes.io/part-of": "keepsake"}}
    assert policies["deny-all"]["spec"] == {"podSelector": whole, "policyTypes": ["Ingress"]}
    for policy in policies.values():
        for rule in policy["spec"].get("ingress", []):
            if "from" not in rule:
                assert policy["spec"]["podSelector"]["matchLabels"] == {"app.kubernetes.io/name": "gateway"}
    for _name, template in _templates():
        assert template["metadata"]["labels"]["app.kubernetes.io/part-of"] == "keepsake"
    ingress = _named("Ingress", "overlays/production")["keepsake"]
    paths = [path for rule in ingress["spec"]["rules"] for path in rule["http"]["paths"]]
    assert {path["backend"]["service"]["name"] for path in paths} == {"gateway"}


def test_the_migrations_of_every_service_run_in_the_job() -> None:
    from shared.persistence.migrations import WITH_TABLES

    container = _named("Job")["migrations"]["spec"]["template"]["spec"]["containers"][0]
    module, *services = container["args"]
    assert importlib.util.find_spec(module)
    assert sorted(services) == WITH_TABLES


def test_compose_can_scale_every_service() -> None:
    compose = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
    for name, service in compose["services"].items():
        assert "container_name" not in service
        # One port of this machine is for one container: what the browser does not reach has none.
        assert name in {"gateway", SANDBOX, "s3"} or "ports" not in service


def test_the_image_of_production_has_no_sandbox_in_it() -> None:
    lines = (ROOT / "Dockerfile").read_text().splitlines()
    stages = [line for line in lines if line.startswith("FROM ")]
    copies = [line for line in lines if line.startswith("COPY stripe_sandbox")]
    assert stages[-1] == "FROM keepsake"
    assert stages[-2] == "FROM keepsake AS development"
    assert len(copies) == 1
    assert lines.index(stages[-2]) < lines.index(copies[0]) < lines.index(stages[-1])
    compose = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]
    assert compose[SANDBOX]["build"]["target"] == "development"
    assert "target" not in compose["checkout"]["build"]
