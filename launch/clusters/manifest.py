"""The manifest of a run on Kubernetes: a config map with the config and its files, and a RayJob that runs it."""

from __future__ import annotations

import base64
import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from gristmill.launch.clusters import rayjob
from gristmill.launch.clusters.ray_jobs import stop_seconds
from gristmill.launch.clusters.states import RUN_KEY
from gristmill.launch.clusters.submission import Submission
from gristmill.launch.terminal.numbers import size
from gristmill.pipeline.errors import ConfigError

FOLDER = "/gristmill/job"
"""The job's current folder in the containers."""

ARGUMENTS = "gristmill-arguments.json"
"""The file in it with the arguments of `gristmill`."""

MOST_BYTES = 900_000
"""Bytes of the files in a config map; Kubernetes keeps objects of 1 MiB at most."""

LABELS = {"app.kubernetes.io/name": "gristmill", "app.kubernetes.io/managed-by": "gristmill-submit"}
RUN_LABEL = "gristmill/run"


@dataclass(frozen=True)
class KubernetesOptions:
    """What the job asks of Kubernetes.

    Attributes:
        image: has Ray and the Gristmill that submits, on all nodes.
        nodes: worker pods.
        cpus, memory, gpus: of each pod, as Kubernetes writes quantities.
        seconds: the job's time limit.
        restarts: times that it is run again on a cluster of its own.
        secrets: secrets whose keys become environment variables.
        volumes: `CLAIM:/path`: claims on storage that all pods mount.
    """

    image: str | None
    nodes: int = 1
    cpus: str = "4"
    memory: str = "16Gi"
    gpus: int = 0
    namespace: str | None = None
    service_account: str | None = None
    seconds: int | None = None
    restarts: int = 3
    secrets: tuple[str, ...] = ()
    volumes: tuple[str, ...] = ()


def manifest(
    submission: Submission,
    files: dict[str, bytes],
    config: str,
    package: str,
    ray_version: str,
    options: KubernetesOptions,
) -> list[rayjob.Part]:
    """The objects of a run, in the order in which they are applied.

    Args:
        submission: the run.
        files: path in the job's folder → content: config, plug-ins and what the config names by relative paths.
        config: the config as the job finds it.
        package: digest of the Gristmill that the image must have.
        ray_version: Ray's version in the image.
        options: what the job asks of Kubernetes.

    Raises ConfigError for what Kubernetes would refuse.
    """
    files = {**files, ARGUMENTS: json.dumps(submission.command(config, "auto"), indent=1).encode() + b"\n"}
    total = sum(len(content) for content in files.values())
    if total > MOST_BYTES:
        raise ConfigError(
            f"--on kubernetes: the config, its relative files and plug-ins have {size(total)}; a config map holds "
            f"{size(MOST_BYTES)}. Put them into the image or on a volume (--volume CLAIM:/path), and name them from / on."
        )
    if options.image is None:
        raise ConfigError(
            "--on kubernetes: expected --image, a container image with Ray and this very Gristmill (see docs/clusters.md)."
        )
    try:
        return _manifest(submission, files, package, ray_version, options)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        if first["type"] == "string_pattern_mismatch":
            raise ConfigError(
                f"--on kubernetes: {where}: Kubernetes does not take {str(first['input'])[:80]!r} there. Names are "
                "lower-case letters, digits and hyphens; quantities are such as 4, 500m or 16Gi."
            ) from error
        raise ConfigError(
            f"--on kubernetes: {first['msg'].removeprefix('Value error, ')} (in {where}); found {str(first['input'])[:80]!r}."
        ) from error


