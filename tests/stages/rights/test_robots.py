"""robots.txt by RFC 9309: its examples, its limits, and files that are meant to cost time."""

from __future__ import annotations

import time
from urllib.robotparser import RobotFileParser

import pytest

from gristmill.stages.rights.robots import MAX_BYTES, MAX_PATH, Robots, compared_path, parsed_robots


def allowed(file: Robots, agent: str, path: str) -> bool:
    rule = file.crawling(agent, compared_path(path.encode()))
    return rule is None or rule.kind == "allow"


def of(*lines: str) -> Robots:
    return parsed_robots("\n".join(lines).encode())


@pytest.mark.parametrize(
    ("rule", "path", "hit"),
    [
        # Section 2.2.2, the table of encodings: what stands in one column matches what stands in the others.
        ("/foo/bar?baz=quz", "/foo/bar?baz=quz", True),
        ("/foo/bar?baz=https://foo.bar", "/foo/bar?baz=https%3A%2F%2Ffoo.bar", True),
        ("/foo/bar?baz=https%3a%2F%2Ffoo.bar", "/foo/bar?baz=https://foo.bar", True),
        ("/foo/bar/ツ", "/foo/bar/%E3%83%84", True),
        ("/foo/bar/%E3%83%84", "/foo/bar/ツ", True),
        ("/foo/bar/%62%61%7A", "/foo/bar/baz", True),
        ("/foo/bar%2Fbaz", "/foo/bar/baz", False),
        # Section 2.2.3: special characters, and themselves percent-encoded.
        ("/path/file-with-a-%2A.html", "/path/file-with-a-*.html", True),
        ("/path/file-with-a-%2A.html", "/path/file-with-a-b.html", False),
        ("/path/foo-%24", "/path/foo-$", True),
        ("/this/path/exactly$", "/this/path/exactly", True),
        ("/this/path/exactly$", "/this/path/exactly/not", False),
        ("/this/*/exactly", "/this/is/so/exactly", True),
        ("*.gif$", "/a/b.gif", True),
        ("*.gif$", "/a/b.gif?x", False),
        ("/a$b", "/a$bc", True),
        ("/*a*a$", "/a", False),
        ("/**x", "/yx", True),
        ("/FOO", "/foo", False),
    ],
)
def test_a_pattern_matches_as_the_rfc_says(rule: str, path: str, hit: bool) -> None:
    assert allowed(of("User-agent: *", f"Disallow: {rule}"), "any", path) is not hit


def test_the_longest_match_wins_and_allow_of_equal_ones() -> None:
    file = of("User-Agent: foobot", "Allow: /example/page/", "Disallow: /example/page/disallowed.gif")
    assert allowed(file, "foobot", "/example/page/disallow.gif")
    assert not allowed(file, "foobot", "/example/page/disallowed.gif")
    assert allowed(of("User-agent: *", "Disallow: /p", "Allow: /p"), "x", "/page")
    assert allowed(of("User-agent: *", "Allow: /p", "Disallow: /p"), "x", "/page")
    assert not allowed(of("User-agent: *", "Allow: /p", "Disallow: /*ag"), "x", "/page")


def test_groups_are_joined_and_an_agent_obeys_its_own_alone() -> None:
    # Section 5.1's example, then two groups of one agent, lines of no group between them, and a version behind the token.
    file = of(
        "User-Agent: *", "Disallow: *.gif$", "Disallow: /example/", "Allow: /publications/",
        "User-Agent: foobot", "Disallow:/", "Allow:/example/page.html", "Allow:/example/allowed.gif",
        "User-Agent: barbot", "User-Agent: bazbot", "Disallow: /example/page.html",
        "User-Agent: quxbot", "",
        "User-agent: BarBot/2.1", "Sitemap: https://a.org/s.xml", "Disallow: /more",
    )  # fmt: skip
    assert not allowed(file, "other", "/example/page.html") and not allowed(file, "other", "/x.gif")
    assert allowed(file, "other", "/publications/")
    assert allowed(file, "FooBot", "/example/page.html") and not allowed(file, "foobot", "/x")
    assert not allowed(file, "bazbot", "/example/page.html") and allowed(file, "bazbot", "/more")
    assert not allowed(file, "barbot", "/more") and not allowed(file, "barbot", "/example/page.html")
    assert allowed(file, "quxbot", "/x.gif")


