"""KubeRay's RayJob, as far as we use it: typed models of the manifest, by the names of the API (ray.io/v1, core/v1).

Unknown fields are refused, as the API server refuses them under strict validation. A manifest is made of these models
alone, so it cannot hold a field that is not here.
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator
from pydantic.alias_generators import to_camel

from gristmill.launch.clusters.quantities import (
    AbsolutePath,
    FileKey,
    JobName,
    LabelKey,
    LabelValue,
    Name,
    Quantity,
    SubdomainName,
    VariableName,
)


class Part(BaseModel):
    """Base of all parts: field names in Python's manner, keys in Kubernetes'."""

    model_config = ConfigDict(frozen=True, extra="forbid", alias_generator=to_camel, populate_by_name=True)

    def plain(self) -> dict[str, Any]:
        """The part as a map for YAML or JSON; what is not set is left out."""
        return self.model_dump(by_alias=True, exclude_none=True, mode="json")


class ObjectMeta(Part):
    """metav1.ObjectMeta."""

    name: SubdomainName
    namespace: Name | None = None
    labels: dict[LabelKey, LabelValue] | None = None
    annotations: dict[LabelKey, str] | None = None


class PodMeta(Part):
    """metav1.ObjectMeta of a pod's template, which has no name of its own."""

    labels: dict[LabelKey, LabelValue] | None = None


class ConfigMap(Part):
    """core/v1 ConfigMap."""

    api_version: Literal["v1"] = "v1"
    kind: Literal["ConfigMap"] = "ConfigMap"
    metadata: ObjectMeta
    data: dict[FileKey, str] | None = None
    binary_data: dict[FileKey, str] | None = None
    immutable: bool = True


class KeyToPath(Part):
    """A file of a config map's volume."""

    key: FileKey
    path: str = Field(min_length=1)

    @model_validator(mode="after")
    def _stays_below(self) -> KeyToPath:
        if self.path.startswith("/") or ".." in self.path.split("/"):
            raise ValueError("the path of a file in a volume is relative, and does not lead above it")
        return self


class ConfigMapVolumeSource(Part):
    """core/v1 ConfigMapVolumeSource."""

    name: SubdomainName
    items: tuple[KeyToPath, ...] | None = None


class PersistentVolumeClaimVolumeSource(Part):
    """core/v1 PersistentVolumeClaimVolumeSource."""

    claim_name: SubdomainName


class EmptyDirVolumeSource(Part):
    """core/v1 EmptyDirVolumeSource."""

    medium: Literal["", "Memory"] | None = None


class Volume(Part):
    """core/v1 Volume: of exactly one kind."""

    name: Name
    config_map: ConfigMapVolumeSource | None = None
    persistent_volume_claim: PersistentVolumeClaimVolumeSource | None = None
    empty_dir: EmptyDirVolumeSource | None = None

    @model_validator(mode="after")
    def _one_kind(self) -> Volume:
        kinds = [self.config_map, self.persistent_volume_claim, self.empty_dir]
        if sum(kind is not None for kind in kinds) != 1:
            raise ValueError("a volume is of exactly one kind")
        return self


class VolumeMount(Part):
    """core/v1 VolumeMount."""

    name: Name
    mount_path: AbsolutePath
    read_only: bool | None = None


class SecretEnvSource(Part):
    """core/v1 SecretEnvSource: a secret by its name, whose keys become variables."""

    name: SubdomainName


class EnvFromSource(Part):
    """core/v1 EnvFromSource."""

    secret_ref: SecretEnvSource


class EnvVar(Part):
    """core/v1 EnvVar, for what is no secret."""

    name: VariableName
    value: str


class ResourceRequirements(Part):
    """core/v1 ResourceRequirements."""

    limits: dict[LabelKey, Quantity]
    requests: dict[LabelKey, Quantity]


class Container(Part):
    """core/v1 Container."""

    name: Name
    image: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._/:@+-]*$")
    working_dir: AbsolutePath | None = None
    image_pull_policy: Literal["Always", "IfNotPresent", "Never"] | None = None
    env: tuple[EnvVar, ...] | None = None
    env_from: tuple[EnvFromSource, ...] | None = None
    resources: ResourceRequirements
    volume_mounts: tuple[VolumeMount, ...] | None = None


class PodSpec(Part):
    """core/v1 PodSpec."""

    containers: tuple[Container, ...] = Field(min_length=1)
    volumes: tuple[Volume, ...] | None = None
    service_account_name: SubdomainName | None = None
    restart_policy: Literal["Never", "OnFailure", "Always"] | None = None

    @model_validator(mode="after")
    def _mounts_are_volumes(self) -> PodSpec:
        volumes = {volume.name for volume in self.volumes or ()}
        for container in self.containers:
            for mount in container.volume_mounts or ():
                if mount.name not in volumes:
                    raise ValueError(
                        f"the container {container.name} mounts {mount.name}, which is no volume of the pod"
                    )
        return self


class PodTemplateSpec(Part):
    """core/v1 PodTemplateSpec."""

    metadata: PodMeta | None = None
    spec: PodSpec


class HeadGroupSpec(Part):
    """ray.io/v1 HeadGroupSpec."""

    ray_start_params: dict[str, str]
    template: PodTemplateSpec


class WorkerGroupSpec(Part):
    """ray.io/v1 WorkerGroupSpec."""

    group_name: Name
    replicas: int = Field(ge=0)
    min_replicas: int = Field(ge=0)
    max_replicas: int = Field(ge=0)
    ray_start_params: dict[str, str]
    template: PodTemplateSpec

    @model_validator(mode="after")
    def _replicas_fit(self) -> WorkerGroupSpec:
        if not self.min_replicas <= self.replicas <= self.max_replicas:
            raise ValueError("expected minReplicas ≤ replicas ≤ maxReplicas")
        return self


class AuthOptions(Part):
    """ray.io/v1 AuthOptions."""

    mode: Literal["disabled", "token"]


class RayClusterSpec(Part):
    """ray.io/v1 RayClusterSpec."""

    auth_options: AuthOptions | None = None
    ray_version: str = Field(pattern=r"^\d+\.\d+\.\d+")
    head_group_spec: HeadGroupSpec
    worker_group_specs: tuple[WorkerGroupSpec, ...] = ()


class RayJobSpec(Part):
    """ray.io/v1 RayJobSpec."""

    entrypoint: str = Field(min_length=1)
    submission_mode: Literal["K8sJobMode", "HTTPMode"] = "K8sJobMode"
    # By its own name: the generator would write `runtimeEnvYaml`.
    runtime_env_yaml: str | None = Field(None, alias="runtimeEnvYAML")
    metadata: dict[str, str] | None = None
    active_deadline_seconds: int | None = Field(None, ge=1)
    backoff_limit: int = Field(ge=0)
    shutdown_after_job_finishes: bool = True
    ttl_seconds_after_finished: int = Field(ge=0)
    ray_cluster_spec: RayClusterSpec


class RayJob(Part):
    """ray.io/v1 RayJob."""

    api_version: Literal["ray.io/v1"] = "ray.io/v1"
    kind: Literal["RayJob"] = "RayJob"
    metadata: ObjectMeta
    spec: RayJobSpec

    @model_validator(mode="after")
    def _name_is_short(self) -> RayJob:
        RayJobName(name=self.metadata.name)
        return self


class RayJobName(Part):
    """The bound on a RayJob's name."""

    name: JobName