def _manifest(
    submission: Submission, files: dict[str, bytes], package: str, ray_version: str, options: KubernetesOptions
) -> list[rayjob.Part]:
    labels = {**LABELS, RUN_LABEL: submission.name}
    meta = rayjob.ObjectMeta(name=submission.name, namespace=options.namespace, labels=labels)
    keys = {
        path: f"{index:03d}-{re.sub(r'[^-._a-zA-Z0-9]', '_', path)[-200:]}" for index, path in enumerate(sorted(files))
    }
    texts: dict[str, str] = {}
    binaries: dict[str, str] = {}
    for path, key in keys.items():
        try:
            texts[key] = files[path].decode("utf-8")
        except UnicodeDecodeError:
            binaries[key] = base64.b64encode(files[path]).decode("ascii")
    config_map = rayjob.ConfigMap(metadata=meta, data=texts or None, binary_data=binaries or None)
    items = tuple(rayjob.KeyToPath(key=key, path=path) for path, key in keys.items())
    claims = [_claim(text) for text in options.volumes]
    volumes = [rayjob.Volume(name="job", config_map=rayjob.ConfigMapVolumeSource(name=submission.name, items=items))]
    mounts = [rayjob.VolumeMount(name="job", mount_path=FOLDER, read_only=True)]
    for index, (claim, path) in enumerate(claims):
        source = rayjob.PersistentVolumeClaimVolumeSource(claim_name=claim)
        volumes.append(rayjob.Volume(name=f"volume-{index}", persistent_volume_claim=source))
        mounts.append(rayjob.VolumeMount(name=f"volume-{index}", mount_path=path))
    asks = {"cpu": options.cpus, "memory": options.memory} | (
        {"nvidia.com/gpu": str(options.gpus)} if options.gpus else {}
    )
    secrets = tuple(rayjob.EnvFromSource(secret_ref=rayjob.SecretEnvSource(name=name)) for name in options.secrets)

    def pod(container: str, resources: dict[str, str]) -> rayjob.PodTemplateSpec:
        made = rayjob.Container(
            name=container,
            image=options.image or "",
            working_dir=FOLDER,
            env=(
                rayjob.EnvVar(name="PYTHONPATH", value=FOLDER),
                rayjob.EnvVar(name="RAY_USAGE_STATS_ENABLED", value="0"),
            ),
            env_from=secrets or None,
            resources=rayjob.ResourceRequirements(limits=resources, requests=resources),
            volume_mounts=tuple(mounts),
        )
        spec = rayjob.PodSpec(containers=(made,), volumes=tuple(volumes), service_account_name=options.service_account)
        return rayjob.PodTemplateSpec(metadata=rayjob.PodMeta(labels=labels), spec=spec)

    cluster = rayjob.RayClusterSpec(
        ray_version=ray_version,
        auth_options=rayjob.AuthOptions(mode="token"),
        # The head runs the driver, and no tasks: what kills a worker shall not kill it.
        head_group_spec=rayjob.HeadGroupSpec(
            ray_start_params={"num-cpus": "0"}, template=pod("ray-head", {name: asks[name] for name in ("cpu", "memory")})
        ),
        worker_group_specs=(
            rayjob.WorkerGroupSpec(
                group_name="workers", replicas=options.nodes, min_replicas=options.nodes, max_replicas=options.nodes,
                ray_start_params={}, template=pod("ray-worker", asks),
            ),
        ),
    )  # fmt: skip
    runtime = {"env_vars": {"RAY_JOB_STOP_WAIT_TIME_S": str(stop_seconds(submission.arguments.grace))}}
    spec = rayjob.RayJobSpec(
        # KubeRay and `ray job submit` take the command apart and join it again, and quotes do not survive that. So the folder
        # is the containers', and the arguments of `gristmill` are in a file.
        entrypoint=(
            f"python -m gristmill.launch.clusters.job_start --package={package} --nodes={options.nodes + 1} --wait=600 "
            f"--arguments={ARGUMENTS}"
        ),
        runtimeEnvYAML=yaml.safe_dump(runtime, default_flow_style=False),
        metadata={RUN_KEY: submission.name},
        active_deadline_seconds=options.seconds,
        backoff_limit=options.restarts,
        ttl_seconds_after_finished=600,
        ray_cluster_spec=cluster,
    )
    return [config_map, rayjob.RayJob(metadata=meta, spec=spec)]


def as_yaml(objects: list[rayjob.Part]) -> str:
    """The objects as one YAML text."""
    return "---\n".join(
        yaml.dump(one.plain(), Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=100) for one in objects
    )


def bundle_files(folder: Path) -> dict[str, bytes]:
    """Path → content of a bundle's files but the package, which is in the image."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and not re.match(r"gristmill(-[^/]*\.dist-info)?$", path.relative_to(folder).parts[0])
    }


def seconds_of(limit: str) -> int:
    """A time limit in Slurm's forms, in seconds: minutes, H:M:S, D-H:M:S.

    >>> seconds_of("90"), seconds_of("1:30:00"), seconds_of("2-00:00:00")
    (5400, 5400, 172800)
    """
    matched = re.fullmatch(r"(?:(\d{1,4})-)?(\d{1,5})(?::(\d{1,2}))?(?::(\d{1,2}))?", limit)
    if matched is None:
        raise ConfigError(
            f"--time {limit!r:.80}: expected minutes, HOURS:MINUTES:SECONDS or DAYS-HOURS:MINUTES:SECONDS."
        )
    days, first, second, third = (int(part) if part else 0 for part in matched.groups())
    if matched[1] is not None or matched[4] is not None:
        return ((days * 24 + first) * 60 + second) * 60 + third
    return first * 60 + second  # MINUTES, or MINUTES:SECONDS


def _claim(text: str) -> tuple[str, str]:
    claim, colon, path = text.partition(":")
    if not colon or not path.startswith("/"):
        raise ConfigError(f"--volume {text!r:.80}: expected CLAIM:/path, such as shared-data:/data.")
    return claim, path


class _Dumper(yaml.SafeDumper):
    """Texts of several lines as they are, so that a person can read the config in the manifest."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def _text(dumper: yaml.SafeDumper, value: str) -> yaml.ScalarNode:
    return dumper.represent_scalar("tag:yaml.org,2002:str", value, style="|" if "\n" in value else None)


_Dumper.add_representer(str, _text)
