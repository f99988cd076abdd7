"""The funnel: rows from accounts, and how they print in a narrow and in a wide terminal."""

from __future__ import annotations

import io
import re

import pytest
from rich.console import Console

from gristmill.launch.terminal.funnel import Amount, end_rows, funnel_json, node_rows, print_funnel, rule_rows
from gristmill.pipeline.provenance.accounts import Accounts, Hits, NodeAccount, Tally

ORDER = ["crawl", "filter", "tier", "repeat"]


@pytest.fixture
def accounts() -> Accounts:
    """Ten documents: the filter drops three and marks one, the tiers part them, two are repeated."""
    made = Accounts()
    # As a manifest gives them: in alphabetical order.
    made.nodes["crawl"] = NodeAccount(Tally(10, 1000), {}, Tally(), Tally(), Tally(10, 1000), {"read": Tally(10, 1000)})
    made.nodes["filter"] = NodeAccount(
        Tally(10, 1000), {}, Tally(3, 300), Tally(1, 50), Tally(6, 650), {"kept": Tally(6, 650)},
        {"short": Hits([3, 300], [4, 400], [1, 90]), "long": Hits([2, 150], [2, 150], [0, 0])},
    )  # fmt: skip
    made.nodes["repeat"] = NodeAccount(Tally(4, 400), {}, Tally(), Tally(), Tally(4, 400), {"kept": Tally(7, 700)})
    made.nodes["tier"] = NodeAccount(
        Tally(6, 650), {}, Tally(), Tally(), Tally(6, 650), {"bad": Tally(2, 250), "good": Tally(4, 400)}
    )
    made.outputs = {"aside": {"tier.bad": Tally(2, 250)}, "corpus": {"repeat.kept": Tally(7, 700)}}
    made.discarded = {"tier.worse": Tally(1, 10)}
    return made


def test_nodes_come_in_the_order_of_the_graph(accounts: Accounts) -> None:
    assert [row.node for row in node_rows(accounts, ORDER)] == ORDER


def test_what_a_rule_decided_and_was_kept_counts_as_marked(accounts: Accounts) -> None:
    row = node_rows(accounts, ORDER)[1]
    assert (row.entered, row.kept, row.dropped) == (Amount(10, 1000), Amount(6, 650), Amount(3, 300))
    assert row.quarantined == Amount(1, 50)
    assert row.marked == Amount(1, 100)


def test_only_nodes_with_several_ports_or_copies_branch(accounts: Accounts) -> None:
    assert [row.node for row in node_rows(accounts, ORDER) if row.branches] == ["tier", "repeat"]


def test_rules_come_most_frequent_first_with_first_any_and_sole_hits(accounts: Accounts) -> None:
    rows = rule_rows(accounts, ORDER)
    assert [row.rule for row in rows] == ["short", "long"]
    assert (rows[0].first, rows[0].any, rows[0].sole) == (Amount(3, 300), Amount(4, 400), Amount(1, 90))


def test_outputs_and_discarded_ports_are_the_ends(accounts: Accounts) -> None:
    found = [(row.kind, row.name, row.amount.documents) for row in end_rows(accounts, ["corpus", "aside"])]
    assert found == [("output", "corpus", 7), ("output", "aside", 2), ("discarded", "tier.worse", 1)]


def test_json_has_every_figure_as_documents_and_bytes(accounts: Accounts) -> None:
    made = funnel_json(accounts, ORDER)
    assert made["nodes"][1]["dropped"] == [3, 300]
    assert made["nodes"][3]["ports"] == {"kept": [7, 700]}
    assert made["rules"][0] == {
        "node": "filter", "rule": "short", "first": [3, 300], "any": [4, 400], "sole": [1, 90],
    }  # fmt: skip


def test_large_figures_push_out_bytes_and_never_names(accounts: Accounts) -> None:
    for account in accounts.nodes.values():
        account.entered = Tally(10**12, 10**15)
    accounts.nodes["a_node_with_a_long_name"] = NodeAccount(Tally(10**12, 10**15), {}, Tally(10**12, 10**15))
    stream = io.StringIO()
    print_funnel(Console(file=stream, width=80, color_system=None), accounts, ORDER)
    row = next(line for line in stream.getvalue().splitlines() if line.startswith("a_node_with_a_long_name "))
    assert "1,000,000,000,000" in row
    assert "PB" not in row


@pytest.mark.parametrize("width", [80, 120])
def test_the_tables_fit_and_hold_the_figures(accounts: Accounts, width: int) -> None:
    stream = io.StringIO()
    print_funnel(Console(file=stream, width=width, color_system=None), accounts, ORDER)
    lines = stream.getvalue().splitlines()
    assert max(map(len, lines)) <= width
    assert not any("…" in line for line in lines)
    row = next(line for line in lines if line.startswith("filter"))
    assert re.split(r"\s{2,}", row.strip())[:5] == ["filter", "10", "6", "60.0 %", "3"]
    assert ("300 B" in row) == (width == 120)
    assert next(line for line in lines if "→ bad" in line).split()[2] == "2"
    rule = next(line for line in lines if "short" in line)
    assert [part for part in rule.split() if part.isdigit() and len(part) == 1] == ["3", "4", "1"]


def test_a_stage_that_makes_texts_shows_pages_that_enter_and_texts_that_leave(accounts: Accounts) -> None:
    def printed() -> str:
        stream = io.StringIO()
        print_funnel(Console(file=stream, width=160, color_system=None), accounts, ORDER)
        return stream.getvalue()

    assert "text kept" in printed() and "of pages" not in printed()
    accounts.nodes["filter"].ports["kept"] = Tally(6, 65)
    lines = printed().splitlines()
    row = next(line for line in lines if line.startswith("filter"))
    assert re.split(r"\s{2,}", row.strip())[-3:] == ["1.0 kB", "65 B", "300 B"]
    assert "bytes kept" in lines[0] and "text kept" not in printed()
    assert "bytes: of pages until they enter filter, of the texts made there from then on" in printed()
    assert funnel_json(accounts, ORDER)["nodes"][1]["kept"] == [6, 650]
