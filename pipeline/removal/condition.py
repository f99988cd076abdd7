"""A condition in SQL over a table of documents, evaluated by DuckDB, which reaches neither files nor network nor variables."""

from __future__ import annotations

from collections.abc import Callable

import duckdb
import numpy as np
import pyarrow as pa

from gristmill.pipeline.errors import ConfigError

_LOCKED = {
    "enable_external_access": "false",
    "autoinstall_known_extensions": "false",
    "autoload_known_extensions": "false",
    "allow_community_extensions": "false",
    "python_enable_replacements": "false",
    "memory_limit": "4GB",
    "threads": "1",
    "lock_configuration": "true",
}
_ROW = "gristmill_row"


def matching(condition: str) -> Callable[[pa.Table], pa.Array]:
    """Which rows of a table fulfil a condition, as a boolean array; null is false.

    Raises ConfigError for what is no condition over its columns, here where it is not even SQL.
    """
    query = f"select {_ROW} from documents where (\n{condition}\n)"
    database = duckdb.connect(":memory:", config=dict(_LOCKED))
    try:
        # Alone it must be one expression, lest it close the parenthesis and go on: `true) union all select 7 where (true`.
        duckdb.SQLExpression(condition.encode("utf-8").decode("utf-8"))
    except (duckdb.Error, UnicodeEncodeError) as error:
        raise ConfigError(f"{_told(error)} Give one condition, as after WHERE.") from error

    def matches(table: pa.Table) -> pa.Array:
        database.register("documents", table.append_column(_ROW, pa.array(np.arange(table.num_rows))))
        try:
            rows = np.array([row for (row,) in database.execute(query).fetchall()], np.int64)
        except duckdb.Error as error:
            raise ConfigError(f"{_told(error)} The columns are {', '.join(table.column_names)}.") from error
        hit = np.zeros(table.num_rows, bool)
        hit[rows] = True
        return pa.array(hit)

    return matches


def _told(error: Exception) -> str:
    text = str(error).partition("\n")[0].rstrip(".")
    return f"--where: this condition cannot be evaluated ({text:.300})."
