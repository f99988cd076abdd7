"""The toxicity kernel against the same features written in plain Python, and its windows at the edges of Unicode."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gristmill.stages.toxicity.identity_terms import GROUPS, group_table, group_words, token_hash
from gristmill.stages.toxicity.kernels import linear, words
from gristmill.stages.toxicity.kernels import scoring as kernel

MASK = (1 << 64) - 1
BITS = 12
P, Q = 0x9E3779B97F4A7C15, 0xC2B2AE3D27D4EB4F


def mix(state: int, value: int) -> int:
    mixed = ((state ^ value) * P) & MASK
    return mixed ^ (mixed >> 29)


def cut(state: int) -> int:
    return state >> (64 - BITS)


def last(state: int) -> int:
    return cut((state * P) & MASK)


def entry(char: str) -> tuple[int, int, bool, bool]:
    """(kind, folded, stop, hard stop) of a character."""
    value = int(kernel.token_table()[ord(char)])
    return (value >> 24) & 7, value & 0xFFFFFF, bool(value & 1 << 28), bool(value & 1 << 29)


def plain_windows(text: str, cap: int, split: bool) -> list[tuple[list[tuple[int, int, list[int]]], int, int]]:
    """[(tokens (hash, kind, characters), first byte, end byte)] of a text."""
    windows: list[tuple[list[tuple[int, int, list[int]]], int, int]] = []
    tokens: list[tuple[int, int, list[int]]] = []
    first = end = 0
    ended = False
    word: list[int] | None = None
    run = (0, 0)

    def close_word() -> None:
        nonlocal word
        if word is not None:
            state = 1
            for char in word:
                state = ((state ^ char) * P) & MASK
            tokens.append((state ^ (state >> 29), kernel.WORD, word))
            word = None

    def close_window() -> None:
        nonlocal tokens, ended
        close_word()
        if tokens:
            windows.append((tokens, first, end))
        tokens, ended = [], False

    byte = 0
    for char in text:
        size = len(char.encode())
        kind, folded, stop, hard = entry(char)
        byte += size
        if kind == kernel.SKIP:
            if tokens or word is not None:
                end = byte
            continue
        if kind == kernel.WORD and word is not None:
            repeats = run[1] + 1 if run[0] == folded else 0
            if repeats >= 2 or len(word) < kernel.MAX_WORD:
                if repeats < 2:
                    word.append(folded)
                run, end = (folded, repeats), byte
                continue
        close_word()
        if kind == kernel.GAP:
            if split and tokens and (ended or hard):
                close_window()
            continue
        if len(tokens) == cap:
            close_window()
        if not tokens:
            first = byte - size
        end = byte
        if kind == kernel.WORD:
            ended, word, run = False, [folded], (folded, 0)
            continue
        if kind == kernel.SINGLE:
            ended = False
        tokens.append((mix(1000 + kind, folded), kind, [folded]))
        if split and hard:
            close_window()
        elif stop:
            ended = True
    close_window()
    return windows


def with_marked(*words: str) -> kernel.Groups:
    known = group_table()
    every = np.concatenate([known.hashes, np.array([token_hash(word) for word in words], np.uint64)])
    classes = np.concatenate([known.classes, np.full(len(words), kernel.MARKED, np.uint8)])
    order = np.argsort(every)
    return kernel.Groups(every[order], classes[order])


MARKED = with_marked("h8", "hates", "a", "听")
"""The group words, and words whose context counts."""


def plain_features(tokens: list[tuple[int, int, list[int]]], groups: dict[int, int]) -> list[int]:
    out = []
    for hash_, kind, chars in tokens:
        out.append(cut(mix(hash_, Q)))
        if kind == kernel.WORD:
            bounded = [0x110001, *chars, 0x110002]
            for size in (2, 3) if 0xAC00 <= chars[0] <= 0xD7A3 else (3, 5):
                for start in range(len(bounded) - size + 1):
                    if size < len(bounded):
                        state = 77
                        for char in bounded[start : start + size]:
                            state = mix(state, char)
                        out.append(last(mix(state, size)))
    hashes = [token[0] for token in tokens]

    def pair(first: int, second: int, tag: int) -> None:
        out.append(last(mix(mix(first, second), tag)))

    for t, here in enumerate(hashes):
        if here not in groups:
            continue
        for away in (-3, -2, -1, 1, 2, 3):
            u = t + away
            # A pair of marked tokens counts once, at the later one.
            if 0 <= u < len(hashes) and (away < 0 or hashes[u] not in groups):
                pair(hashes[min(t, u)], hashes[max(t, u)], 2 if abs(away) == 1 else 4)
        for first in (t - 2, t - 1, t):
            if 0 <= first and first + 2 < len(hashes):
                pair(mix(hashes[first], hashes[first + 1]), hashes[first + 2], 3)
        for group in (groups[here], 99) if groups[here] <= kernel.GROUP_CLASSES else ():
            for u in range(max(0, t - 4), min(len(hashes), t + 5)):
                if u != t:
                    side = 11 if u < t else 12
                    pair(hashes[u], group, side)
                    if abs(u - t) == 1:
                        pair(hashes[u], group, side + 10)
            if t + 2 < len(hashes):
                pair(mix(hashes[t + 1], hashes[t + 2]), group, 30)
            if t >= 2:
                pair(mix(hashes[t - 2], hashes[t - 1]), group, 31)
            if 1 <= t < len(hashes) - 1:
                pair(mix(hashes[t - 1], hashes[t + 1]), group, 32)
    return sorted(out)


def buffers(texts: list[str]) -> tuple[np.ndarray, np.ndarray]:
    encoded = [text.encode() for text in texts]
    offsets = np.concatenate([[0], np.cumsum([len(one) for one in encoded])]).astype(np.int64)
    return np.frombuffer(b"".join(encoded), np.uint8), offsets


def kernel_windows(texts: list[str], cap: int = 64, split: bool = True) -> tuple[np.ndarray, ...]:
    data, offsets = buffers(texts)
    return kernel.window_features(data, offsets, kernel.token_table(), cap, int(split), BITS, MARKED, 16)


WEIGHTS = np.random.default_rng(5).integers(-127, 128, (1 << BITS, kernel.HEADS)).astype(np.int8)
KEPT = np.random.default_rng(6).random(1 << BITS) < 0.6
SCALE = np.array([0.001, 0.002, 0.003, 0.004, 0.005, 0.006])
BIAS = np.array([-3.0, -2.0, -1.0, 0.0, 1.0, 2.0])


Rows = tuple[np.ndarray, ...]


def score_all(
    texts: list[str], floor: int = 0, cap: int = 64, word_sums: linear.WordSums | None = None
) -> tuple[np.ndarray, Rows, Rows]:
    data, offsets = buffers(texts)
    floors = np.full(kernel.HEADS, floor, np.int16)
    found: tuple[np.ndarray, Rows, Rows] = linear.score_windows(
        data, offsets, kernel.token_table(), cap, 1,
        linear.Weights(linear.pack(WEIGHTS[KEPT]), linear.kept_index(KEPT), BITS, SCALE, BIAS), MARKED,
        linear.new_word_sums(MARKED) if word_sums is None else word_sums, floors, floors,
    )  # fmt: skip
    return found


def score(texts: list[str], *, floor: int = 0) -> tuple[np.ndarray, ...]:
    highest, (counts, owner, span, steps), _ = score_all(texts, floor)
    return counts, highest, owner, span, steps


def plain_steps(features: list[int]) -> list[int]:
    sums = WEIGHTS[[feature for feature in features if KEPT[feature]]].astype(np.int64).sum(axis=0)
    logits = [int(sums[h]) * float(SCALE[h]) / math.sqrt(len(features)) + float(BIAS[h]) for h in range(kernel.HEADS)]
    return [min(max(math.floor((logit + 16.0) * 128.0), 0), kernel.LEVELS - 1) for logit in logits]


SAMPLES = [
    'Women aren\'t stupid. The black man said: "I h8 you!!!" Really?! Yes… 3.14 is pi',
    "soooooo loooong! a aa aaa aaaa aaaaa" + "x" * 100,
    "她说的话很难听。我不同意！你好world吗？ｆｕｌｌｗｉｄｔｈ",
    "👩🏿‍🦱 hates 👨‍👩‍👧 and ❤️. 🏳️‍🌈",
    "한국어 문장이다. 더러운 a한글 것들",
    "שלום עולם. هل أنت بخير؟ نعم۔ ok\u200f!",
    "naïve café Straße İstanbul ΣΊΣΥΦΟΣ",
    "\n\n  \t\n",
    'e.g. this i.e. that. "Quoted." (And so.) Next\nline\r\nthird',
    "",
]
ALPHABET = st.sampled_from("abc ABé .!?\n'’-1Ж她。い👩🏿‍\u0301\u200dש؟ women gay")


@pytest.mark.parametrize("split", [True, False])
@pytest.mark.parametrize("cap", [3, 64])
def test_windows_and_features_equal_those_of_plain_python(cap: int, split: bool) -> None:
    check_features(SAMPLES, cap, split)


@settings(max_examples=150, deadline=None)
@given(st.lists(st.text(ALPHABET | st.characters(codec="utf-8"), max_size=60), max_size=3), st.sampled_from([2, 5, 64]))
def test_windows_and_features_equal_those_of_plain_python_for_any_text(texts: list[str], cap: int) -> None:
    check_features(texts, cap, True)


def check_features(texts: list[str], cap: int, split: bool) -> None:
    features, starts, owner, span = kernel_windows(texts, cap, split)
    groups = dict(zip(*(table.tolist() for table in MARKED), strict=True))
    _, offsets = buffers(texts)
    expected = [
        (text, (int(offsets[text]) + first, int(offsets[text]) + end), plain_features(tokens, groups))
        for text, whole in enumerate(texts)
        for tokens, first, end in plain_windows(whole, cap, split)
    ]
    found = [
        (int(owner[w]), tuple(span[w].tolist()), sorted(features[starts[w] : starts[w + 1]].tolist()))
        for w in range(len(owner))
    ]
    assert found == expected


@settings(max_examples=60, deadline=None)
@given(st.lists(st.text(ALPHABET, max_size=80), max_size=4))
def test_scores_equal_sums_of_weights_over_plain_features(texts: list[str]) -> None:
    counts, highest, owner, span, steps = score(texts)
    features, starts, windows, spans = kernel_windows(texts)
    expected = [plain_steps(features[starts[w] : starts[w + 1]].tolist()) for w in range(len(windows))]
    assert steps.tolist() == expected
    assert owner.tolist() == windows.tolist()
    assert counts.tolist() == np.bincount(windows, minlength=len(texts)).tolist()
    for text in range(len(texts)):
        mine = [step for step, at in zip(expected, windows.tolist(), strict=True) if at == text]
        assert highest[text].tolist() == (np.max(mine, axis=0).tolist() if mine else [0] * kernel.HEADS)


def plain_passages(texts: list[str], cap: int, least: int) -> list[tuple[int, tuple[int, int], list[int]]]:
    """(text, bytes, steps) of each passage, from the features of the windows in it."""
    features, starts, owner, span = kernel_windows(texts, cap)
    _, offsets = buffers(texts)
    found = []
    for text, whole in enumerate(texts):
        mine = np.flatnonzero(owner == text).tolist()
        tokens = [len(window) for window, _, _ in plain_windows(whole, cap, True)]
        assert len(tokens) == len(mine)
        while mine:
            count, total = 0, 0
            while count < len(mine) and total < least:
                total += tokens[count]
                count += 1
            part, mine, tokens = mine[:count], mine[count:], tokens[count:]
            begin, end = int(span[part[0], 0] - offsets[text]), int(span[part[-1], 1] - offsets[text])
            steps = plain_steps([int(f) for w in part for f in features[starts[w] : starts[w + 1]]])
            found.append((text, (begin, end), steps))
    return found


@settings(max_examples=60, deadline=None)
@given(st.lists(st.text(ALPHABET, max_size=80), max_size=4), st.sampled_from([2, 5, 64]))
def test_a_passage_is_windows_in_a_row_and_scores_as_all_their_features(texts: list[str], cap: int) -> None:
    texts = [*texts, "women are here. it rains. " * 40 + "\n \n"]
    _, _, (counts, owner, span, steps) = score_all(texts, cap=cap)
    expected = plain_passages(texts, cap, linear.PASSAGE_TOKENS)
    found = zip(owner.tolist(), (tuple(one) for one in span.tolist()), steps.tolist(), strict=True)
    assert list(found) == expected
    assert counts.tolist() == np.bincount([text for text, _, _ in expected], minlength=len(texts)).tolist()
    # 320 tokens with their stops: two passages of at least 128, and what is left.
    assert counts[-1] == 3


def test_only_passages_at_the_floor_are_listed_and_all_are_counted() -> None:
    texts = ["women are here. it rains. gays are there. we eat bread. " * times for times in range(1, 700)]
    _, _, (counts, _, _, everything) = score_all(texts)
    floor = int(np.sort(everything.max(axis=1))[len(everything) // 2])
    _, _, (again, owner, span, steps) = score_all(texts, floor=floor)
    assert counts.sum() == len(everything) > 256 and counts.tolist() == again.tolist()
    assert 0 < len(owner) == len(span) < len(everything)
    assert steps.tolist() == [step for step in everything.tolist() if max(step) >= floor]


def test_words_that_share_a_slot_do_not_change_scores() -> None:
    # Words in nearly all slots, then texts read with all of them remembered, and with none.
    word_sums = linear.new_word_sums(MARKED)
    words = [f"word{i}x" for i in range(4 << linear.SLOT_BITS)]
    score_all([" ".join(words)], linear.LEVELS, word_sums=word_sums)
    assert (word_sums.slots[:, [3, 7]] > 0).mean() > 0.9
    texts = [*SAMPLES, " ".join(words[:3000]), " ".join(words[-3000:])]
    again, alone = score_all(texts, word_sums=word_sums), score_all(texts)
    for found, expected in zip((again[0], *again[1], *again[2]), (alone[0], *alone[1], *alone[2]), strict=True):
        assert np.array_equal(found, expected)


def test_every_marked_word_passes_the_filter_and_few_others_do() -> None:
    marked = linear.new_word_sums(MARKED).marked
    place = (MARKED.hashes >> np.uint64(64 - linear.MARK_BITS)).astype(np.int64)
    assert (marked[place // 64] >> (place % 64).astype(np.uint64) & np.uint64(1)).all()
    assert np.unpackbits(marked.view(np.uint8)).sum() <= len(MARKED.hashes)


@pytest.mark.parametrize("kept", [KEPT, np.zeros(64, bool), np.ones(64, bool), np.arange(64) == 63])
def test_the_index_finds_the_weights_of_every_kept_feature_and_nothing_for_others(kept: np.ndarray) -> None:
    index, packed = linear.kept_index(kept), linear.pack(np.arange(kept.sum() * kernel.HEADS).reshape(-1, 6) % 101)
    for feature in range(len(kept)):
        entry, bit = int(index[feature // 32]), feature % 32
        before = (entry >> 32) + (entry & (1 << bit) - 1).bit_count()
        assert (entry >> bit & 1) == kept[feature]
        if kept[feature]:
            assert before == 1 + kept[:feature].sum()
    assert len(packed) == kept.sum() + 1 and int(packed[0]) == 0x8080808080808080


def test_only_windows_at_the_floor_are_listed_and_the_list_grows() -> None:
    texts = ["women are here. it rains. gays are there. we eat bread."] * 500
    _, _, _, _, everything = score(texts)
    floor = int(np.sort(everything.max(axis=1))[len(everything) // 2])
    _, _, owner, span, steps = score(texts, floor=floor)
    assert len(everything) == 2000
    assert 0 < len(owner) < 2000
    assert steps.tolist() == [step for step in everything.tolist() if max(step) >= floor]
    assert len(owner) == len(span)


def test_a_list_that_grows_within_a_text_names_each_window_and_passage_once() -> None:
    short, long = "we eat bread.", "women are here. it rains. " * 20_000
    _, windows, passages = score_all([short, long, short])
    _, windows_alone, passages_alone = score_all([long])
    for (counts, owner, *found), (_, _, *alone) in ((windows, windows_alone), (passages, passages_alone)):
        assert owner.tolist() == [0, *[1] * len(alone[0]), 2] and counts.tolist() == [1, len(alone[0]), 1]
        assert len(alone[0]) > 2 * 256
        assert all(np.array_equal(one[1:-1], other) for one, other in zip(found, alone, strict=True))


def test_a_sentence_ends_at_stops_before_white_space_and_at_line_breaks() -> None:
    text = 'It costs 3.14 e.g. here. "Really?!" she said… 真的吗？对。ok\nnext'
    _, _, owner, span = kernel_windows([text])
    data = text.encode()
    assert [data[a:b].decode() for a, b in span.tolist()] == [
        "It costs 3.14 e.g.", "here.", "\"Really?!\"", "she said…", "真的吗？", "对。", "ok", "next",
    ]  # fmt: skip


def test_a_window_never_exceeds_its_cap_and_covers_every_word() -> None:
    text = "word " * 1000
    _, starts, owner, span = kernel_windows([text], cap=64)
    assert len(owner) == math.ceil(1000 / 64)
    assert span[0].tolist() == [0, 64 * 5 - 1]
    assert span[-1, 1] == 4999


def test_bytes_that_are_no_utf8_are_read_without_going_astray() -> None:
    data = np.frombuffer(b"caf\xc3 \xff\xfe women \xe2\x82", np.uint8)
    features, starts, owner, span = kernel.window_features(
        data, np.array([0, len(data)], np.int64), kernel.token_table(), 64, 1, BITS, MARKED, 16
    )
    assert len(owner) == 1
    assert span.tolist() == [[0, len(data)]]


def test_every_group_word_is_one_token_and_in_no_case_or_accent_another() -> None:
    groups = group_words()
    assert set(groups.values()) == {1, 2, 3, 4}
    assert len({token_hash(word) for word in groups}) == len(groups)
    assert token_hash("Muslims") == token_hash("MUSLIMS") == token_hash("muslims")
    assert list(GROUPS) == ["race_origin", "gender_sex", "religion", "ability"]
    with pytest.raises(ValueError, match="must be one"):
        token_hash("two words")


def test_a_mention_of_a_group_is_found_by_class_wherever_it_stands() -> None:
    data, offsets = buffers(["We met Muslims.", "nothing here", "word " * 700 + "deaf women", ""])
    found = words.mentioned(data, offsets, kernel.token_table(), group_table())
    assert found.tolist() == [
        [False, False, True, False],
        [False] * 4,
        [False, True, False, True],
        [False] * 4,
    ]
