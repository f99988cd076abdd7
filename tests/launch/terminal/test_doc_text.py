"""Docstrings as blocks: tables stay tables, lists stay lists."""

from __future__ import annotations

from gristmill.launch.terminal.doc_text import blocks, markdown_lines, terminal_lines

DOC = """What it does.

Signals, a name a row:

words              how many there
                   are
a_long_name, another_long_name   two at once
mean (5-10)  their mean | median

1. First it reads,
   then
2. it writes.

    settle   code stays
"""


def test_tables_lists_and_code_are_kept_on_a_terminal() -> None:
    made = [terminal_lines(block, 50) for block in blocks(DOC)]
    assert made == [
        ["What it does."],
        ["Signals, a name a row:"],
        [
            "words                           how many there are",
            "a_long_name, another_long_name  two at once",
            "mean (5-10)                     their mean |",
            "                                median",
        ],
        ["1. First it reads, then", "2. it writes."],
        ["    settle   code stays"],
    ]


def test_tables_and_lists_become_markdown() -> None:
    made = [line for block in blocks(DOC) for line in markdown_lines(block)]
    assert "| `words` | how many there are |" in made
    assert "| `a_long_name`, `another_long_name` | two at once |" in made
    assert "| `mean (5-10)` | their mean \\| median |" in made
    assert "1. First it reads,\n   then\n2. it writes." in made and made[-3:] == ["```", "settle   code stays", "```"]
