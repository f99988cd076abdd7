"""The counts of a document from which C4's signals follow, by name and position in a row of counts."""

C4_NAMES = (
    "chars",
    "long_word_lines",
    "no_terminal_lines",
    "few_words_lines",
    "javascript_lines",
    "policy_lines",
    "lorem_ipsum_lines",
    "curly_bracket_lines",
    "kept_lines",
    "kept_chars",
    "sentences",
)
"""What each count counts, for the text of one document:

chars: code points. long_word_lines … policy_lines: lines that C4 removes, each counted once, for the first of these
reasons in this order. lorem_ipsum_lines, curly_bracket_lines: lines that hold one of the two and are not removed for a
reason before it; C4 removes the page then, and this count says so while the line goes on to the next check. kept_lines:
the others; kept_chars: their code points, without citations and the white space around; sentences: their sentences.
Lines of white space alone are in none of them.
"""

C4_INDEX = {name: number for number, name in enumerate(C4_NAMES)}
