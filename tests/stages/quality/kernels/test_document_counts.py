"""The counts behind the quality signals, against datatrove given the same words."""

from __future__ import annotations

import random
import re
import subprocess
import sys

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gristmill.pipeline.document import text_buffers
from gristmill.stages.quality.kernels.document_counts import _count as kernel
from gristmill.stages.quality.kernels.document_counts import count, stop_word_tables
from gristmill.stages.quality.kernels.ngrams import LISTED_WORDS
from gristmill.stages.quality.tokenizer.chunk import CHUNK_LIMIT
from gristmill.stages.quality.tokenizer.flags import TOKENIZERS
from gristmill.stages.quality.tokenizer.splitter import split_words
from tests.stages.quality.kernels.quality_oracle import counted, oracle

STOP_WORDS = ("the", "and", "a", "é", "漢", "well-known")

# Few characters, so that lines, paragraphs and n-grams repeat; every kind that some count looks at.
ALPHABET = "ab aé.漢 \n\n\n\t\r\v\x1c\x85\u2028\u00a0#…-•!?。😀"
# datatrove asks Python what is a letter, and our tables are of a newer Unicode: what Python has not assigned may differ.
assigned = st.characters(exclude_categories=("Cn", "Cs"))
texts = st.text(ALPHABET, max_size=80) | st.text(assigned, max_size=40)
phrases = st.lists(
    st.sampled_from(["the cat", "a", "b", "ab", "\n", "\n\n", ". ", "… ", "- x\n", "sat on the mat and", " ", "the"]),
    max_size=60,
).map(" ".join)


def tokens(text: str) -> list[str]:
    """Words for the oracle and the kernel alike: runs of one kind of character."""
    return [word for run in text.split() for word in re.findall(r"\w+|[^\w]", run) if word.strip()]


def check(text: str, words: list[str]) -> None:
    text = text.encode("utf-8", "ignore").decode()
    found = counted([text], [words], STOP_WORDS)[0]
    expected = oracle(text, words, STOP_WORDS)
    if text == "":
        # datatrove drops the empty text before it counts; it has no paragraphs and no lines to compare.
        expected |= {"paragraphs": found["paragraphs"], "runs": found["runs"]}
    assert {name: found[name] for name in expected} == expected


@given(texts)
def test_any_text_has_datatroves_counts(text: str) -> None:
    text = text.encode("utf-8", "ignore").decode()
    check(text, tokens(text))


@settings(max_examples=200)
@given(phrases)
def test_repetitive_text_has_datatroves_counts(text: str) -> None:
    check(text, tokens(text))


@given(st.lists(st.sampled_from(["a", "ab", "b", "ba", "aab", "é"]), max_size=60))
def test_ngrams_count_as_equal_when_their_words_join_equally(words: list[str]) -> None:
    # "ab a" and "a ba" are the same 2-gram of joined text, but different 2-grams of words.
    check(" ".join(words), words)


CHUNKS = [
    "word", "10km", "1990", "1990,", "5", "a1", "don't", "it's", "aujourd'hui", "l'eau", "ka'a", "ka’a", "cannot", "cannot.",
    "e.g.", "etc.", "etc,", "so...", "…", "#", "x#y", "Rp100", "USDx", "RMIT.", "(a)", "well-known", "a--b", "é.", "U.S.",
    "½kg", "10%", "漢字。", "naïve!", "o’clock", "d’abord", "foo:bar", "a\u0301.", "A\u0301b", "…!", '"q"', "http://a.bc/d.",
]  # fmt: skip


@settings(max_examples=150)
@given(
    st.lists(st.sampled_from(CHUNKS) | st.text(assigned, max_size=6), max_size=12),
    st.sampled_from(range(len(TOKENIZERS))),
)
def test_words_found_while_scanning_are_those_of_the_rules(chunks: list[str], tokenizer: int) -> None:
    # Twice, because words of a chunk are remembered; and the last bytes of a document are read one by one.
    text = " ".join([*chunks, *chunks, "and behind it a line that is long enough."]).encode("utf-8", "ignore").decode()
    words = split_words(text, tokenizer)
    found = counted([text], None, STOP_WORDS, tokenizer)[0]
    expected = oracle(text, words, STOP_WORDS)
    names = (
        "words",
        "text_words",
        "text_word_chars",
        "alpha_words",
        "stop_words",
        "hashes",
        "ellipses",
        "top_2",
        "top_3",
    )
    assert {name: found[name] for name in names} == {name: expected[name] for name in names}


