"""The manifests: by Kubernetes' own schemas of several versions, by what they have to say to each other, and as run."""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING, Any

import jsonschema
import kubernetes_validate
import pytest
import yaml

from tests.support.admin import ask, free_port
from tests.support.manager import started
from tests.support.server import ROOT, eventually
from tests.support.wire1 import Line1

if TYPE_CHECKING:
    import ssl
    from pathlib import Path

FOLDER = ROOT / "deploy" / "kubernetes"
VERSIONS = ("1.30", "1.33", "1.36")
FILES = sorted(path.name for path in FOLDER.glob("*.yaml"))


def closed(required: tuple[str, ...] = (), **properties: Any) -> dict[str, Any]:
    """An object with these properties, and no other."""
    return {"type": "object", "properties": properties, "required": list(required), "additionalProperties": False}


TEXT, TEXTS = {"type": "string", "minLength": 1}, {"type": "array", "items": {"type": "string"}, "minItems": 1}
SPAN = {"type": "string", "pattern": "^([0-9]+h)?([0-9]+m)?([0-9]+s)?$"}
KEY = closed(("name", "key"), name=TEXT, key=TEXT)
# Custom resources: of their definitions, what is used here.
OF_OTHERS = {
    ("cert-manager.io/v1", "Certificate"): closed(
        ("secretName", "issuerRef"),
        secretName=TEXT,
        duration=SPAN,
        renewBefore=SPAN,
        privateKey=closed(
            algorithm={"enum": ["RSA", "ECDSA", "Ed25519"]},
            size={"enum": [256, 384, 521, 2048, 3072, 4096, 8192]},
            encoding={"enum": ["PKCS1", "PKCS8"]},
            rotationPolicy={"enum": ["Never", "Always"]},
        ),
        usages={"type": "array", "items": {"enum": ["digital signature", "server auth", "client auth"]}},
        dnsNames=TEXTS,
        issuerRef=closed(("name",), group=TEXT, kind={"enum": ["Issuer", "ClusterIssuer"]}, name=TEXT),
    ),
    ("trust.cert-manager.io/v1alpha1", "Bundle"): closed(
        ("sources", "target"),
        sources={
            "type": "array",
            "minItems": 1,
            "items": closed(secret=KEY, configMap=KEY, inLine=TEXT) | {"minProperties": 1, "maxProperties": 1},
        },
        target=closed(
            configMap=closed(("key",), key=TEXT),
            namespaceSelector=closed(matchLabels={"type": "object", "additionalProperties": {"type": "string"}}),
        ),
    ),
}


def manifest(name: str) -> dict[str, Any]:
    found = yaml.safe_load((FOLDER / name).read_text())
    assert isinstance(found, dict)
    return found


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("name", [name for name in FILES if name != "kustomization.yaml"])
def test_it_is_what_kubernetes_takes(name: str, version: str) -> None:
    """Every key is known there, and every value of its type."""
    resource = manifest(name)
    own = OF_OTHERS.get((resource["apiVersion"], resource["kind"]))
    if own is not None:
        jsonschema.validate(resource, closed(("spec",), apiVersion=TEXT, kind=TEXT, metadata=True, spec=own))
    else:
        kubernetes_validate.validate(resource, version, strict=True)


def test_a_key_that_is_not_known_would_be_found() -> None:
    """The check above does look."""
    resource = manifest("deployment.yaml")
    resource["spec"]["template"]["spec"]["containers"][0]["readynessProbe"] = {}
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(resource, VERSIONS[-1], strict=True)


def test_kustomization_names_every_file() -> None:
    there = manifest("kustomization.yaml")
    assert sorted([*there["resources"], "kustomization.yaml"]) == FILES


