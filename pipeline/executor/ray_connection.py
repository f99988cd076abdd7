"""What answers at a cluster's address: found out before Ray connects, so that a user reads one line and not Ray's retries.

Ray itself ends the whole process when nothing listens, and tries a refused token for 20 to 30 seconds with a warning of its
C++ code for each try. So the port is tried first, then one call that needs the token.
"""

from __future__ import annotations

import contextlib
import os
import socket
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from gristmill.pipeline.errors import GristmillError

CONNECT_SECONDS = 10.0
"""How long a connection to the address may take."""

_TOKEN_BYTES = 1 << 14
"""Most of a token's file that is read; a token has some dozens of bytes."""

TOKEN_ADVICE = (
    "Set RAY_AUTH_MODE=token, and the token itself in RAY_AUTH_TOKEN, in a file that RAY_AUTH_TOKEN_PATH names, or in "
    "~/.ray/auth_token (`ray get-auth-token` on the head shows it)."
)


def check_address(address: str) -> None:
    """Raises GristmillError where no Ray cluster answers at the address, or where one does and refuses our token."""
    if "@" in address:
        raise GristmillError(
            "--address: an address takes no user and no password. Ray knows a token instead. " + TOKEN_ADVICE
        )
    client = address.startswith("ray://")
    host, colon, port = address.removeprefix("ray://").rpartition(":")
    if not colon or not port.isdigit():
        return  # `auto`, or an address that only Ray can read
    if address.startswith(("http://", "https://")):
        raise GristmillError(
            f"--address {address}: this is the address of a dashboard. `gristmill submit --on ray` takes it; `run` connects to "
            "the cluster itself: HOST:6379 from one of its nodes, ray://HOST:10001 from elsewhere."
        )
    try:
        socket.create_connection((host, int(port)), timeout=CONNECT_SECONDS).close()
    except (OSError, OverflowError) as error:
        raise GristmillError(
            f"--address {address}: no Ray cluster answers there ({error}). Start one with `ray start --head`, or leave "
            "--address out to run on this machine."
        ) from error
    if os.environ.get("RAY_AUTH_MODE", "").lower() == "token" and find_token() is None:
        # Without one Ray ends the process with a trace of C++.
        raise GristmillError(f"--address {address}: RAY_AUTH_MODE is `token`, but there is no token. {TOKEN_ADVICE}")
    if (_client_refuses if client else _cluster_refuses)(f"{host}:{port}"):
        raise token_refused(f"--address {address}")


def find_token() -> str | None:
    """The token that Ray would send, from where it looks for one; None where there is none."""
    token = os.environ.get("RAY_AUTH_TOKEN")
    if not token:
        file = os.environ.get("RAY_AUTH_TOKEN_PATH")
        path = Path(file) if file else Path.home() / ".ray" / "auth_token"
        try:
            with path.open("rb") as stream:
                token = stream.read(_TOKEN_BYTES).decode("utf-8", errors="replace")
        except OSError:
            return None
    return token.strip() or None


def token_refused(what: str) -> GristmillError:
    """The error for a cluster that answers and asks for another token than it was given, or for one at all."""
    found = "asks for a token, and none was sent" if not token_is_sent() else "refuses the token it was sent"
    return GristmillError(f"{what}: a Ray cluster answers there, but it {found}. {TOKEN_ADVICE}")


def connection_failed(address: str, error: BaseException) -> GristmillError:
    """The error for a `ray.init` that raised: another version there, a refused token, or no cluster that answers."""
    text = " ".join(str(error).split())
    if "Version mismatch" in text:
        import ray

        return GristmillError(
            f"--address {address}: the cluster runs other versions than this process, which has Ray {ray.__version__} and "
            f"Python {sys.version.split()[0]} ({text[:300]}). Both must be equal: install them here, or let the cluster run "
            "the command: `gristmill submit --on ray`."
        )
    if type(error).__name__ == "AuthenticationError" or "Unauthenticated" in text:
        return token_refused(f"--address {address}")
    return GristmillError(
        f"--address {address}: no Ray cluster answers there ({text[:300]}). Start one with `ray start --head`, or leave "
        "--address out to run on this machine."
    )


@contextlib.contextmanager
def quiet_stderr() -> Iterator[None]:
    """Within, what C++ code writes to this process's standard error is dropped: it repeats what the error will say."""
    sys.stderr.flush()
    try:
        before = os.dup(2)
    except OSError:  # closed by whoever started us
        yield
        return
    try:
        with tempfile.TemporaryFile() as sink:
            os.dup2(sink.fileno(), 2)
            yield
    finally:
        sys.stderr.flush()
        os.dup2(before, 2)
        os.close(before)


def token_is_sent() -> bool:
    """Whether Ray sends a token to an address that it was given: only where it is told to."""
    return os.environ.get("RAY_AUTH_MODE", "").lower() == "token" and find_token() is not None


def _cluster_refuses(address: str) -> bool:
    """Whether the cluster's control service refuses our token; anything else is for `ray.init` to find."""
    import ray

    raylet: Any = ray._raylet
    with quiet_stderr():
        try:
            raylet.GcsClient(address=address)
        except ray.exceptions.AuthenticationError:
            return True
        except ray.exceptions.RayError:
            return False
    return False


def _client_refuses(address: str) -> bool:
    """Whether the Ray Client server refuses our token."""
    try:
        import grpc
        from ray._private.authentication.http_token_authentication import get_auth_headers_if_auth_enabled
    except ImportError:
        return False  # Ray Client needs grpcio, and says so; older versions of Ray know no token
    headers = [(key.lower(), value) for key, value in get_auth_headers_if_auth_enabled({}).items()]
    with grpc.insecure_channel(address) as channel:
        try:
            channel.unary_unary("/ray.rpc.RayletDriver/ClusterInfo")(b"", timeout=CONNECT_SECONDS, metadata=headers)
        except grpc.RpcError as error:
            return bool(error.code() == grpc.StatusCode.UNAUTHENTICATED)
    return False
