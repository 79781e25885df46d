"""One statement with other names in it, everything else as it was written."""

import ast
from collections.abc import Mapping

from handgrad.lecture.statements import Source

_SCOPES = (
    ast.FunctionDef,
    ast.AsyncFunctionDef,
    ast.ClassDef,
    ast.Lambda,
    ast.ListComp,
    ast.SetComp,
    ast.DictComp,
    ast.GeneratorExp,
)


def renamed(text: str, read: Mapping[str, str], bound: Mapping[str, str]) -> str:
    """`text` with names replaced where they are read, and where they are bound.

    In `x += 1` the `x` is one that is read. Names inside strings, f-strings included, stay.
    """
    if not read and not bound:
        return text
    tree = ast.parse(text)
    changed_in_place = {
        id(node.target) for node in ast.walk(tree) if isinstance(node, ast.AugAssign)
    }
    in_strings = {
        id(name)
        for joined in ast.walk(tree)
        if isinstance(joined, ast.JoinedStr)
        for name in ast.walk(joined)
    }
    source = Source(text)
    edits = []
    for node in ast.walk(tree):
        if not isinstance(node, ast.Name) or id(node) in in_strings:
            continue
        is_read = isinstance(node.ctx, ast.Load) or id(node) in changed_in_place
        new = (read if is_read else bound).get(node.id)
        if new is not None:
            edits.append((*source.span(node), new))
    for start, end, new in sorted(edits, reverse=True):
        text = text[:start] + new + text[end:]
    return text


def can_rename(node: ast.stmt, name: str) -> bool:
    """Whether every mention of the name in the statement is one that `renamed` tells apart."""
    mentions = [each for each in ast.walk(node) if isinstance(each, ast.Name) and each.id == name]
    if not mentions:
        return False  # it is read by a function that the statement calls
    for scope in ast.walk(node):
        if isinstance(scope, _SCOPES) and any(_binds(part, name) for part in ast.walk(scope)):
            return False
    simple = isinstance(node, ast.Assign | ast.AugAssign | ast.AnnAssign | ast.Expr)
    contexts = {type(each.ctx) for each in mentions}
    return simple or len(contexts) == 1


def _binds(node: ast.AST, name: str) -> bool:
    match node:
        case ast.Name(id=found, ctx=ast.Store()) | ast.arg(arg=found):
            return found == name
        case ast.Global(names) | ast.Nonlocal(names):
            return name in names
    return False
