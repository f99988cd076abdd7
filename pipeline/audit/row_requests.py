"""What the reading process of an audit that does not go back to the input answers: it loads nothing that plans or runs.

Shuffled outputs, kinds and revocation lists bring kernels, writers and readers of lists along, which are loaded when the first
of them is asked about.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from gristmill.pipeline.audit.file_list import listing
from gristmill.pipeline.audit.open_files import footers
from gristmill.pipeline.audit.removals import keyed_digests
from gristmill.pipeline.audit.sidecar_rows import check_sidecar
from gristmill.pipeline.audit.task_checks import check_task, scan_shards
from gristmill.pipeline.without_pandas import without_pandas


def _check_shard(argument: Mapping[str, Any]) -> dict[str, Any]:
    from gristmill.pipeline.audit.shuffle import check_shard

    return check_shard(argument)


def _check_kind(argument: Mapping[str, Any]) -> dict[str, Any]:
    from gristmill.pipeline.audit.kind_again import check_kind

    return check_kind(argument)


def _check_revoked(argument: Mapping[str, Any]) -> dict[str, Any]:
    from gristmill.pipeline.audit.revoked import check_revoked

    return check_revoked(argument)


def _pair_keys(argument: Mapping[str, Any]) -> dict[str, Any]:
    from gristmill.pipeline.audit.pair import pair_keys

    return pair_keys(argument)


def _pair_rows(argument: Mapping[str, Any]) -> dict[str, Any]:
    from gristmill.pipeline.audit.pair import pair_rows

    return pair_rows(argument)


FUNCTIONS: Mapping[str, Callable[[Any], Any]] = {
    "footers": footers,
    "listing": listing,
    "scan_shards": scan_shards,
    "check_task": check_task,
    "check_shard": _check_shard,
    "check_sidecar": check_sidecar,
    "check_kind": _check_kind,
    "keyed_digests": keyed_digests,
    "check_revoked": _check_revoked,
    "pair_keys": _pair_keys,
    "pair_rows": _pair_rows,
}
BEGIN = without_pandas
