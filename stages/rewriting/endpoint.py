"""Asking a model behind an OpenAI-compatible endpoint: retries, concurrency, a budget, and answers kept by content.

A request is one system message and one text. Its digest covers the model's name, both messages and the parameters, and
an answer is kept under that digest in the run's work folder (or in `cache`): asked twice, a request costs once, a run
that was stopped goes on where it was, and of two tasks that ask the same at the same time both use the first answer.

What fails is tried again (time limits, connections, 408, 409, 429, 5xx, and answers that are not what was asked for), with
a wait that doubles and never less than the endpoint's `Retry-After`. What still fails is returned with its reason, for the
stage to quarantine. A key that is refused, a model that the endpoint does not have, a spent budget and many failures in
a row stop the run instead: every other document would fail in the same way.
"""

from __future__ import annotations

import atexit
import hashlib
import json
import os
import socket
import threading
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from pydantic import field_validator

from gristmill.pipeline.errors import ConfigError, GristmillError
from gristmill.pipeline.hashing import digest
from gristmill.pipeline.stage import StageConfig, runtime, signal
from gristmill.pipeline.storage import join, names_in, put, put_if_absent, read_small, remove
from gristmill.pipeline.storage.advice import no_connection

TIMEOUT = "endpoint_timeout"
UNREACHABLE = "endpoint_unreachable"
BUSY = "endpoint_busy"
FAILED = "endpoint_failed"
REFUSED = "endpoint_refused"
CUT_OFF = "answer_cut_off"
NOT_UNDERSTOOD = "answer_not_understood"
FAILURES = (TIMEOUT, UNREACHABLE, BUSY, FAILED, REFUSED, CUT_OFF, NOT_UNDERSTOOD)
"""Why a request has no answer: no answer in time; no connection; 429; 5xx and what counts as such; any other 4xx, which
is about this one text; an answer that ended at the endpoint's limit; an answer that is not what was asked for."""

_AGAIN = frozenset({408, 409, 425})
_STOP = {
    401: "refuses the key ({key}). Set it to one that the endpoint takes, on every worker",
    403: "denies this key ({key}) the request. Use one that may ask for the model `{model}`",
    404: "knows no such address or model. Check `base_url` (it usually ends in /v1) and `model: {model}`",
}
"""Statuses that no other document would escape."""
DETAIL_CHARS = 200
_MOST_ANSWER = 64 << 20
"""Bytes of an answer that is kept."""
PROBE_SECONDS = 10.0


class EndpointConfig(StageConfig):
    """Settings of a stage that asks an endpoint.

    Attributes:
        base_url: the endpoint's address, such as `http://localhost:8000/v1`.
        model: the model, by the endpoint's name for it.
        parameters: what goes along with each request, such as `temperature` and `max_tokens`; not every endpoint takes
            everything.
        key_variable: the environment variable that holds the key; null for an endpoint that needs none. The key itself
            stands in no config and no log.
        timeout: seconds to wait for an answer.
        attempts: how often a request is tried.
        backoff: seconds before the second attempt; the wait doubles with each further one.
        max_wait: most seconds between two attempts, whatever the endpoint asks for.
        concurrency: requests at the same time, of each worker.
        give_up_after: documents in a row without an answer that stop the run; what was answered is kept.
        budget_requests: most requests of the whole run, retries included; null for no limit.
        budget_tokens: most tokens of the whole run, as the endpoint counts them. Requests that are under way when a
            budget is spent still end.
        cache: a folder for answers that outlives the run; default: the run's work folder, which goes with success.
        ask_again: raise it to ask again, in a run that was stopped, about documents that got no answer. Answers stay.
    """

    base_url: str | None = runtime(None)
    model: str | None = signal(None)
    parameters: Mapping[str, bool | int | float | str] = signal({"temperature": 0.0})
    key_variable: str | None = runtime("OPENAI_API_KEY")
    timeout: float = runtime(120.0, gt=0.0)
    attempts: int = runtime(5, ge=1)
    backoff: float = runtime(1.0, ge=0.0)
    max_wait: float = runtime(60.0, ge=0.0)
    concurrency: int = runtime(8, ge=1)
    give_up_after: int = runtime(20, ge=1)
    budget_requests: int | None = runtime(None, ge=1)
    budget_tokens: int | None = runtime(None, ge=1)
    cache: Path | None = runtime(None)
    ask_again: int = signal(0, ge=0)

    @field_validator("base_url")
    @classmethod
    def _address(cls, value: str | None) -> str | None:
        if value is None:
            return None
        parts = urlsplit(value)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError(f"expected an address such as http://localhost:8000/v1, found {value!r}")
        if parts.username or parts.password:
            raise ValueError("an address with a password would be written into every manifest; use `key_variable`")
        return value.rstrip("/")

    @field_validator("parameters")
    @classmethod
    def _free(cls, value: Mapping[str, Any]) -> Mapping[str, Any]:
        taken = sorted({"model", "messages", "stream", "n"} & set(value))
        if taken:
            raise ValueError(f"`{taken[0]}` is set by the stage; leave it out")
        return value

    @field_validator("cache")
    @classmethod
    def _absolute(cls, value: Path | None) -> Path | None:
        # Workers may stand in another folder than the driver.
        return None if value is None else value.absolute()


