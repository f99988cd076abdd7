"""The counts of a document from which all quality signals follow, by name and position in a row of counts.

Plain integers, so that any split of the input gives the same sums and every ratio is one correctly rounded division.
"""

NAMES = (
    "chars",
    "words",
    "text_words",
    "text_word_chars",
    "alpha_words",
    "stop_words",
    "hashes",
    "ellipses",
    "lines",
    "bullet_lines",
    "ellipsis_lines",
    "runs",
    "duplicate_runs",
    "duplicate_run_chars",
    "paragraphs",
    "duplicate_paragraphs",
    "duplicate_paragraph_chars",
    "content_lines",
    "terminal_lines",
    "short_lines",
    "duplicate_line_chars",
    "newlines",
    "top_2",
    "top_3",
    "top_4",
    "repeated_5",
    "repeated_6",
    "repeated_7",
    "repeated_8",
    "repeated_9",
    "repeated_10",
)
"""What each count counts, for the text of one document:

chars: code points. words: tokens of the splitter. text_words: words with a character outside datatrove's punctuation;
text_word_chars: their code points. alpha_words: words with a letter. stop_words: different stop words found.
hashes: `#`. ellipses: `...` and `…`. lines: lines as `str.splitlines` has them; bullet_lines: those that begin with `•`
or `-` after white space; ellipsis_lines: those that end with `...` or `…` before white space. runs: pieces between runs
of newlines, and those of them that came before (duplicate_runs, and their chars). paragraphs: the same for pieces between
runs of two newlines or more, in the stripped text. content_lines: pieces between newlines with more than white space;
terminal_lines: those that end in sentence-ending punctuation; short_lines: those of at most `short_line_length` code
points; duplicate_line_chars: code points of those that came before. newlines: U+000A. top_N: code points of the most
frequent N-gram of words (with single spaces between them) times its occurrences. repeated_N: code points of words in
N-grams that came before, each counted once.
"""

INDEX = {name: number for number, name in enumerate(NAMES)}
