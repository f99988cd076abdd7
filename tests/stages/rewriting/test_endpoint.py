"""Asking an endpoint: what is tried again, what stops a run, what is kept, what it may cost. Against a real server."""

from __future__ import annotations

import json
import pickle
import socket
import sys
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from gristmill.pipeline.errors import ConfigError, GristmillError
from gristmill.stages.rewriting.endpoint import (
    Answer,
    Endpoint,
    EndpointConfig,
    check_endpoint,
    check_named,
    request_digest,
)
from tests.endpoint_server import EndpointServer, Reply, Scripted


def config_for(server: EndpointServer | None, **settings: Any) -> EndpointConfig:
    given = {"model": "miller", "key_variable": None, "backoff": 0.0, "timeout": 20.0, **settings}
    return EndpointConfig(base_url=None if server is None else server.url, **given)


def nothing_wrong(text: str, content: str) -> str | None:
    return None


def ask(server: EndpointServer, texts: list[str], folder: Path | str | None = None, **settings: Any) -> list[Answer]:
    """`folder` is the run's work folder, a path or a URL."""
    work = None if folder is None else str(folder)
    return Endpoint(config_for(server, **settings), "toy", work).ask("Say yes.", texts, nothing_wrong)


def always(scripted: Scripted) -> Reply:
    return lambda text, before: scripted


def test_a_request_holds_prompt_text_model_and_parameters() -> None:
    with EndpointServer(lambda text, before: Scripted(f"yes, {text}")) as server:
        answers = ask(server, ["one"], parameters={"temperature": 0.5, "max_tokens": 10})
        assert answers == [Answer(content="yes, one", model="miller-2026")]
        (body,) = server.seen
    assert body["messages"] == [{"role": "system", "content": "Say yes."}, {"role": "user", "content": "one"}]
    assert (body["model"], body["temperature"], body["max_tokens"]) == ("miller", 0.5, 10)


@pytest.mark.parametrize(
    "first",
    [
        Scripted(status=429), Scripted(status=500), Scripted(status=503), Scripted(status=408), Scripted(content=""),
        Scripted(content=None), Scripted(content="half an ans", finish="length"), Scripted(body=b"<html>busy</html>"),
        Scripted(body=b"[]"), Scripted(body=b'{"choices": []}'), Scripted(body=b'{"choices": [{"message": "yes"}]}'),
        Scripted(content="half \ud800 a character"),
    ],
)  # fmt: skip
def test_what_fails_once_is_asked_again(first: Scripted) -> None:
    with EndpointServer(lambda text, before: Scripted("yes") if before else first) as server:
        assert ask(server, ["one"])[0].content == "yes"
        assert len(server.seen) == 2


@pytest.mark.parametrize(
    ("scripted", "reason", "detail", "requests"),
    [
        (Scripted(status=429), "endpoint_busy", "HTTP 429", 3),
        (Scripted(status=500), "endpoint_failed", "HTTP 500", 3),
        (Scripted(status=400), "endpoint_refused", "HTTP 400", 1),
        (Scripted(status=413), "endpoint_refused", "HTTP 413", 1),
        (Scripted(content="half", finish="length"), "answer_cut_off", "max_tokens", 3),
        (Scripted(body=b"\xff\xfe"), "answer_not_understood", "not JSON", 3),
        (Scripted(content=" "), "answer_not_understood", "empty answer", 3),
    ],
)
def test_what_fails_always_comes_back_with_its_reason(
    scripted: Scripted, reason: str, detail: str, requests: int
) -> None:
    with EndpointServer(always(scripted)) as server:
        (answer,) = ask(server, ["one"], attempts=3)
        assert (answer.content, answer.failure) == (None, reason)
        assert detail in str(answer.detail)
        assert len(server.seen) == requests


def test_no_answer_in_time_is_a_failure_of_one_document() -> None:
    def reply(text: str, before: int) -> Scripted:
        return Scripted(hang=True) if text == "slow" else Scripted("yes")

    with EndpointServer(reply) as server:
        slow, quick = ask(server, ["slow", "quick"], timeout=0.3, attempts=2)
        assert slow.failure == "endpoint_timeout" and "0.3 s" in str(slow.detail)
        assert quick.content == "yes"
        assert server.texts().count("slow") == 2


def test_a_connection_that_nobody_takes_is_a_failure() -> None:
    with EndpointServer(always(Scripted("yes"))) as server:
        gone = config_for(server, attempts=2)
    (answer,) = Endpoint(gone, "toy", None).ask("Say yes.", ["one"], nothing_wrong)
    assert answer.failure == "endpoint_unreachable"


def test_waits_double_and_follow_the_endpoint_up_to_a_bound() -> None:
    def reply(text: str, before: int) -> Scripted:
        return Scripted(status=429, headers={"Retry-After": "9"} if before == 1 else {"Retry-After": "soon"})

    waits: list[float] = []
    with EndpointServer(reply) as server:
        settings = config_for(server, backoff=1.0, max_wait=7.0, attempts=6)
        Endpoint(settings, "toy", None, waits.append).ask("Say yes.", ["one"], nothing_wrong)
    assert waits == [1.0, 7.0, 4.0, 7.0, 7.0]


