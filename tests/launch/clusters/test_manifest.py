"""The RayJob's manifest: read back against the models, and its field names against those of the published API."""

from __future__ import annotations

import base64
import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import BaseModel, ValidationError

from gristmill.launch.clusters import rayjob
from gristmill.launch.clusters.manifest import ARGUMENTS, seconds_of
from gristmill.pipeline.errors import ConfigError
from tests.launch.running import Command

SUBMIT = ("submit", "web.yaml", "--on", "kubernetes", "--name", "one", "--image", "registry/gristmill:1", "--dry-run")

# Field names as KubeRay's and Kubernetes' API references list them, read there by a person: KubeRay v1.6 (RayJobSpec,
# RayClusterSpec, HeadGroupSpec, WorkerGroupSpec, AuthOptions), Kubernetes 1.28 (the others). A field of ours that is not
# among them would be refused by an API server, or worse, dropped.
PUBLISHED = {
    "RayJob": "apiVersion kind metadata spec",
    "RayJobSpec": "activeDeadlineSeconds backoffLimit rayClusterSpec submitterPodTemplate metadata clusterSelector "
    "submitterConfig managedBy deletionStrategy entrypoint runtimeEnvYAML jobId submissionMode entrypointResources "
    "entrypointNumCpus entrypointNumGpus ttlSecondsAfterFinished shutdownAfterJobFinishes suspend",
    "RayClusterSpec": "authOptions suspend managedBy autoscalerOptions headServiceAnnotations enableInTreeAutoscaling "
    "gcsFaultToleranceOptions headGroupSpec rayVersion workerGroupSpecs",
    "AuthOptions": "mode enableK8sTokenAuth secretName",
    "HeadGroupSpec": "template headService enableIngress rayStartParams serviceType",
    "WorkerGroupSpec": "groupName replicas minReplicas maxReplicas rayStartParams template scaleStrategy numOfHosts",
    "ConfigMap": "apiVersion kind metadata data binaryData immutable",
    "ObjectMeta": "name generateName namespace labels annotations ownerReferences finalizers",
    "PodMeta": "name generateName namespace labels annotations ownerReferences finalizers",
    "PodTemplateSpec": "metadata spec",
    "PodSpec": "containers initContainers volumes serviceAccountName restartPolicy nodeSelector tolerations affinity "
    "terminationGracePeriodSeconds imagePullSecrets securityContext priorityClassName",
    "Container": "name image imagePullPolicy command args workingDir env envFrom ports resources volumeMounts securityContext",
    "EnvVar": "name value valueFrom",
    "EnvFromSource": "prefix configMapRef secretRef",
    "SecretEnvSource": "name optional",
    "ResourceRequirements": "limits requests claims",
    "Volume": "name configMap persistentVolumeClaim emptyDir secret hostPath projected nfs csi",
    "ConfigMapVolumeSource": "name items defaultMode optional",
    "PersistentVolumeClaimVolumeSource": "claimName readOnly",
    "EmptyDirVolumeSource": "medium sizeLimit",
    "KeyToPath": "key path mode",
    "VolumeMount": "name mountPath readOnly subPath subPathExpr mountPropagation",
}  # fmt: skip


def objects(text: str) -> tuple[dict[str, Any], dict[str, Any]]:
    config_map, job = yaml.safe_load_all(text)
    return config_map, job


def models() -> dict[str, type[BaseModel]]:
    found = {
        name: item for name, item in vars(rayjob).items() if isinstance(item, type) and issubclass(item, rayjob.Part)
    }
    return {name: item for name, item in found.items() if name not in ("Part", "RayJobName")}


def test_every_model_is_of_a_published_type_and_every_field_is_its() -> None:
    assert set(models()) == set(PUBLISHED)
    for name, model in models().items():
        ours = {field.alias or key for key, field in model.model_fields.items()}
        assert ours <= set(PUBLISHED[name].split()), name