@dataclass(frozen=True)
class Answer:
    """What came of a request.

    Attributes:
        content: the answer, None when there is none.
        model: the model as the endpoint named it in its answer.
        failure: one of FAILURES, None when there is an answer. detail: what happened at the last attempt.
    """

    content: str | None = None
    model: str | None = None
    failure: str | None = None
    detail: str | None = None


Check = Callable[[str, str], str | None]
"""(text that was sent, answer) → what is wrong with the answer, or None."""


class _Failure(Exception):
    """One attempt failed; `again` says whether another may do better, after at least `wait` seconds."""

    def __init__(self, reason: str, detail: str, *, again: bool = True, wait: float = 0.0) -> None:
        super().__init__(detail)
        self.reason, self.detail, self.again, self.wait = reason, detail[:DETAIL_CHARS], again, wait


def check_named(config: EndpointConfig, stage: str) -> None:
    """Raises ConfigError unless the config names an endpoint and a model."""
    lacking = [name for name in ("base_url", "model") if getattr(config, name) is None]
    if lacking:
        raise ConfigError(
            f"stage {stage}: no {' and no '.join(f'`{name}`' for name in lacking)}: this stage asks a model behind an "
            "OpenAI-compatible endpoint. Set `base_url` (such as http://localhost:8000/v1) and `model`, or take the "
            "stage out."
        )


def check_endpoint(config: EndpointConfig, stage: str) -> None:
    """Raises ConfigError unless the client is installed, the key is set, and something answers at the address."""
    openai = _openai(stage)
    _key(config, stage)
    try:
        client = _client(openai, config, stage).with_options(timeout=min(PROBE_SECONDS, config.timeout))
        client.models.with_raw_response.list()
    except openai.APIConnectionError as error:
        told = no_connection(error) or "start it, or correct `base_url`"
        raise ConfigError(
            f"stage {stage}: no endpoint answers at {config.base_url} ({error.__cause__ or error}): {told}."
        ) from error
    except openai.APIStatusError as error:
        # Any other status is an answer too: not every endpoint lists its models.
        if error.status_code in (401, 403):
            raise _stopped_by(error.status_code, config, stage) from error
    except Exception as error:
        # The client raises what it likes for what it cannot even send.
        raise ConfigError(
            f"stage {stage}: no request can be sent to {config.base_url} ({type(error).__name__}: {error}). Correct "
            "`base_url`, and HTTPS_PROXY where it is set."
        ) from error


def _stopped_by(status: int, config: EndpointConfig, stage: str) -> ConfigError:
    variable = config.key_variable
    key = "none was sent: set `key_variable`" if variable is None else f"environment variable {variable}"
    what = _STOP[status].format(key=key, model=config.model)
    return ConfigError(f"stage {stage}: the endpoint {config.base_url} answers {status}: it {what}.")


