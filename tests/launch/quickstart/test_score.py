"""The quickstart's score: every figure on a web of seven documents whose answers are in the test."""

from __future__ import annotations

from dataclasses import replace

from gristmill.launch.quickstart.score import Answer, Outcome, Share, ended_right, score

ANSWERS = (
    Answer("a", "eng_Latn", "keep", "news", "original", "a", 1.0, None),
    Answer("a1", "eng_Latn", "keep", "news", "exact", "a", 1.0, None),
    Answer("a2", "eng_Latn", "keep", "news", "truncated", "a", 0.5, None),
    Answer("b", "deu_Latn", "keep", "poem", "original", "b", 1.0, "A poem. Right is keep."),
    Answer("s", "eng_Latn", "drop_quality", "keyword_spam", "original", "s", 1.0, None),
    Answer("t", "eng_Latn", "toxic", "hate", "original", "t", 1.0, "Hate. Right is toxic."),
    Answer("m", "und", "mild", "mild_rudeness", "original", "m", 1.0, None),
)

RIGHT = {
    "a": Outcome(None, None, True, "a", ("corpus",), "eng_Latn"),
    "a1": Outcome("dedup", "dup", True, "a", (), "eng_Latn"),
    "a2": Outcome("dedup", "dup", True, "a", (), "eng_Latn"),
    "b": Outcome(None, None, True, "b", ("corpus",), "deu_Latn"),
    "s": Outcome("quality", "top_2_gram", True, "s", (), "eng_Latn"),
    "t": Outcome("toxicity", "toxic", True, "t", (), "eng_Latn"),
    "m": Outcome(None, None, True, "m", ("annealing",), "und_Zyyy"),
}


def test_a_perfect_run_has_a_perfect_score() -> None:
    found = score(ANSWERS, RIGHT, "corpus")
    assert found.copies["exact"] == Share(1, 1)
    assert found.copies["truncated"] == Share(1, 1)
    assert found.copies["edited"] == Share(0, 0)
    assert found.similar == Share(1, 1)
    assert (found.merged, found.lost, found.keep) == (0, {}, Share(2, 2))
    assert all(item.right == item.of for item in found.verdicts.values())
    assert found.out_of_corpus == Share(2, 2)
    assert all(trap.passed for trap in found.traps)
    assert found.language == Share(6, 6)


def test_a_copy_that_stays_in_the_corpus_was_not_found() -> None:
    found = score(ANSWERS, {**RIGHT, "a1": Outcome(None, None, True, "a1", ("corpus",), "eng_Latn")}, "corpus")
    assert found.copies["exact"] == Share(0, 1)
    assert found.similar == Share(0, 1)


def test_a_copy_is_found_when_another_copy_of_the_page_was_kept_in_place_of_both() -> None:
    outcomes = {**RIGHT, "a": Outcome("dedup", "dup", True, "a2", (), "eng_Latn"),
             "a1": Outcome("dedup", "dup", True, "a2", (), "eng_Latn"),
             "a2": Outcome(None, None, True, "a2", ("corpus",), "eng_Latn")}  # fmt: skip
    found = score(ANSWERS, outcomes, "corpus")
    assert found.copies["exact"] == found.copies["truncated"] == Share(1, 1)
    assert found.keep == Share(2, 2)


def test_what_never_reached_the_deduplication_is_no_failure_of_it() -> None:
    found = score(ANSWERS, {**RIGHT, "a1": Outcome("language", "low", False, None, (), None)}, "corpus")
    assert found.copies["exact"] == Share(0, 0)


def test_a_page_taken_for_a_copy_of_another_page_is_merged_and_lost() -> None:
    found = score(ANSWERS, {**RIGHT, "b": Outcome("dedup", "dup", True, "a", (), "deu_Latn")}, "corpus")
    assert found.merged == 1
    assert found.keep == Share(1, 2)
    assert found.lost == {"dedup: taken for a copy of another page": 1}
    assert [trap.passed for trap in found.traps] == [False, True]


def test_a_page_is_lost_where_the_copy_that_stood_for_it_ended() -> None:
    outcomes = {**RIGHT, "a": Outcome("dedup", "dup", True, "a1", (), None),
                "a2": Outcome("dedup", "dup", True, "a1", (), None),
             "a1": Outcome("clean", "marked", True, "a1", (), None)}  # fmt: skip
    assert score(ANSWERS, outcomes, "corpus").lost == {"clean: marked": 1}


def test_a_toxic_page_in_any_output_is_a_failure_but_not_in_the_corpus_if_it_lies_beside() -> None:
    found = score(ANSWERS, {**RIGHT, "t": replace(RIGHT["m"], language="eng_Latn")}, "corpus")
    assert found.verdicts["toxic"] == Share(0, 1)
    assert found.out_of_corpus == Share(2, 2)
    trap = found.traps[0]
    assert (trap.id, trap.passed, trap.found) == ("t", False, "in annealing")


def test_a_wrong_label_counts_and_text_without_a_language_does_not() -> None:
    found = score(ANSWERS, {**RIGHT, "b": replace(RIGHT["b"], language="nld_Latn")}, "corpus")
    assert found.language == Share(5, 6)


def test_each_verdict_has_one_right_end() -> None:
    ends = [set(), {"corpus"}, {"annealing"}, {"annealing", "corpus"}]
    assert [ended_right("keep", end, "corpus") for end in ends] == [False, True, False, True]
    assert [ended_right("mild", end, "corpus") for end in ends] == [False, False, True, False]
    assert [ended_right("toxic", end, "corpus") for end in ends] == [True, False, False, False]
    assert [ended_right("drop_quality", end, "corpus") for end in ends] == [True, False, False, False]


def test_the_score_has_a_json_form() -> None:
    made = score(ANSWERS, RIGHT, "corpus").to_json()
    assert made["copies_found"]["exact"] == [1, 1]
    assert made["traps"][0].keys() == {"id", "trap", "passed", "found"}
