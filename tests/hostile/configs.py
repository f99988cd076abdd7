"""Three hundred configs that mean harm: each is a name and the text of a YAML file, with {root} for a folder of data."""

from __future__ import annotations

import random
from collections.abc import Iterator

BASE = """
name: good
sources:
  s: {format: parquet, paths: ["{root}/in/*.parquet"]}
stages:
  length: {least: 1}
outputs:
  corpus: {path: "{root}/out/corpus"}
"""


def _with(old: str, new: str) -> str:
    if old not in BASE:
        raise ValueError(old)
    return BASE.replace(old, new)


def _bomb(levels: int, width: int) -> str:
    lines = ["a0: &a0 [" + ", ".join(["x"] * width) + "]"]
    lines += [f"a{i}: &a{i} [" + ", ".join([f"*a{i - 1}"] * width) + "]" for i in range(1, levels)]
    return "\n".join(lines) + BASE


def _chain(count: int) -> str:
    stages = "\n".join(f"  n{i}: {{use: length, least: 1}}" for i in range(count))
    return _with("  length: {least: 1}", stages)


def _diamonds(count: int) -> str:
    lines = ["  n0: {use: split, at: 5}"]
    lines += [f"  n{i}: {{use: split, at: 5, from: [n{i - 1}.low, n{i - 1}.high]}}" for i in range(1, count)]
    return _with("  length: {least: 1}", "\n".join(lines)).replace(
        "outputs:", f"discard: [n{count - 1}.high]\noutputs:"
    )


def _deep(count: int, left: str, right: str) -> str:
    return _with("{least: 1}", "{least: " + left * count + "1" + right * count + "}")