def _openai(stage: str) -> Any:
    try:
        import openai
    except ImportError as error:
        raise ConfigError(
            f"stage {stage}: asking an endpoint needs the package openai, which is not installed. Install "
            "`gristmill[endpoint]`."
        ) from error
    return openai


def _key(config: EndpointConfig, stage: str) -> str:
    if config.key_variable is None:
        return "none"
    key = os.environ.get(config.key_variable)
    if not key:
        raise ConfigError(
            f"stage {stage}: the environment variable {config.key_variable} holds no key for {config.base_url}. Set it (on "
            "every worker), name another with `key_variable`, or set `key_variable: null` for an endpoint that needs none."
        )
    if not (key.isascii() and key.isprintable()) or " " in key:
        raise ConfigError(
            f"stage {stage}: the environment variable {config.key_variable} holds a space, a line end or a letter that no key "
            "has. Set it to the key alone."
        )
    return key


def _client(openai: Any, config: EndpointConfig, stage: str) -> Any:
    # Retries are ours: they are counted against the budget and recorded in the ledger.
    return openai.OpenAI(
        base_url=config.base_url,
        api_key=_key(config, stage),
        timeout=config.timeout,
        max_retries=0,
        http_client=_connections(),
    )


@cache
def _connections() -> Any:
    """Connections to endpoints, of this process: to make them anew for each batch costs more than many a request."""
    import openai

    connections = openai.DefaultHttpxClient()
    atexit.register(connections.close)
    return connections


def request_digest(model: str, prompt: str, text: str, parameters: Mapping[str, Any]) -> str:
    """Identity of a request, in hexadecimal: what decides about the answer as far as anyone can know."""
    return digest("gristmill.request", [1, model, prompt, text, dict(parameters)])


