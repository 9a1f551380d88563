"""Filter, select and sort the table of runs by the user's options.

An expression of ``--where`` is parsed as Python, checked against an allow-list of syntax, and then
evaluated by pandas. It cannot call functions, and can use only the names of columns.
"""

from __future__ import annotations

import ast
import difflib
from collections.abc import Sequence

import pandas as pd

from clsbench.errors import UsageError

EXAMPLE = "\"test_accuracy > 0.9 and freezing == 'all'\""

_ALLOWED = (
    *(ast.Expression, ast.BoolOp, ast.And, ast.Or, ast.UnaryOp, ast.Not, ast.USub, ast.UAdd),
    *(ast.Compare, ast.Eq, ast.NotEq, ast.Lt, ast.LtE, ast.Gt, ast.GtE, ast.In, ast.NotIn),
    *(ast.BinOp, ast.Add, ast.Sub, ast.Mult, ast.Div),
    *(ast.Name, ast.Load, ast.Constant, ast.List, ast.Tuple),
)
_LONGEST_EXPRESSION = 2000


def where(table: pd.DataFrame, expression: str) -> pd.DataFrame:
    """The rows for which ``expression`` is true; comparisons with a missing value are false.

    An expression may contain column names, numbers, text in quotes, ``== != < <= > >= in``,
    ``+ - * /``, ``and or not`` and brackets. ``'size=small' in backbone`` is a substring test.

    Raises:
        UsageError: other syntax is used, a column is unknown, or types do not match.
    """
    tree = _parse(expression)
    _check(tree, expression, table)
    tree = ast.fix_missing_locations(_PartsOfText(table).visit(tree))
    try:
        chosen = _with_plain_numbers(table).eval(ast.unparse(tree), engine="python")
    # pandas does not document which exceptions eval() raises for mismatched types.
    except Exception as error:
        raise UsageError(f"--where {expression!r} cannot be evaluated: {error}") from None
    if not isinstance(chosen, pd.Series) or not pd.api.types.is_bool_dtype(chosen.dtype):
        raise UsageError(
            f"--where {expression!r} is not true or false for each run; use a comparison, such as "
            f"{EXAMPLE}"
        )
    return table[chosen.astype(bool)]


def choose_columns(table: pd.DataFrame, names: Sequence[str]) -> pd.DataFrame:
    """Select columns, in this order; ``stand_ins`` is added if a run has stand-ins.

    Raises:
        UsageError: a column is unknown, or ``names`` is empty.
    """
    chosen = list(dict.fromkeys(names))
    if not chosen:
        raise UsageError(
            "--columns is empty; use column names, such as --columns run,test_accuracy, or all"
        )
    for name in chosen:
        _check_column(name, table)
    if "stand_ins" not in chosen and (table["stand_ins"] != "").any():
        chosen.append("stand_ins")
    return table[chosen]


def sort_by(table: pd.DataFrame, keys: Sequence[str]) -> pd.DataFrame:
    """Sort by columns, missing values last; ``-test_accuracy`` sorts in descending order.

    Raises:
        UsageError: a column is unknown.
    """
    names = [key.removeprefix("-") for key in keys]
    for name in names:
        _check_column(name, table)
    ascending = [not key.startswith("-") for key in keys]
    return table.sort_values(names, ascending=ascending, kind="stable", na_position="last")


def _with_plain_numbers(table: pd.DataFrame) -> pd.DataFrame:
    """Convert counts to floats, so that comparisons with a missing count are false."""
    counts = [name for name in table.columns if isinstance(table[name].dtype, pd.Int64Dtype)]
    return table.astype(dict.fromkeys(counts, "float64"))


def _check_column(name: str, table: pd.DataFrame) -> None:
    if name not in table.columns:
        close = _close(name, list(map(str, table.columns)))
        hint = f"did you mean {' or '.join(close)}?" if close else "--columns all shows all columns"
        raise UsageError(f"no column {name!r}; {hint}")