def test_the_pod_is_restricted() -> None:
    """What the Pod Security Standard of that name asks for, and a root file system that is read-only."""
    assert manifest("namespace.yaml")["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"
    pod = manifest("deployment.yaml")["spec"]["template"]["spec"]
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["runAsUser"] > 0
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert pod["automountServiceAccountToken"] is False
    (container,) = pod["containers"]
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert {next(iter(volume.keys() - {"name"})) for volume in pod["volumes"]} == {"projected", "emptyDir"}


def test_names_mean_what_they_name() -> None:
    """Selectors, ports, secrets and keys: a slip of one is a pod without traffic, or without a certificate."""
    deployment = manifest("deployment.yaml")["spec"]
    labels = deployment["template"]["metadata"]["labels"]
    assert deployment["selector"]["matchLabels"] == labels
    assert manifest("service.yaml")["spec"]["selector"] == labels
    assert manifest("poddisruptionbudget.yaml")["spec"]["selector"]["matchLabels"] == labels
    assert manifest("networkpolicy.yaml")["spec"]["podSelector"]["matchLabels"] == labels
    assert manifest("horizontalpodautoscaler.yaml")["spec"]["scaleTargetRef"]["name"] == "handclasp"
    pod = deployment["template"]["spec"]
    (container,) = pod["containers"]
    ports = {port["name"]: port["containerPort"] for port in container["ports"]}
    settings = manifest("configmap.yaml")["data"]
    assert settings["HANDCLASP_BIND"].endswith(f":{ports['https']}")
    assert settings["HANDCLASP_ADMIN_BIND"].endswith(f":{ports['admin']}")
    assert [port["targetPort"] for port in manifest("service.yaml")["spec"]["ports"]] == ["https"]
    projected = next(volume["projected"] for volume in pod["volumes"] if volume["name"] == "tls")
    assert projected["defaultMode"] == 0o440
    secret, trust = (next(iter(source.values())) for source in projected["sources"])
    assert secret["name"] == manifest("certificate.yaml")["spec"]["secretName"]
    assert trust["name"] == manifest("bundle.yaml")["metadata"]["name"]
    assert [item["key"] for item in trust["items"]] == [manifest("bundle.yaml")["spec"]["target"]["configMap"]["key"]]
    assert {item["path"] for source in (secret, trust) for item in source["items"]} == {"tls.crt", "tls.key", "ca.crt"}
    mounted = {mount["name"]: mount["mountPath"] for mount in container["volumeMounts"]}
    assert mounted["tls"] == settings["HANDCLASP_CREDENTIAL"]
    selector = manifest("bundle.yaml")["spec"]["target"]["namespaceSelector"]["matchLabels"]
    assert selector.items() <= manifest("namespace.yaml")["metadata"]["labels"].items()
    grace = deployment["template"]["spec"]["terminationGracePeriodSeconds"]
    before = container["lifecycle"]["preStop"]["sleep"]["seconds"]
    assert grace > before + int(settings["HANDCLASP_GRACEFUL_TIMEOUT"].removesuffix("s"))


def test_what_the_pod_runs(tmp_path: Path, credentials: Path, alice: ssl.SSLContext) -> None:
    """The container's arguments and environment, with the folder as a kubelet mounts it; the probes get their answers.

    The secret is renewed by the swap of `..data`, which the server takes up.
    """
    folder, version = tmp_path / "tls", tmp_path / "tls" / "..2026_11_25"
    version.mkdir(parents=True)
    for file in (credentials / "localhost").iterdir():
        (version / file.name).touch(0o600)
        (version / file.name).write_bytes(file.read_bytes())
        (folder / file.name).symlink_to(f"..data/{file.name}")
    (folder / "..data").symlink_to(version.name)
    (container,) = manifest("deployment.yaml")["spec"]["template"]["spec"]["containers"]
    ports = {"https": free_port(), "admin": free_port()}
    environment = manifest("configmap.yaml")["data"] | {
        "HANDCLASP_BIND": f"127.0.0.1:{ports['https']}",
        "HANDCLASP_ADMIN_BIND": f"0.0.0.0:{ports['admin']}",
        "HANDCLASP_CREDENTIAL": str(folder),
    }
    with started(tmp_path, *container["args"], **environment) as service:
        service.port()
        for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
            asked = container[probe]["httpGet"]
            # A kubelet asks for the pod's address.
            assert ask(ports[asked["port"]], asked["path"], {"host": "10.0.0.7:9443"}) == (200, "ok\n")
        with Line1(ports["https"], alice) as line:
            assert bytes(line.get().body) == b"Hello alice@example.com!"
        next_one = folder / "..2026_11_26"
        next_one.mkdir()
        for file in version.iterdir():
            (next_one / file.name).touch(0o600)
            (next_one / file.name).write_bytes(file.read_bytes())
        (folder / "..data_tmp").symlink_to(next_one.name)
        (folder / "..data_tmp").replace(folder / "..data")
        eventually(lambda: '"event": "reload.accepted"' in service.err, 10, lambda: service.err)
        os.kill(service.pid, signal.SIGTERM)
        assert service.exit_code() == 0


def test_the_page_shows_these_volumes() -> None:
    """docs/how-to/authorities.md has the credential folder of deployment.yaml, but for the mode of its files."""
    page = (ROOT / "docs" / "how-to" / "authorities.md").read_text()
    shown = yaml.safe_load(page.split("```yaml\n")[1].split("```")[0])["volumes"]
    pod = yaml.safe_load((FOLDER / "deployment.yaml").read_text())["spec"]["template"]["spec"]
    (tls,) = (volume for volume in pod["volumes"] if volume["name"] == "tls")
    del tls["projected"]["defaultMode"]
    assert shown == [tls]