class Endpoint:
    """Asks one endpoint for one stage.

    Args:
        config: with `base_url` and `model` set.
        stage: the stage's name, for messages.
        folder: where answers are kept and spending is counted; None keeps nothing.
        sleep: waits so many seconds.
    """

    def __init__(
        self, config: EndpointConfig, stage: str, folder: str | None, sleep: Callable[[float], None] = time.sleep
    ) -> None:
        self.config, self.stage, self.sleep = config, stage, sleep
        kept = str(config.cache) if config.cache is not None else folder
        self.answers = None if kept is None else join(kept, "answers")
        self.spending = _Spending(None if folder is None else join(folder, "spending"))
        self._lock = threading.Lock()
        self._row = 0
        self._stopped: GristmillError | None = None

    def ask(self, prompt: str, texts: Sequence[str], check: Check) -> list[Answer]:
        """The answer to each text, in order; equal texts are asked once.

        Raises ConfigError for a key or a model that the endpoint refuses, GristmillError when the budget is spent or too
        many documents in a row got no answer.
        """
        model = self.config.model or ""
        named = [request_digest(model, prompt, text, self.config.parameters) for text in texts]
        by_name = dict(zip(named, texts, strict=True))
        found = {name: answer for name, text in by_name.items() if (answer := self._kept(name, text, check))}
        open_ = [(name, text) for name, text in by_name.items() if name not in found]
        if open_:
            openai = _openai(self.stage)
            client = _client(openai, self.config, self.stage)
            with ThreadPoolExecutor(self.config.concurrency) as pool:

                def one(item: tuple[str, str]) -> Answer:
                    return self._answer(openai, client, prompt, *item, check)

                found |= dict(zip((name for name, _ in open_), pool.map(one, open_), strict=True))
        if self._stopped is not None:
            # The next attempt, which may be in this very process, starts afresh.
            error, self._stopped, self._row = self._stopped, None, 0
            raise error
        return [found[name] for name in named]

    def _answer(self, openai: Any, client: Any, prompt: str, name: str, text: str, check: Check) -> Answer:
        failure = _Failure(FAILED, "not asked")
        for attempt in range(self.config.attempts):
            if self._stopped is not None:
                return Answer(failure=failure.reason, detail=failure.detail)
            if attempt:
                self.sleep(min(max(self.config.backoff * 2 ** (attempt - 1), failure.wait), self.config.max_wait))
            try:
                self._within_budget()
                content, model = self._once(openai, client, prompt, text)
                wrong = check(text, content)
                if wrong is not None:
                    raise _Failure(NOT_UNDERSTOOD, wrong)
            except _Failure as error:
                failure = error
                if error.again:
                    continue
                break
            except GristmillError as error:
                self._stop(error)
                return Answer(failure=failure.reason, detail=failure.detail)
            with self._lock:
                self._row = 0
            return self._keep(name, text, content, model, check)
        with self._lock:
            self._row += 1
            many = self._row >= self.config.give_up_after
        if many:
            self._stop(
                GristmillError(
                    f"stage {self.stage}: {self._row} documents in a row got no answer from {self.config.base_url}, the last "
                    f"for this reason: {failure.reason} ({failure.detail}). Fix the endpoint, the model or the prompt; the "
                    "same command goes on from here and asks nothing twice. `give_up_after` sets how many are too many."
                )
            )
        return Answer(failure=failure.reason, detail=failure.detail)

    def _stop(self, error: GristmillError) -> None:
        with self._lock:
            if self._stopped is None:
                self._stopped = error

    def _once(self, openai: Any, client: Any, prompt: str, text: str) -> tuple[str, str | None]:
        """One attempt: (answer, model as named in it)."""
        messages = [{"role": "system", "content": prompt}, {"role": "user", "content": text}]
        tokens = 0
        try:
            response = client.chat.completions.with_raw_response.create(
                model=self.config.model, messages=messages, extra_body=dict(self.config.parameters)
            )
            body = response.http_response.content
            value = _decoded(body)
            tokens = _tokens(value)
            return _content(value), value["model"] if isinstance(value.get("model"), str) else None
        except openai.APITimeoutError as error:
            raise _Failure(TIMEOUT, f"no answer within {self.config.timeout:g} s") from error
        except openai.APIConnectionError as error:
            told = no_connection(error)
            raise _Failure(
                UNREACHABLE, f"no connection: {error.__cause__ or error}" + (f": {told}" if told else "")
            ) from error
        except openai.APIStatusError as error:
            raise self._status(error) from error
        finally:
            self.spending.add(tokens)

    def _status(self, error: Any) -> Exception:
        """What an HTTP status other than 200 means."""
        code = int(error.status_code)
        if code in _STOP:
            return _stopped_by(code, self.config, self.stage)
        detail = f"HTTP {code}: {error.message}"
        if code == 429:
            return _Failure(BUSY, detail, wait=_retry_after(error.response.headers))
        if code >= 500 or code in _AGAIN:
            return _Failure(FAILED, detail, wait=_retry_after(error.response.headers))
        return _Failure(REFUSED, detail, again=False)

    def _within_budget(self) -> None:
        config = self.config
        if config.budget_requests is None and config.budget_tokens is None:
            return
        requests, tokens = self.spending.total()
        for name, spent, limit in (
            ("budget_requests", requests, config.budget_requests),
            ("budget_tokens", tokens, config.budget_tokens),
        ):
            if limit is not None and spent >= limit:
                raise GristmillError(
                    f"stage {self.stage}: `{name}: {limit}` is spent ({requests} requests, {tokens} tokens). Raise it and run "
                    "the same command again: answers are kept, and nothing is asked twice."
                )

    # Answers that are kept

    def _path(self, name: str) -> str | None:
        return None if self.answers is None else join(self.answers, name[:2], f"{name}.json")

    def _kept(self, name: str, text: str, check: Check) -> Answer | None:
        path = self._path(name)
        data = None if path is None else read_small(path, _MOST_ANSWER)
        if path is None or data is None:
            return None
        try:
            value = json.loads(data)
            content, model = value["content"], value["model"]
            whole = value["request"] == name and value["sha256"] == _sha256(content)
        except (ValueError, KeyError, TypeError, AttributeError):
            whole = False
        if not whole or check(text, content) is not None:
            remove(path)  # damaged, or no longer what is asked for: it is got anew
            return None
        return Answer(content=content, model=model)

    def _keep(self, name: str, text: str, content: str, model: str | None, check: Check) -> Answer:
        path = self._path(name)
        if path is not None:
            value = {"request": name, "content": content, "model": model, "sha256": _sha256(content)}
            if not put_if_absent(path, json.dumps(value, ensure_ascii=False).encode("utf-8")):
                first = self._kept(name, text, check)
                if first is not None:
                    return first
        return Answer(content=content, model=model)


