"""Verifies a Gristmill output with nothing but pyarrow, as provenance.md says: verify_output.py DIR [OTHER OUTPUT]…"""
import hashlib, json, pathlib, sys, pyarrow as pa, pyarrow.compute as pc, pyarrow.parquet as pq, pyarrow.types as t
def sha256(data): return hashlib.sha256(data).hexdigest()
def number(text): return {"float": float(text).hex()}  # a float's canonical form
def canonical(value): return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
def digest(tag, value): return sha256(f"{tag}\0{canonical(value)}".encode())
def merkle(leaves):  # RFC 6962
    level = [sha256(b"\0" + bytes.fromhex(leaf)) for leaf in leaves] or [sha256(b"")]
    while len(level) > 1: level = [sha256(b"\1" + bytes.fromhex(a + b)) for a, b in zip(level[::2], level[1::2])] + level[len(level) // 2 * 2 :]
    return level[0]
def raw(a, width): return bytes(a.buffers()[1])[a.offset * width:][:len(a) * width] if len(a) else b""
def describe(a):  # a column: [logical type, SHA-256 of its shape, SHA-256 of its values, children]
    kind, full, marks = a.type, a.drop_null(), sha256(raw(a.is_valid().cast(pa.uint8()), 1))
    if t.is_map(kind):  # is written like the list of pairs that it is
        pair = pa.struct([pa.field("key", kind.key_type, False), pa.field("value", kind.item_type)])
        _, shape, values, ((_, _, _, both),) = describe(a.cast(pa.list_(pair)))
        return [f"map<{both[0][0]},{both[1][0]}>", shape, values, both]
    if t.is_struct(kind):
        parts = [describe(child) for child in full.flatten()]
        return [f"struct<{','.join(f'{f.name}:{p[0]}' for f, p in zip(kind, parts))}>", marks, sha256(b""), parts]
    if (nested := t.is_nested(kind)) or str(kind).removeprefix("large_") in ("string", "binary"):
        lengths = pc.list_value_length(a) if nested else pc.binary_length(a)
        shape = sha256(raw(pc.fill_null(lengths.cast(pa.int64()), -1), 8))
        values = b"" if nested else b"".join(full.cast(pa.large_binary()).to_pylist())
        child, size = [describe(full.flatten())] if nested else [], f"[{getattr(kind, 'list_size', '')}]".replace("[]", "")
        return [f"list<{child[0][0]}>{size}" if nested else str(kind).removeprefix("large_"), shape, sha256(values), child]
    full = full.cast(pa.uint8()) if t.is_boolean(kind) else full
    full = pc.if_else(pc.is_nan(full), pa.scalar(float("nan"), kind), full) if t.is_floating(kind) else full
    return [f"binary[{kind.byte_width}]" if t.is_fixed_size_binary(kind) else str(kind), marks, sha256(raw(full, full.type.bit_width // 8)), []]
def verify(folder, *others):  # yields (whether it holds, what); the others hold files that outputs share
    statement = json.loads((folder / "manifest.json").read_bytes(), parse_float=number, parse_constant=number)
    predicate, named = statement["predicate"], {s["name"]: s["digest"].get("sha256") for s in statement["subject"][1:]}
    seal, own = predicate["varies"].pop("statement"), {k: predicate[k] for k in predicate.keys() - {"digest", "varies"}}
    yield seal == digest("gristmill.statement", statement), "manifest.json: the statement's digest"
    yield predicate["digest"] == digest("gristmill.manifest", own), "manifest.json: the predicate's digest"
    place = {json.loads((p / "manifest.json").read_bytes())["predicate"]["output"]: p for p in (*others, folder)}
    files = {f["path"]: f for f in pq.read_table(folder / "files.parquet").to_pylist()}
    data = [f for f in files.values() if f["role"] == "data"]
    yield merkle(f["content_digest"] for f in data) == predicate["data"]["root"], "Merkle root of the shards' content"
    at = {path: place.get(f.get("output", predicate["output"])) for path, f in files.items()} | dict.fromkeys(named, folder)
    for path, expected in {**named, **{path: f["sha256"] for path, f in files.items()}}.items():
        sound = at[path] and (at[path] / path).is_file() and sha256((at[path] / path).read_bytes()) == expected
        yield sound, f"{path}: its SHA-256" + ("" if at[path] else f": give the folder of output {files[path]['output']} too")
        files = files if sound else {p: f for p, f in files.items() if p != path}
    there = {p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file()} - {"manifest.dsse.json"}
    yield there == {"manifest.json", *(p for p in at if at[p] == folder)}, "the files that are there are those that are listed"
    for path in [p for p in files if not p.endswith(".parquet")]:  # of a kind: its content is what it holds uncompressed
        plain = pa.input_stream(at[path] / path, compression={".zst": "zstd"}.get(path[-4:])).read()
        yield sha256(plain) == files.pop(path)["content_digest"], f"{path}: content digest"
    for path, f in files.items():
        table, log = pq.ParquetFile(at[path] / path).read(), pq.read_metadata(at[path] / path).metadata.get(b"gristmill.log", b"{}")
        columns = sorted([n, digest("gristmill.column", [n, *describe(table[n].combine_chunks())])] for n in table.column_names)
        told = {"run": predicate["run"], "rows": len(table), "content_digest": digest("gristmill.content", [len(table), columns])}
        yield told["content_digest"] == f["content_digest"], f"{path}: content digest"
        keys = f"{sum(int.from_bytes(key, 'big') for key in (table['doc_key'].to_pylist() if f['role'] == 'data' else [])) % 2**128:032x}"
        yield f["role"] != "data" or keys == f["keys"] and {**told, "keys": keys}.items() <= json.loads(log).items(), f"{path}: its log"
    sent = predicate["accounts"]["outputs"][predicate["output"]].values()
    lacking = sum(int(e["keys"], 16) for e in sent) - sum(int(f["keys"], 16) for f in data)
    yield lacking % 2**128 == 0 == sum(e["rows"] for e in sent) - sum(f["rows"] for f in data), "the rows that were sent here"
sys.exit("\n".join(f"FAILED: {what}" for ok, what in verify(*map(pathlib.Path, sys.argv[1:])) if not ok) or print("verified"))