def test_an_answer_that_the_stage_does_not_understand_is_asked_for_again() -> None:
    def wrong(text: str, content: str) -> str | None:
        return None if content == "yes" else "no yes"

    with EndpointServer(lambda text, before: Scripted("yes" if before else "perhaps")) as server:
        assert Endpoint(config_for(server), "toy", None).ask("Say yes.", ["one"], wrong)[0].content == "yes"
    with EndpointServer(always(Scripted("perhaps"))) as server:
        (answer,) = Endpoint(config_for(server, attempts=2), "toy", None).ask("Say yes.", ["one"], wrong)
        assert (answer.failure, answer.detail) == ("answer_not_understood", "no yes")


@pytest.mark.parametrize(("status", "message"), [(401, "refuses the key"), (403, "`?miller"), (404, "knows no such")])
def test_what_no_document_can_help_stops_the_run(status: int, message: str) -> None:
    with EndpointServer(always(Scripted(status=status))) as server, pytest.raises(ConfigError, match=message):
        ask(server, ["one", "two"])


def test_many_failures_in_a_row_stop_the_run_and_a_success_between_begins_anew() -> None:
    def reply(text: str, before: int) -> Scripted:
        return Scripted("yes") if text.startswith("good") else Scripted(status=500)

    with EndpointServer(reply) as server:
        settings = {"attempts": 1, "give_up_after": 3, "concurrency": 1}
        mixed = ["bad 1", "bad 2", "good 1", "bad 3", "bad 4"]
        assert [answer.failure is None for answer in ask(server, mixed, **settings)] == [
            False,
            False,
            True,
            False,
            False,
        ]
        with pytest.raises(GristmillError, match="3 documents in a row got no answer.*endpoint_failed.*HTTP 500"):
            ask(server, ["bad 1", "bad 2", "bad 3", "good 2"], **settings)
        assert "good 2" not in server.texts()


def test_equal_texts_are_asked_once_and_answers_are_kept_by_content(tmp_path: Path) -> None:
    with EndpointServer(lambda text, before: Scripted(f"{text} {before}")) as server:
        assert [answer.content for answer in ask(server, ["a", "b", "a"], tmp_path)] == ["a 0", "b 0", "a 0"]
        assert [answer.content for answer in ask(server, ["b", "c"], tmp_path)] == ["b 0", "c 0"]
        assert sorted(server.texts()) == ["a", "b", "c"]
        assert ask(server, ["a"], tmp_path, parameters={"temperature": 1.0})[0].content == "a 1"
        assert ask(server, ["a"], tmp_path, model="other")[0].content == "a 2"


def test_a_cache_of_ones_own_outlives_the_work_folder(tmp_path: Path) -> None:
    with EndpointServer(lambda text, before: Scripted(f"{before}")) as server:
        for work in ("first", "second"):
            (answer,) = ask(server, ["a"], tmp_path / work, cache=tmp_path / "cache")
            assert answer.content == "0"


@pytest.mark.parametrize("damage", [b"", b"{}", b"[1]", b'{"request": 1, "content": null, "model": 1, "sha256": ""}'])
def test_a_damaged_answer_is_got_anew(tmp_path: Path, damage: bytes) -> None:
    with EndpointServer(lambda text, before: Scripted(f"{before}")) as server:
        ask(server, ["a"], tmp_path)
        (file,) = tmp_path.rglob("answers/*/*.json")
        assert file.stem == request_digest("miller", "Say yes.", "a", {"temperature": 0.0})
        file.write_bytes(damage)
        assert ask(server, ["a"], tmp_path)[0].content == "1"
        assert ask(server, ["a"], tmp_path)[0].content == "1"
        forged = json.loads(file.read_bytes()) | {"content": "forged"}
        file.write_text(json.dumps(forged))
        assert ask(server, ["a"], tmp_path)[0].content == "2"


def test_of_two_answers_to_one_request_the_first_that_was_kept_counts(tmp_path: Path) -> None:
    late = Endpoint(config_for(None), "toy", str(tmp_path))
    name = request_digest("miller", "Say yes.", "a", {"temperature": 0.0})
    assert late._keep(name, "a", "first", "m", nothing_wrong).content == "first"
    assert late._keep(name, "a", "second", "m", nothing_wrong).content == "first"


def test_failures_are_not_kept(tmp_path: Path) -> None:
    with EndpointServer(lambda text, before: Scripted("yes") if before else Scripted(status=500)) as server:
        assert ask(server, ["a"], tmp_path, attempts=1)[0].failure == "endpoint_failed"
        assert ask(server, ["a"], tmp_path, attempts=1)[0].content == "yes"


