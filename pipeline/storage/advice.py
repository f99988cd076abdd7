"""What a store's error means, and what to set: credentials, addresses, packages."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Mapping

from gristmill.pipeline.storage.retries import causes, http_status

_CREDENTIALS: Mapping[str, str] = {
    "s3": "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE (needs boto3); for a public bucket "
    "set AWS_SKIP_SIGNATURE=true",
    "gs": "set GOOGLE_APPLICATION_CREDENTIALS to a key file, or run `gcloud auth application-default login`; for a public "
    "bucket set GOOGLE_SKIP_SIGNATURE=true",
    "az": "set AZURE_STORAGE_ACCOUNT_NAME and AZURE_STORAGE_ACCOUNT_KEY, or AZURE_STORAGE_SAS_TOKEN, or what a service "
    "principal has (AZURE_TENANT_ID, AZURE_CLIENT_ID, AZURE_CLIENT_SECRET)",
    "hf": "set HF_TOKEN, or run `hf auth login`; a gated data set must be accepted on its page first",
}
_EXTRAS = {"s3": "s3", "gs": "gcs", "az": "azure", "hf": "hf"}
_SAME = {"s3a": "s3", "gcs": "gs", "azure": "az", "abfs": "az", "abfss": "az"}
_NO_BUCKET = frozenset({"NoSuchBucket", "ContainerNotFound"})
_NO_CREDENTIALS = frozenset(
    {
        "NoCredentialsError",
        "PartialCredentialsError",
        "ProfileNotFound",
        "TokenRetrievalError",
        "DefaultCredentialsError",
    }
)
_REFUSED = frozenset({"PermissionError", "GatedRepoError", "RepositoryNotFoundError", "ClientAuthenticationError"})


def advice(location: str, error: BaseException) -> str:
    """The error in a sentence, with what to do about it where that is known."""
    protocol = location.partition("://")[0]
    protocol = _SAME.get(protocol, protocol)
    found = list(causes(error))
    names = {kind.__name__ for one in found for kind in type(one).__mro__}
    status = next((code for one in found if (code := http_status(one)) is not None), None)
    text = f"{type(error).__name__}: {str(error)[:300]}".rstrip(": ")
    if isinstance(error, ImportError):
        extra = _EXTRAS.get(protocol)
        return f"{error}" + (f" (`pip install 'gristmill[{extra}]'`)" if extra else "")
    if names & _NO_CREDENTIALS:
        return f"{text}: no credentials: {_CREDENTIALS.get(protocol, 'set those of the store')}"
    if names & _REFUSED or status in (401, 403):
        return f"{text}: access is refused: {_CREDENTIALS.get(protocol, 'check the address and your rights')}"
    words = (getattr(one, "code", None) for one in found)
    if any(word in _NO_BUCKET for word in words):
        return f"{text}: create the bucket, or check its name and the endpoint"
    if "RegionError" in names:
        return f"{text}: set AWS_REGION to the bucket's region (`aws s3api get-bucket-location --bucket …` tells it)"
    if status == 501:
        return (
            f"{text}: the store lacks an operation that is needed; where that is a write on a condition (If-None-Match, "
            "If-Match), two runs could write one output: use a store that has them, or a mounted file system"
        )
    if isinstance(error, ValueError) and "must be specified" in text:  # obstore, of a client that lacks its account
        return f"{text}: {_CREDENTIALS.get(protocol, 'set what the store needs')}"
    unconnected = no_connection(error)
    if unconnected is not None:
        return f"{text}: {unconnected}"
    if status is not None and status >= 500 or status == 429:
        return (
            f"{text}: the server still answers HTTP {status} after several attempts: run the same command again later"
        )
    return text


def no_connection(error: BaseException) -> str | None:
    """Why no server was reached, with what to do about it; None for other errors."""
    found = list(causes(error))
    names = {kind.__name__ for one in found for kind in type(one).__mro__}
    if any(isinstance(one, socket.gaierror) for one in found) or "ClientConnectorDNSError" in names:
        return "the name of the server is not known: check the address, the network, and HTTPS_PROXY where there is a proxy"
    if any(isinstance(one, ssl.SSLCertVerificationError) for one in found):
        return (
            "the server's certificate is not trusted: check the address; for an authority of your own set SSL_CERT_FILE to "
            "its certificates"
        )
    if any(isinstance(one, ssl.SSLError) for one in found):
        return "no encrypted connection can be made: check that the server speaks https and not http at this port"
    if any(isinstance(one, ConnectionRefusedError) for one in found):
        return "nothing listens at this address: start the server, or check host and port"
    if names & {"TimeoutError", "TimeoutException"}:
        return (
            "the server does not answer in time: check the address, the network, and HTTPS_PROXY where there is a proxy"
        )
    return None


def outside(error: BaseException) -> str | None:
    """What to do about an error of network, credentials or a store whose place is not known; None for any other."""
    names = {kind.__name__ for one in causes(error) for kind in type(one).__mro__}
    if names & _NO_CREDENTIALS:
        return "no credentials: set those of the store, such as AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
    return no_connection(error)


__all__ = ["advice", "no_connection", "outside"]