QUICK: dict[str, str] = {
    "nothing": "",
    "a_word": "x",
    "a_list": "[1]",
    "anchor_bomb": _bomb(9, 10),
    "anchor_bomb_of_few": _bomb(30, 2),
    "self_anchor": "a: &a [*a]" + BASE,
    "self_anchor_map": "&a sources: *a",
    "anchor_in_itself": _with("{least: 1}", "&x {least: *x}"),
    "alias_of_nothing": _with("{least: 1}", "{least: *gone}"),
    "alias_as_key": "a: &a b\n*a : c" + BASE,
    "deep_lists": _deep(100_000, "[", "]"),
    "deep_maps": _deep(50_000, "{a: ", "}"),
    "deep_dashes": _with("{least: 1}", "\n    least: " + "- " * 20_000 + "1"),
    "deep_questions": "? " * 50_000,
    "stages_300": _chain(300),
    "stages_2000": _chain(2_000),
    "stages_10000": _chain(10_000),
    "stages_250": _chain(250),
    "diamonds": _diamonds(60),
    "tag_int": _with("least: 1", 'least: !!int "x"'),
    "tag_float": _with("least: 1", 'least: !!float "x"'),
    "tag_null": _with("least: 1", 'least: !!null "x"'),
    "tag_bool": _with("least: 1", 'least: !!bool "perhaps"'),
    "tag_binary": _with("least: 1", 'least: !!binary "%%%"'),
    "tag_python": _with("least: 1", "least: !!python/object/apply:os.system [id]"),
    "tag_set": _with("{least: 1}", "!!set {least, most}"),
    "tag_timestamp": _with("least: 1", "least: !!timestamp 2024-99-99"),
    "int_of_5000_digits": _with("least: 1", "least: " + "9" * 5_000),
    "hex_of_5000_digits": _with("least: 1", "least: 0x" + "f" * 5_000),
    "seed_of_5000_digits": "seed: " + "9" * 5_000 + BASE,
    "float_of_5000_digits": _with("least: 1", "least: 1." + "9" * 5_000),
    "bare_hex": _with("least: 1", "least: 0x_"),
    "sexagesimal": "seed: 1:30" + BASE,
    "sexagesimal_float": "max_quarantined: 1:30.5" + BASE,
    "infinite": "max_quarantined: .inf" + BASE,
    "nan": "max_quarantined: .nan" + BASE,
    "nan_bounds": "expect: {length: {dropped: [.nan, .nan]}}" + BASE,
    "infinite_bounds": "expect: {length: {dropped: [0, .inf]}}" + BASE,
    "nan_in_stage": _with("least: 1", "least: .nan"),
    "nul_in_path": _with("{root}/in/*.parquet", "{root}/in/\\0.parquet"),
    "nul_in_output": _with("{root}/out/corpus", "{root}/out/\\0"),
    "nul_in_work": 'work: "a\\0b"' + BASE,
    "nul_in_key": '"a\\0b": 1' + BASE,
    "no_character": 'name: "\\UFFFFFFFF"' + BASE,
    "half_surrogate": 'description: "\\ud800"' + BASE,
    "half_surrogate_path": _with("{root}/in/*.parquet", "{root}/in/\\ud800.parquet"),
    "half_surrogate_name": _with("name: good", 'name: "\\udfff"'),
    "half_surrogate_output": _with("{root}/out/corpus", "{root}/out/\\ud800"),
    "newline_in_source": _with("  s: {", '  "s\\n": {'),
    "newline_in_stage": _with("  length: {", '  "length\\n": {use: length, '),
    "newline_in_output": _with("  corpus: {", '  "corpus\\n": {'),
    "long_name": _with("  corpus: {", "  " + "c" * 300 + ": {"),
    "long_key": "k" * 100_000 + ": 1" + BASE,
    "long_path": _with("{root}/in/*.parquet", "{root}/" + "p" * 5_000),
    "long_output": _with("{root}/out/corpus", "{root}/" + "p" * 5_000),
    "long_work": "work: /" + "w" * 5_000 + BASE,
    "everything": _with("{root}/in/*.parquet", "/**"),
    "everything_at_depth": _with("{root}/in/*.parquet", "/*/*/*/*/*.parquet"),
    "the_root": _with("{root}/in/*.parquet", "/"),
    "the_root_otherwise": _with("{root}/in/*.parquet", "{root}/../../../../../../../../../../**"),
    "empty_path": _with("{root}/in/*.parquet", ""),
    "unknown_protocol": _with("{root}/in/*.parquet", "gopher://x/*.parquet"),
    "protocol_alone": _with("{root}/in/*.parquet", "://"),
    "chained_protocol": _with("{root}/in/*.parquet", "zip://a::b::c://d"),
    "open_bracket": _with("{root}/in/*.parquet", "{root}/in/[*.parquet"),
    "many_stars": _with("{root}/in/*.parquet", "{root}/in/" + "*a" * 40 + ".parquet"),
    "many_stars_excluded": _with('paths: ["', 'exclude: ["' + "*a" * 60 + '"], paths: ["'),
    "unknown_remote_work": "work: gopher://x/y" + BASE,
    "work_on_a_web_server": "work: https://x.example/y" + BASE,
    "work_on_a_hub": "work: hf://datasets/x/y" + BASE,
    "output_on_a_web_server": _with("{root}/out/corpus", "https://x.example/y"),
    "empty_work": 'work: ""' + BASE,
    "work_is_input": 'work: "{root}/in"' + BASE,
    "work_is_a_device": "work: /dev/null" + BASE,
    "output_is_a_device": _with("{root}/out/corpus", "/dev/null"),
    "output_is_the_root": _with("{root}/out/corpus", "/"),
    "input_is_a_device": _with("{root}/in/*.parquet", "/dev/zero"),
    "input_is_the_config": _with("{root}/in/*.parquet", "{root}/config.yaml"),
    "unknown_remote_output": _with("{root}/out/corpus", "gopher://x/y"),
    "root_elsewhere": _with("format: parquet", "format: parquet, root: gopher://x"),
    "root_empty": _with("format: parquet", 'format: parquet, root: ""'),
    "two_documents": BASE + "---\n" + BASE,
    "version_of_5000_digits": "%YAML 1." + "9" * 5_000 + "\n---\n" + BASE,
    "many_keys": "description:\n" + "".join(f"  k{i}: 1\n" for i in range(20_000)) + BASE,
    "many_values": "description: [" + "1," * 120_000 + "]" + BASE,
    "a_megabyte": "description: " + "x" * (1 << 20) + BASE,
    "long_stage": _with("  length: {least: 1}", "  " + "abcdefgh" * 12 + ": {}"),
    "stage_is_a_list": _with("{least: 1}", "[[[[1]]]]"),
    "cycle": _with("{least: 1}", "{least: 1, from: length}"),
    "unterminated": BASE + 'x: "',
    "tabs": BASE.replace("  ", "\t"),
    "control": "name: \x07" + BASE,
    "plain_bytes": "\x7fELF",
}

_VALUES = [
    "~", "[]", "{}", "true", "-1", "1e999", "'x'", '""', "[[]]", "{a: {}}", "1.5", "9999999999999999999999", "-0", "0x1F",
    "010", "&a x", "*a", "!x y", "[1, {b: 2}]", "'\\n'", '"\\n"', '"\\uffff"', ".5", "1_000", "2024-01-01", "? a", "- a", "|",
    ">", "@", "`", "%", "*", "**", "../..", "~/x", "file://", "s3://", "http://[", "C:\\x", "'{'", "{root}",
]  # fmt: skip


def mutations(count: int, seed: int = 12) -> Iterator[tuple[str, str]]:
    """`count` configs, each the good one with one value, key or line changed."""
    random_ = random.Random(seed)
    places = [
        "name: good", "format: parquet", '["{root}/in/*.parquet"]', '"{root}/in/*.parquet"', "{least: 1}", "least: 1",
        '{path: "{root}/out/corpus"}', '"{root}/out/corpus"', "  length: {least: 1}", "sources:", "stages:", "outputs:",
    ]  # fmt: skip
    for index in range(count):
        place, value = random_.choice(places), random_.choice(_VALUES)
        kind = random_.randrange(4)
        key = place.split(":")[0] if place.endswith(("good", "parquet", "1")) else ""
        new = f"{key}: {value}" if key and kind else value
        text = BASE.replace(place, new, 1)
        if kind == 3:
            at = random_.randrange(len(text))
            text = text[:at] + random_.choice(_VALUES) + text[at:]
        yield f"mutation_{index}", text
