"""Azurite, Microsoft's own emulator of Azure Blob Storage, on loopback; `make test-cluster` installs it."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import hmac
import os
import socket
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from email.utils import formatdate
from pathlib import Path

VARIABLE = "GRISTMILL_AZURITE"
"""Environment variable: the program `azurite-blob`."""
DEFAULT = Path(__file__).parents[2] / ".cluster/node_modules/.bin/azurite-blob"

# Published with every emulator of Azure's storage, and the same in all of them.
ACCOUNT = "devstoreaccount1"
KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="


@dataclass
class Azurite:
    """A running emulator."""

    url: str

    def environment(self) -> dict[str, str]:
        """The variables that a client needs."""
        return {
            "AZURE_STORAGE_USE_EMULATOR": "true",
            "AZURITE_BLOB_STORAGE_URL": self.url,
            "AZURE_STORAGE_ACCOUNT_NAME": ACCOUNT,
            "AZURE_STORAGE_ACCOUNT_KEY": KEY,
        }

    def make_container(self, name: str) -> None:
        """Makes a container, by a request signed with the shared key."""
        date, version = formatdate(usegmt=True), "2021-08-06"
        headers = {"x-ms-date": date, "x-ms-version": version}
        listed = "".join(f"{header}:{value}\n" for header, value in sorted(headers.items()))
        resource = f"/{ACCOUNT}/{ACCOUNT}/{name}\nrestype:container"
        text = "PUT" + "\n" * 12 + listed + resource
        signed = base64.b64encode(hmac.digest(base64.b64decode(KEY), text.encode(), hashlib.sha256)).decode()
        headers["Authorization"] = f"SharedKey {ACCOUNT}:{signed}"
        headers["Content-Length"] = "0"
        request = urllib.request.Request(
            f"{self.url}/{ACCOUNT}/{name}?restype=container", method="PUT", headers=headers
        )
        with urllib.request.urlopen(request, timeout=20):
            pass


@contextlib.contextmanager
def serving(folder: Path) -> Iterator[Azurite]:
    """An emulator that ends with the block, with its files in a folder."""
    program = Path(os.environ.get(VARIABLE, DEFAULT))
    if not program.exists():
        raise FileNotFoundError(f"{program} is not there: `make test-cluster` installs it, or set {VARIABLE}")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [program, "--blobHost", "127.0.0.1", "--blobPort", str(port), "--location", folder, "--silent"]
    with (folder / "azurite.log").open("wb") as log:
        process = subprocess.Popen(
            [*command, "--skipApiVersionCheck", "--disableTelemetry"], stdout=log, stderr=log, start_new_session=True
        )
    try:
        end = time.monotonic() + 60
        while True:
            with contextlib.suppress(OSError):
                socket.create_connection(("127.0.0.1", port), timeout=1).close()
                break
            if process.poll() is not None or time.monotonic() > end:
                raise RuntimeError(f"Azurite did not start: {(folder / 'azurite.log').read_text()[-2000:]}")
            time.sleep(0.1)
        yield Azurite(f"http://127.0.0.1:{port}")
    finally:
        process.terminate()
        process.wait(timeout=20)