def test_long_repetitive_documents_have_datatroves_counts() -> None:
    draw = random.Random(3)
    vocabulary = ["".join(draw.choices("abcdefgé", k=draw.randint(1, 9))) for _ in range(300)]
    lines = [" ".join(draw.choices(vocabulary, k=draw.randint(1, 15))) for _ in range(400)]
    text = "\n".join(draw.choices([*lines, "", "", "  ", "- item...", "# title"], k=1500))
    check(text, text.split())


@pytest.mark.parametrize("repeats", [1, 2, 3])
def test_the_most_frequent_gram_is_found_among_very_many_rare_ones(repeats: int) -> None:
    draw = random.Random(repeats)
    words = [f"{draw.getrandbits(40):x}" for _ in range(30_000)]
    for _ in range(repeats - 1):
        words += ["x", "yy", "zzz", f"{draw.getrandbits(40):x}"]
    found = counted([" ".join(words)], [words])[0]
    expected = oracle(" ".join(words), words, ())
    assert all(found[name] == expected[name] for name in ("top_2", "top_3", "top_4", "repeated_5"))


def test_a_document_of_more_words_than_are_listed_has_the_same_counts() -> None:
    draw = random.Random(9)
    vocabulary = [f"w{n}" for n in range(5000)] + ["a", "b"] * 50
    words = draw.choices(vocabulary, k=150_000)
    words = words + words[1000:120_000] + ["a", "b"] * 600
    assert len(words) > LISTED_WORDS
    text = " ".join(words)
    found, expected = counted([text], [words])[0], oracle(text, words, ())
    assert {name: found[name] for name in expected} == expected


@pytest.mark.parametrize(
    "text",
    [
        "", " ", "\n", "\n\n", "\n\n\n", "a", "a\n", "\na", "\na\n", "a\n\n\na", " \n a \n \n a\n", "a\r\nb\rc\x85d",
        "a\u2028- b\u2029• c...", "...", "......", "....", "x\n" * 50, "#" * 9, "\u00a0", "\u200b", "-", "• a", "😀",
        "\ufeffa b", "\x00 \x00", "a\x1c\x1cb",
    ],
)  # fmt: skip
def test_edge_cases_have_datatroves_counts(text: str) -> None:
    check(text, tokens(text))


def test_a_documents_counts_do_not_depend_on_its_neighbours() -> None:
    draw = random.Random(1)
    docs = [" ".join(draw.choices(["the cat", "sat.", "on\n", "mat…", "é", "漢字"], k=n)) for n in (0, 1, 5, 3000, 40)]
    together = counted(docs, None, STOP_WORDS)
    assert together == [counted([doc], None, STOP_WORDS)[0] for doc in docs]
    assert counted(docs[::-1], None, STOP_WORDS) == together[::-1]


def test_documents_of_other_tokenizers_and_chunks_that_differ_in_one_character_are_no_neighbours_either() -> None:
    marks = [chr(code) for code in range(33, 127)]
    doc = (
        " ".join(f"{mark}b-x's/{mark} {mark}n't {mark}-{mark}{mark}." for mark in marks) + " and words behind them all."
    )
    numbers = list(range(len(TOKENIZERS)))
    together = counted([doc] * len(numbers), None, STOP_WORDS, numbers)
    assert together == [counted([doc], None, STOP_WORDS, [number])[0] for number in numbers]


def test_counts_of_a_small_page_are_pinned() -> None:
    page = (
        "Notes on bread\n\nMix the flour and the water. Wait...\n- knead well\n- knead well\n\n"
        "Mix the flour and the water. Then bake it, and eat it, and bake it again! #bread\n"
    )
    assert counted([page], None, STOP_WORDS, tokenizer=3)[0] == {
        "chars": 161, "words": 40, "text_words": 31, "text_word_chars": 115, "alpha_words": 31,
        "stop_words": 2, "hashes": 1, "ellipses": 1, "lines": 7, "bullet_lines": 2, "ellipsis_lines": 1,
        "runs": 6, "duplicate_runs": 1, "duplicate_run_chars": 12, "paragraphs": 3,
        "duplicate_paragraphs": 0, "duplicate_paragraph_chars": 0, "content_lines": 5, "terminal_lines": 1,
        "short_lines": 3, "duplicate_line_chars": 12, "newlines": 7, "top_2": 14, "top_3": 26, "top_4": 34,
        "repeated_5": 17, "repeated_6": 22, "repeated_7": 23, "repeated_8": 0, "repeated_9": 0,
        "repeated_10": 0,
    }  # fmt: skip


