"""Kubernetes' names and quantities, as its own documents define them."""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import AfterValidator, StringConstraints


def _label(value: str) -> str:
    if value and not re.fullmatch(r"[A-Za-z0-9](?:[A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?", value):
        raise ValueError(
            "a label's value has at most 63 letters, digits and ._- and begins and ends with a letter or digit"
        )
    return value


def _label_key(value: str) -> str:
    prefix, slash, name = value.rpartition("/")
    if slash and not re.fullmatch(r"[a-z0-9](?:[a-z0-9.-]{0,251}[a-z0-9])?", prefix):
        raise ValueError("a label's prefix is a DNS name")
    if not name:
        raise ValueError("a label has a name")
    return (prefix + slash) + _label(name)


Name = Annotated[str, StringConstraints(pattern=r"^[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?$")]
"""A DNS label (RFC 1123)."""

SubdomainName = Annotated[str, StringConstraints(pattern=r"^[a-z0-9](?:[a-z0-9.-]{0,251}[a-z0-9])?$")]
"""A DNS subdomain: names of secrets, config maps, claims and service accounts."""

JobName = Annotated[str, StringConstraints(pattern=r"^[a-z](?:[a-z0-9-]{0,45}[a-z0-9])?$")]
"""Of a RayJob: KubeRay holds it to 47 characters and a letter at the beginning."""

Quantity = Annotated[str, StringConstraints(pattern=r"^(?:\d+(?:\.\d*)?|\.\d+)(?:[KMGTPE]i|[mkMGTPE]|[eE][+-]?\d+)?$")]
"""Such as `4`, `500m`, `16Gi`."""

LabelKey = Annotated[str, AfterValidator(_label_key)]
LabelValue = Annotated[str, AfterValidator(_label)]
FileKey = Annotated[str, StringConstraints(pattern=r"^[-._a-zA-Z0-9]{1,253}$")]
"""A key of a config map."""

VariableName = Annotated[str, StringConstraints(pattern=r"^[-._a-zA-Z][-._a-zA-Z0-9]*$")]
AbsolutePath = Annotated[str, StringConstraints(pattern=r"^/[^:]*$")]
"""A path in a container; Kubernetes allows no colon in it."""