def test_the_manifest_reads_back_as_the_models_and_holds_all_that_was_asked(gristmill: Command) -> None:
    ran = gristmill(
        *SUBMIT, "--nodes", "3", "--cpus", "8", "--memory", "32Gi", "--gpus", "1", "--namespace", "text", "--secret", "s3",
        "--volume", "shared:/data", "--service-account", "writer", "--time", "2:00:00", "--restarts", "1",
        "--output", "s3://bucket/out", "--set", "work=/data/work",
    )  # fmt: skip
    assert ran.code == 0, ran
    config_map, job = objects(ran.out)
    assert rayjob.ConfigMap.model_validate(config_map).plain() == config_map
    assert rayjob.RayJob.model_validate(job).plain() == job
    spec = job["spec"]
    assert (spec["activeDeadlineSeconds"], spec["backoffLimit"], spec["shutdownAfterJobFinishes"]) == (7200, 1, True)
    assert spec["metadata"] == {"gristmill_run": "one"} and job["metadata"]["labels"]["gristmill/run"] == "one"
    assert yaml.safe_load(spec["runtimeEnvYAML"])["env_vars"]["RAY_JOB_STOP_WAIT_TIME_S"] == "120"
    cluster = spec["rayClusterSpec"]
    assert cluster["authOptions"] == {"mode": "token"}
    (workers,) = cluster["workerGroupSpecs"]
    assert (workers["replicas"], workers["minReplicas"], workers["maxReplicas"]) == (3, 3, 3)
    for group, gpus in ((cluster["headGroupSpec"], {}), (workers, {"nvidia.com/gpu": "1"})):
        pod = group["template"]["spec"]
        (container,) = pod["containers"]
        assert container["resources"]["limits"] == {"cpu": "8", "memory": "32Gi", **gpus}
        assert container["resources"]["limits"] == container["resources"]["requests"]
        assert container["envFrom"] == [{"secretRef": {"name": "s3"}}]
        assert {"name": "volume-0", "mountPath": "/data"} in container["volumeMounts"]
        assert pod["serviceAccountName"] == "writer"
    assert cluster["headGroupSpec"]["rayStartParams"] == {"num-cpus": "0"}


def test_the_jobs_folder_is_made_of_the_config_map(gristmill: Command, job_folder: Path) -> None:
    config_map, job = objects(gristmill(*SUBMIT).out)
    volumes = job["spec"]["rayClusterSpec"]["headGroupSpec"]["template"]["spec"]["volumes"]
    files = {item["path"]: item["key"] for item in volumes[0]["configMap"]["items"]}
    assert set(files) == {"web.yaml", ARGUMENTS, "data/0.parquet", "data/1.parquet"}
    assert config_map["data"][files["web.yaml"]] == (job_folder / "web.yaml").read_text()
    stored = base64.b64decode(config_map["binaryData"][files["data/0.parquet"]])
    assert stored == (job_folder / "data" / "0.parquet").read_bytes()


def test_hostile_arguments_stand_in_a_file_and_not_in_the_command(gristmill: Command) -> None:
    hostile = "/shared/$(touch pwned) `it's` \"; rm -rf /"
    config_map, job = objects(gristmill(*SUBMIT, "--output", hostile).out)
    assert re.fullmatch(r"[a-z0-9 ._=/-]+", job["spec"]["entrypoint"])
    (arguments,) = [text for key, text in config_map["data"].items() if key.endswith(ARGUMENTS)]
    assert json.loads(arguments) == ["run", "--executor=ray", "--address=auto", f"--output={hostile}", "--", "web.yaml"]


def test_what_is_too_large_for_a_config_map_is_refused(gristmill: Command, job_folder: Path) -> None:
    (job_folder / "data" / "2.parquet").write_bytes(bytes(900_001))
    ran = gristmill(*SUBMIT)
    assert ran.code == 2 and "a config map holds 900.0 kB" in ran.err


def test_the_models_refuse_what_an_api_server_would(gristmill: Command) -> None:
    _, job = objects(gristmill(*SUBMIT).out)

    def broken(path: str, value: Any) -> dict[str, Any]:
        copy = json.loads(json.dumps(job))
        place = copy
        *parents, last = path.split(".")
        for part in parents:
            place = place[int(part)] if part.isdigit() else place[part]
        place[last] = value
        return copy

    pod = "spec.rayClusterSpec.headGroupSpec.template.spec"
    for path, value in [
        ("spec.entryPoint", "python"), ("metadata.name", "1-one"), ("metadata.name", "a" * 48), ("apiVersion", "ray.io/v2"),
        ("spec.backoffLimit", -1), ("spec.rayClusterSpec.workerGroupSpecs.0.replicas", 7), (f"{pod}.containers", []),
        (f"{pod}.containers.0.image", "bad image"), (f"{pod}.volumes", []), (f"{pod}.volumes.0.emptyDir", {}),
        (f"{pod}.containers.0.resources.limits", {"cpu": "four"}), (f"{pod}.volumes.0.configMap.items.0.path", "../x"),
        ("metadata.labels", {"a b": "c"}), ("metadata.labels", {"a": "-b-"}),
    ]:  # fmt: skip
        with pytest.raises(ValidationError):
            rayjob.RayJob.model_validate(broken(path, value))
    rayjob.RayJob.model_validate(job)


def test_time_limits() -> None:
    assert [seconds_of(text) for text in ("5", "5:30", "1:00:00", "1-1", "1-1:30", "1-00:00:01")] == [
        300,
        330,
        3600,
        90_000,
        91_800,
        86_401,
    ]
    for text in ("", "1:2:3:4", "-1", "1h"):
        with pytest.raises(ConfigError, match="--time"):
            seconds_of(text)
