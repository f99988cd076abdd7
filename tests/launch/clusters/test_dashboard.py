"""What a dashboard's address turns out to be: nobody, something else, a cluster that asks for a token."""

from __future__ import annotations

import http.server
import json
import threading
from collections.abc import Iterator

import pytest

from gristmill.launch.clusters import ray_jobs
from gristmill.launch.clusters.ray_jobs import RayJobs, _headers
from gristmill.pipeline.errors import GristmillError

TOKEN = "b7f3a4c9d1e25860b7f3a4c9d1e25860"


class Dashboard(http.server.ThreadingHTTPServer):
    """Answers /api/version as Ray's does, with and without a token; keeps the headers that it was sent."""

    token: str | None = None
    body: bytes = json.dumps({"version": "4", "ray_version": "2.60.0"}).encode()
    seen: list[str | None]


class Handler(http.server.BaseHTTPRequestHandler):
    server: Dashboard

    def do_GET(self) -> None:
        given = self.headers.get("Authorization")
        self.server.seen.append(given)
        code = 200
        if self.server.token is not None:
            code = 401 if given is None else 200 if given == f"Bearer {self.server.token}" else 403
        body = self.server.body if code == 200 else b"no"
        self.send_response(code)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *arguments: object) -> None:
        pass


@pytest.fixture
def dashboard(monkeypatch: pytest.MonkeyPatch) -> Iterator[Dashboard]:
    for name in ("RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH", "http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", "/nonexistent")
    with Dashboard(("127.0.0.1", 0), Handler) as server:
        server.seen = []
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def url(server: Dashboard) -> str:
    return f"http://127.0.0.1:{server.server_address[1]}"


def test_a_token_is_sent_only_to_who_asks_for_one(dashboard: Dashboard, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_AUTH_TOKEN", TOKEN)
    assert _headers(url(dashboard)) == {} and dashboard.seen == [None]
    dashboard.token = TOKEN
    assert _headers(url(dashboard)) == {"Authorization": f"Bearer {TOKEN}"}
    assert dashboard.seen == [None, None, f"Bearer {TOKEN}"]


def test_without_a_token_it_says_where_one_may_be(dashboard: Dashboard) -> None:
    dashboard.token = TOKEN
    with pytest.raises(GristmillError, match="asks for a token, and there is none here.*RAY_AUTH_TOKEN_PATH"):
        _headers(url(dashboard))


def test_a_refused_token_is_not_shown(dashboard: Dashboard, monkeypatch: pytest.MonkeyPatch) -> None:
    dashboard.token = TOKEN
    monkeypatch.setenv("RAY_AUTH_TOKEN", TOKEN[::-1])
    with pytest.raises(GristmillError, match="refuses the token that was found here") as caught:
        _headers(url(dashboard))
    assert TOKEN[::-1] not in str(caught.value)


@pytest.mark.parametrize("body", [b"<html>", b"[]", b"{}", b'{"ray_version": ""}'])
def test_something_else_is_no_dashboard(dashboard: Dashboard, body: bytes) -> None:
    dashboard.body = body
    with pytest.raises(GristmillError, match="it is not the dashboard of a Ray cluster"):
        _headers(url(dashboard))


def test_nobody_there_is_told_apart() -> None:
    with pytest.raises(GristmillError, match="no Ray cluster answers there .*refused.*ssh -L"):
        _headers("http://127.0.0.1:1")


def test_a_cluster_without_agents_says_which_port_to_look_at(monkeypatch: pytest.MonkeyPatch) -> None:
    """As Ray 2.55 answers where another program has the agent's port on the head."""

    class Client:
        tries = 0

        def submit_job(self, **job: object) -> str:
            self.tries += 1
            raise RuntimeError(
                "Request failed with status code 500: No available agent to submit job, please try again later."
            )

    jobs, client = RayJobs.__new__(RayJobs), Client()
    jobs.address, jobs._client = "http://head:8265", client
    monkeypatch.setattr(ray_jobs, "_READY_SECONDS", 1.0)
    with pytest.raises(
        GristmillError, match=r"head:8265 answers.*port on the head \(52365\).*--dashboard-agent-listen-port=0"
    ):
        with jobs._in_words():
            jobs._when_ready(entrypoint="true")
    assert client.tries > 1