def test_what_is_no_rule_is_passed_over() -> None:
    file = parsed_robots(
        b"\xef\xbb\xbfDisallow: /before\rUSER-AGENT : *\r\nCrawl-delay: 5\nUser-agent: gptbot # both\n"
        b"disallow:/a#b\nDisallow:\nnonsense\n\xff\xfe: \x00\nAllow /x"
    )
    for agent in ("any", "GPTBot"):
        assert not allowed(file, agent, "/a") and allowed(file, agent, "/b") and allowed(file, agent, "/before")


def test_a_file_is_read_to_its_limit_and_no_half_line_counts() -> None:
    head = b"User-agent: *\nDisallow: /early\n"
    filler = b"#" * (MAX_BYTES - len(head) - 12) + b"\n"
    file = parsed_robots(head + filler + b"Disallow: /half-a-line\n")
    assert not allowed(file, "x", "/early") and allowed(file, "x", "/half-a-line") and allowed(file, "x", "/")
    assert not allowed(parsed_robots(head + b"x" * 10_000_000), "x", "/early")


def test_hostile_patterns_and_paths_take_time_that_is_bounded() -> None:
    star = of("User-agent: *", "Disallow: /" + "*a" * 50_000 + "b", "Disallow: /" + "*" * 100_000 + "c$")
    many = parsed_robots(b"User-agent: *\n" + b"".join(b"Disallow: *%05d$\n" % n for n in range(25_000)))
    started = time.process_time()
    for file in (star, many):
        assert allowed(file, "x", "/" + "a" * 2_000_000)
    # A matcher that goes back takes hours here.
    assert time.process_time() - started < 20


def test_a_long_path_is_matched_by_its_beginning_and_its_end_is_not_known() -> None:
    file = of("User-agent: *", "Disallow: /begin", "Disallow: *end$")
    assert not allowed(file, "x", "/begin" + "x" * MAX_PATH)
    assert allowed(file, "x", "/" + "x" * MAX_PATH + "end") and not allowed(file, "x", "/the-end")


def test_where_pythons_own_parser_differs_it_is_known() -> None:
    """urllib.robotparser of Python 3.11: the first rule that matches wins, `*` and `$` are plain characters, an agent
    matches by a part of its name. Elsewhere the two agree."""
    lines = ["User-agent: GPTBot", "Disallow: /a", "Allow: /b", "", "User-agent: *", "Disallow: /c"]
    peer = RobotFileParser()
    peer.parse(lines)
    for agent in ("GPTBot", "other"):
        for path in ("/a", "/a/b", "/b", "/c", "/C", "/", "/%61", "/c?x=1"):
            assert allowed(of(*lines), agent, path) == peer.can_fetch(agent, f"https://h.org{path}"), (agent, path)


def test_usage_rules_have_their_own_longest_match_and_only_where_fetching_is_allowed() -> None:
    # The example of draft-ietf-aipref-attach, and the form without a path of its version 05.
    file = of(
        "User-Agent: *", "Allow: /", "Disallow: /never/", "Content-Usage: / train-ai=n", "Content-Usage: /ai-ok/ train-ai=y",
        "User-Agent: ExampleBot", "Allow: /", "Content-Usage: train-ai=y",
    )  # fmt: skip

    def usage(agent: str, path: str) -> list[bytes]:
        return [rule.value for rule in file.usage(agent, compared_path(path.encode()), "content-usage")]

    assert usage("x", "/test") == [b"train-ai=n"] and usage("x", "/ai-ok/test") == [b"train-ai=y"]
    assert usage("x", "/never/test") == [] and usage("examplebot", "/never/test") == [b"train-ai=y"]


def test_a_file_that_names_thousands_of_agents_and_rules_takes_no_product_of_them() -> None:
    names = ["".join(chr(97 + number // 26**place % 26) for place in range(3)) for number in range(15_000)]
    body = b"".join(b"User-agent: %s\n" % name.encode() for name in names) + b"Disallow: /a\nAllow: /b\n" * 8000
    began = time.process_time()
    file = parsed_robots(body)
    assert time.process_time() - began < 20  # 300 seconds and 2 GB of lists where each agent had a list of its own
    shared = {id(block) for blocks in file.groups.values() for block in blocks}
    assert len(file.groups) == 15_000 and len(shared) == 1
    rule = file.crawling(names[-1], b"/a")
    assert rule is not None and rule.kind == "disallow"