def test_a_spent_budget_stops_the_run_and_counts_earlier_attempts(tmp_path: Path) -> None:
    with EndpointServer(always(Scripted("yes"))) as server:
        one_by_one = {"concurrency": 1}
        ask(server, ["a", "b"], tmp_path, budget_requests=3, **one_by_one)
        with pytest.raises(GristmillError, match="`budget_requests: 3` is spent .3 requests, 21 tokens"):
            ask(server, ["c", "d"], tmp_path, budget_requests=3, **one_by_one)
        assert len(server.seen) == 3
        assert ask(server, ["a", "c"], tmp_path, budget_requests=3)[1].content == "yes", "what is kept costs nothing"
        with pytest.raises(GristmillError, match="budget_tokens: 20"):
            ask(server, ["e"], tmp_path, budget_tokens=20)
        assert len(server.seen) == 3


def test_as_many_requests_run_at_once_as_are_allowed() -> None:
    import threading

    both = threading.Barrier(2, timeout=20)

    def reply(text: str, before: int) -> Scripted:
        both.wait()
        return Scripted("yes")

    with EndpointServer(reply) as server:
        ask(server, ["a", "b", "c", "d"], concurrency=2)
        assert server.most_at_once == 2


def test_the_key_comes_from_the_environment_and_stands_nowhere_else(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with EndpointServer(always(Scripted("yes")), key="sesame") as server:
        settings = config_for(server, key_variable="TEST_KEY")
        monkeypatch.delenv("TEST_KEY", raising=False)
        with pytest.raises(ConfigError, match="the environment variable TEST_KEY holds no key"):
            check_endpoint(settings, "toy")
        monkeypatch.setenv("TEST_KEY", "wrong")
        with pytest.raises(ConfigError, match="refuses the key"):
            check_endpoint(settings, "toy")
        monkeypatch.setenv("TEST_KEY", "sesame")
        check_endpoint(settings, "toy")
        Endpoint(settings, "toy", str(tmp_path)).ask("Say yes.", ["a"], nothing_wrong)
    assert b"sesame" not in pickle.dumps(settings)
    assert not any(b"sesame" in file.read_bytes() for file in tmp_path.rglob("*") if file.is_file())


def test_what_is_missing_is_said_before_a_run(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError, match="stage toy: no `base_url` and no `model`"):
        check_named(EndpointConfig(), "toy")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        nobody = EndpointConfig(
            base_url=f"http://127.0.0.1:{taken.getsockname()[1]}/v1", model="m", key_variable=None, timeout=5.0
        )
        with pytest.raises(ConfigError, match="no endpoint answers at http://127.0.0.1"):
            check_endpoint(nobody, "toy")
    monkeypatch.setitem(sys.modules, "openai", None)
    with pytest.raises(ConfigError, match="gristmill.endpoint."):
        check_endpoint(nobody, "toy")


@pytest.mark.parametrize(
    ("address", "message"),
    [
        ("http://127.0.0.1:{closed}/v1", "nothing listens at this address: start the server"),
        ("http://no-such-host.invalid/v1", "the name of the server is not known: check the address"),
        ("https://127.0.0.1:{open}/v1", "check that the server speaks https"),
        ("http://127.0.0.1:{silent}/v1", "does not answer in time"),
        (f"http://{'a' * 70}.com/v1", "no request can be sent to .* Correct `base_url`"),
    ],
)
def test_an_endpoint_that_cannot_be_reached_is_said_to_be_so(address: str, message: str) -> None:
    with EndpointServer(always(Scripted("yes"))) as server, socket.socket() as closed, socket.socket() as silent:
        closed.bind(("127.0.0.1", 0))
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        ports = {"closed": closed.getsockname()[1], "silent": silent.getsockname()[1]}
        url = address.format(open=server.url.split(":")[2].split("/")[0], **ports)
        settings = EndpointConfig(base_url=url, model="m", key_variable=None, timeout=0.5)
        with pytest.raises(ConfigError, match=f"stage toy: .*{message}"):
            check_endpoint(settings, "toy")


@pytest.mark.parametrize("key", ["two words", "line\n", "kéy", " "])
def test_a_key_that_no_header_holds_is_refused_without_being_shown(key: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TEST_KEY", key)
    settings = EndpointConfig(base_url="http://127.0.0.1:1/v1", model="m", key_variable="TEST_KEY")
    with pytest.raises(ConfigError, match="the environment variable TEST_KEY holds a space") as raised:
        check_endpoint(settings, "toy")
    assert key == " " or key not in str(raised.value)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"base_url": "localhost:8000"}, "expected an address such as http://localhost:8000/v1"),
        ({"base_url": "https://me:secret@host/v1"}, "would be written into every manifest"),
        ({"parameters": {"messages": "x"}}, "`messages` is set by the stage"),
        ({"attempts": 0}, "attempts"),
        ({"api_key": "x"}, "api_key"),
    ],
)
def test_wrong_settings_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        EndpointConfig(**settings)


def test_where_and_how_fast_are_no_part_of_identity() -> None:
    kinds = {name: EndpointConfig.field_kind(name) for name in EndpointConfig.model_fields}
    assert {name for name, kind in kinds.items() if kind == "signal"} == {"model", "parameters", "ask_again"}
    assert {kind for kind in kinds.values()} == {"signal", "runtime"}