def test_bytes_that_are_not_utf8_are_counted_and_never_crash() -> None:
    draw = np.random.default_rng(0)
    raw = [bytes(draw.integers(0, 256, n, dtype=np.uint8)) for n in (0, 1, 7, 300, 5000)] + [b"\xe2\x80", b"a\xf0\x9f"]
    column = pa.array(raw, pa.large_binary()).view(pa.large_string())
    data, offsets = text_buffers(column)
    rows = len(raw)
    zeros = np.zeros(rows, np.int64)
    counts = count(data, offsets, zeros, np.zeros(rows), zeros, stop_word_tables([()]))
    again = count(data, offsets, zeros, np.zeros(rows), zeros, stop_word_tables([()]))
    assert (counts >= 0).all() and (counts == again).all()


@pytest.mark.parametrize("text", ["x" * (CHUNK_LIMIT * 3 + 5), "漢" * (CHUNK_LIMIT + 1), "." * (CHUNK_LIMIT + 2)])
def test_a_chunk_longer_than_the_limit_is_cut_and_nothing_is_lost(text: str) -> None:
    found = counted([text, "a b"])
    assert found[0]["chars"] == len(text)
    assert found[0]["words"] == -(-len(text) // CHUNK_LIMIT) == len(split_words(text))
    assert found[1]["words"] == 2


def test_ten_megabytes_are_counted_whole() -> None:
    draw = random.Random(0)
    line = " ".join("".join(draw.choices("abcdefghij", k=5)) for _ in range(2000))
    text = "\n".join(f"{n} {line}" for n in range(840))
    found = counted([text])[0]
    assert len(text) > 10_000_000
    assert found["chars"] == len(text)
    assert found["words"] == len(text.split())
    assert found["lines"] == 840 and found["duplicate_runs"] == 0
    # Every line repeats the first one's 2,000 words, except where the number at its beginning stands.
    repeated = (840 - 1) * (len(line.replace(" ", "")) - 10 * 5)
    assert repeated <= found["repeated_10"] <= (840 - 1) * len(line.replace(" ", ""))


def test_stop_words_are_counted_once_each_and_exactly() -> None:
    found = counted(["the The the and, well-known é漢 é"], [["the", "The", "the", "and", "é"]], STOP_WORDS)[0]
    assert found["stop_words"] == 3
    assert counted(["the and"], None, ())[0]["stop_words"] == 0


def test_stop_word_tables_hold_empty_lists_and_long_words() -> None:
    tables = stop_word_tables([(), ("x" * 200, "", "a"), ()])
    assert tables.mask.tolist() == [-1, 31, -1]
    assert tables.longest.tolist() == [0, 200, 0]
    assert counted(["x" * 200 + " a"], None, ("x" * 200, "a"))[0]["stop_words"] == 2


def test_text_without_spaces_is_cut_alike_wherever_it_stands() -> None:
    passage = "磨坊主说他必须在中午以前和其他人一起到桥边去然后他们一起吃午饭"
    once, twice = counted([passage, f"今天天气很好{passage}明天也是{passage}"], None, ("的", "在", "他"), piece=2.0)
    assert 10 <= once["words"] <= 24
    assert once["stop_words"] == 2
    assert twice["repeated_5"] > 0.6 * len(passage)
    assert counted([passage], None, ("的", "在", "他"))[0]["words"] == 1


def test_tibetan_is_cut_behind_every_tsheg() -> None:
    text = "བོད་ཀྱི་སྐད་ཡིག་ནི་གལ་ཆེན་པོ་རེད།"
    assert counted([text], None, ("ནི་",), piece=4.0)[0]["words"] == text.count("་") + 2


def test_the_kernel_is_compiled_for_one_combination_of_arguments() -> None:
    counted([])
    counted([""])
    counted(["", ""], [[], []])
    counted(["a b"], [["a"]], STOP_WORDS)
    assert len(kernel.signatures) == 1


def test_another_process_loads_the_compiled_kernel() -> None:
    """The kernel takes named tuples; Numba must find what it cached for them."""
    counted(["one two three"])
    code = (
        "from gristmill.stages.quality.kernels.document_counts import _count\n"
        "from tests.stages.quality.kernels.quality_oracle import counted\n"
        "counted(['one two three'])\n"
        "print(sum(_count.stats.cache_hits.values()), sum(_count.stats.cache_misses.values()))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=300)
    assert done.stdout.split() == ["1", "0"], done.stderr
