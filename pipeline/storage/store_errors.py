"""What obstore raises, as errors that say the HTTP status and the store's own words, and nothing else.

obstore puts status, address, body and the whole state of its client into one text. Addresses may carry access tokens and
bodies key names, so neither is repeated: only the code and message of the store's answer.
"""

from __future__ import annotations

import errno
import re
import socket
import ssl

_STATUS = re.compile(r"status code: (\d{3})")
_CODE = re.compile(r"<Code>([A-Za-z0-9]{1,80})</Code>|\"reason\": ?\"([A-Za-z]{1,80})\"")
_MESSAGE = re.compile(r"<Message>([^<]{1,300})|\"message\": ?\"([^\"]{1,300})\"")
_METADATA = ("169.254.169.254", "169.254.170.2", "metadata.google.internal")
"""Where clients ask for credentials when none are set: the servers that describe a machine in a cloud."""

_NO_BUCKET = ("NoSuchBucket", "ContainerNotFound")


class StoreError(Exception):
    """An answer of a store that is no success.

    Attributes:
        status: of HTTP.
        code: the store's word for it, such as `SlowDown`.
    """

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(f"HTTP {status}{' ' + code if code else ''}{': ' + message if message else ''}")
        self.status, self.code = status, code


class NoCredentialsError(Exception):
    """There are none in the environment, and no server of the machine gives any."""


class RegionError(Exception):
    """The bucket is in another region."""


class EndsBeforeError(Exception):
    """A range begins at or after the end of an object."""


def told_by_store(error: Exception) -> Exception:
    """An error of obstore as FileNotFoundError, an error of the network, or one of the classes above."""
    text = str(error)
    if any(server in text.partition("Debug source")[0] for server in _METADATA):
        return NoCredentialsError("none are set, and this machine's cloud gives none")
    code = next((a or b for a, b in _CODE.findall(text)), "")
    status = _STATUS.search(text)
    if isinstance(error, FileNotFoundError) and code not in _NO_BUCKET:
        return FileNotFoundError(errno.ENOENT, "there is no such object")
    if "Received redirect without LOCATION" in text or code in ("AuthorizationHeaderMalformed", "PermanentRedirect"):
        expected = re.search(r"expecting '([a-z0-9-]{1,40})'", text)
        return RegionError("the bucket is in " + (f"the region {expected[1]}" if expected else "another region"))
    if status is not None:
        message = next((a or b for a, b in _MESSAGE.findall(text)), "")
        number = int(status[1])
        return (
            EndsBeforeError()
            if number == 416
            else StoreError(number, code, message.strip().partition("\n")[0].rstrip("."))
        )
    if "dns error" in text:
        return socket.gaierror(socket.EAI_NONAME, "the name of the server is not known")
    if "certificate" in text:
        return ssl.SSLCertVerificationError("the server's certificate is not trusted")
    if "ConnectionRefused" in text:
        return ConnectionRefusedError(errno.ECONNREFUSED, "nothing listens there")
    if "Timeout" in text or "TimedOut" in text:
        return TimeoutError(errno.ETIMEDOUT, "no answer in time")
    if "HTTP error" in text:
        return ConnectionError("the connection broke")
    # A setting that the client refuses before any request; its first line names it, and no value.
    return ValueError(text.partition("\n")[0][:200])