class _Spending:
    """Requests and tokens of a run: one small file per process in a shared folder, so that no process waits for another."""

    def __init__(self, folder: str | None) -> None:
        self.folder = folder
        self.name = f"{socket.gethostname()}-{os.getpid()}-{uuid.uuid4().hex[:8]}.json"
        self.requests = self.tokens = 0
        self._lock = threading.Lock()

    def add(self, tokens: int) -> None:
        """Counts one request."""
        with self._lock:
            self.requests += 1
            self.tokens += tokens
            if self.folder is None:
                return
            put(join(self.folder, self.name), json.dumps([self.requests, self.tokens]).encode())

    def total(self) -> tuple[int, int]:
        """(requests, tokens) of all processes of the run, earlier attempts included."""
        with self._lock:
            requests, tokens = self.requests, self.tokens
        if self.folder is not None:
            for name in names_in(self.folder):
                if name != self.name and not name.startswith("."):
                    theirs = json.loads(read_small(join(self.folder, name), 1 << 10) or b"[0, 0]")
                    requests, tokens = requests + int(theirs[0]), tokens + int(theirs[1])
        return requests, tokens


def _decoded(body: bytes) -> Mapping[str, Any]:
    try:
        value = json.loads(body)
    except ValueError as error:
        raise _Failure(NOT_UNDERSTOOD, f"the endpoint's answer is not JSON: {body[:80]!r}") from error
    if not isinstance(value, dict):
        raise _Failure(NOT_UNDERSTOOD, f"the endpoint's answer is not a JSON object: {body[:80]!r}")
    return value


def _content(value: Mapping[str, Any]) -> str:
    try:
        choice = value["choices"][0]
        content, finish = choice["message"]["content"], choice.get("finish_reason")
    except (KeyError, IndexError, TypeError, AttributeError) as error:
        raise _Failure(
            NOT_UNDERSTOOD, f"not a chat completion: it has the keys {', '.join(map(str, value))[:80]}"
        ) from error
    if finish == "length":
        raise _Failure(CUT_OFF, "the answer ended at the limit of tokens; raise `max_tokens` in `parameters`")
    if not isinstance(content, str) or not content.strip():
        raise _Failure(NOT_UNDERSTOOD, f"an empty answer (finish_reason {finish!r})")
    try:
        content.encode("utf-8")
    except UnicodeEncodeError as error:
        raise _Failure(NOT_UNDERSTOOD, "the answer holds half a surrogate pair, which is not valid text") from error
    return content


def _tokens(value: Mapping[str, Any]) -> int:
    usage = value.get("usage")
    total = usage.get("total_tokens") if isinstance(usage, dict) else None
    return total if isinstance(total, int) and not isinstance(total, bool) and total > 0 else 0


def _retry_after(headers: Mapping[str, str]) -> float:
    """Seconds that the endpoint asks to wait; 0 where it says nothing, or a date."""
    try:
        return max(0.0, float(headers.get("retry-after", "0")))
    except ValueError:
        return 0.0


def _sha256(content: str) -> str:
    return hashlib.sha256(content.encode("utf-8")).hexdigest()