def _close(name: str, names: Sequence[str]) -> list[str]:
    """The closest names, or else those that contain ``name``."""
    found = difflib.get_close_matches(name, names, n=3)
    return found or [other for other in names if name and name.lower() in other][:3]


def _parse(expression: str) -> ast.Expression:
    if len(expression) > _LONGEST_EXPRESSION:
        raise UsageError(f"--where: the expression has more than {_LONGEST_EXPRESSION} characters")
    try:
        return ast.parse(expression.strip(), mode="eval")
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        reason = error.msg if isinstance(error, SyntaxError) else error
        raise UsageError(
            f"--where {expression!r} is not a valid expression: {reason}; put text in quotes, as "
            f"in {EXAMPLE}"
        ) from None


def _check(tree: ast.Expression, expression: str, table: pd.DataFrame) -> None:
    for node in ast.walk(tree):
        if isinstance(node, ast.Compare):
            _refuse_bare_text(node, expression, table)
        if isinstance(node, ast.BitAnd | ast.BitOr | ast.Invert):
            raise UsageError(f"--where {expression!r}: use 'and', 'or', 'not' instead of &, |, ~")
        if not isinstance(node, _ALLOWED):
            raise UsageError(
                f"--where {expression!r}: {_words(node)} is not supported; use columns, numbers, "
                f"text, comparisons, 'and', 'or' and 'not', as in {EXAMPLE}"
            )
        if isinstance(node, ast.Name):
            _check_column(node.id, table)
        if isinstance(node, ast.Constant) and not isinstance(node.value, bool | int | float | str):
            raise UsageError(
                f"--where {expression!r}: {node.value!r} is not supported; use numbers and text"
            )


def _refuse_bare_text(node: ast.Compare, expression: str, table: pd.DataFrame) -> None:
    """Refuse ``freezing == all``, where text that is compared with a column has no quotes."""
    sides = [node.left, *node.comparators]
    columns = [side.id for side in sides if isinstance(side, ast.Name) and _is_text(table, side.id)]
    for side in sides if columns else ():
        parts = side.elts if isinstance(side, ast.List | ast.Tuple) else [side]
        for part in parts:
            names = [n.id for n in ast.walk(part) if isinstance(n, ast.Name)]
            if not names or all(name in table.columns for name in names):
                continue
            text = ast.get_source_segment(expression.strip(), part) or names[0]
            column = columns[0]
            close = _close(text, sorted(set(table[column])))
            like = [repr(value) for value in close if value != text]
            hint = f" (did you mean {' or '.join(like)}?)" if like and text not in close else ""
            raise UsageError(
                f"--where {expression!r}: no column {text!r}; {column} holds text, so put "
                f"text in quotes: {text!r}{hint}"
            )


def _is_text(table: pd.DataFrame, name: str) -> bool:
    return name in table.columns and pd.api.types.is_string_dtype(table[name].dtype)


def _words(node: ast.AST) -> str:
    names = {ast.Call: "a function call", ast.Attribute: "a dot", ast.Subscript: "a subscript"}
    return names.get(type(node), f"{type(node).__name__!r}")


class _PartsOfText(ast.NodeTransformer):
    """Translates ``'small' in backbone`` to pandas."""

    def __init__(self, table: pd.DataFrame) -> None:
        self._texts = {
            str(name) for name in table.columns if pd.api.types.is_string_dtype(table[name].dtype)
        }

    def visit_Compare(self, node: ast.Compare) -> ast.AST:
        self.generic_visit(node)
        if len(node.ops) != 1 or not isinstance(node.ops[0], ast.In | ast.NotIn):
            return node
        part, whole = node.left, node.comparators[0]
        if not (isinstance(part, ast.Constant) and isinstance(part.value, str)):
            return node
        if not (isinstance(whole, ast.Name) and whole.id in self._texts):
            return node
        method = ast.Attribute(ast.Attribute(whole, "str", ast.Load()), "contains", ast.Load())
        call = ast.Call(method, [part], [ast.keyword("regex", ast.Constant(False))])
        return call if isinstance(node.ops[0], ast.In) else ast.UnaryOp(ast.Not(), call)
