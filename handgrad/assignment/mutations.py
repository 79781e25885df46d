"""The syntax tree of a right answer with one operation left out, or exchanged for another."""

import ast
import copy
from collections.abc import Iterator
from typing import Any

_Change = tuple[str, ast.AST]  # what is wrong with it, and what stands there instead
_MASKS = ("masked_fill", "tril", "triu", "where")
_TURNS = ("t", "transpose", "permute", "swapaxes")


def changed(source: str) -> Iterator[tuple[str, str, str]]:
    """By mutant what is wrong, the operation that was there, and the code; each code once."""
    tree = ast.parse(source)
    codes = {ast.unparse(tree)}
    for at, node in enumerate(ast.walk(tree)):
        for what, instead in _instead(node):
            mutant = copy.deepcopy(tree)
            old = [*ast.walk(mutant)][at]
            code = ast.unparse(_Put(old, instead).visit(mutant))
            if code not in codes:
                codes.add(code)
                yield what, ast.unparse(node), code


class _Put(ast.NodeTransformer):
    """Puts an expression in the place of another."""

    def __init__(self, old: ast.AST, instead: ast.AST) -> None:
        self._old = old
        self._instead = instead

    def visit(self, node: ast.AST) -> Any:
        return self._instead if node is self._old else self.generic_visit(node)


def _instead(node: ast.AST) -> Iterator[_Change]:
    """What a person might have written in the place of an expression."""
    match node:
        case ast.BinOp(left, ast.Add() | ast.Sub() as op, right):
            negative = isinstance(op, ast.Sub)
            yield "an addend left out", left
            yield "an addend left out", ast.UnaryOp(ast.USub(), right) if negative else right
            yield "a sign", ast.BinOp(left, ast.Add() if negative else ast.Sub(), right)
        case ast.BinOp(left, ast.Mult(), right):
            yield "a factor left out", left
            yield "a factor left out", right
        case ast.BinOp(left, ast.Div() | ast.Pow(), _):
            yield "a factor left out", left
        case ast.UnaryOp(ast.USub(), operand):
            yield "a sign", operand
        case ast.Assign(targets, value):
            yield "a sign", ast.Assign(targets, ast.UnaryOp(ast.USub(), value), lineno=0)
        case ast.AugAssign(target, ast.Add() | ast.Sub() as op, value):
            other = ast.Sub() if isinstance(op, ast.Add) else ast.Add()
            yield "an addend left out", ast.Pass()
            yield "a sign", ast.AugAssign(target, other, value)
        case ast.AugAssign() | ast.Expr(ast.Call(func=ast.Attribute(ast.Name()))):
            yield "a line left out", ast.Pass()
        case ast.Attribute(value, "T" | "mT"):
            yield "a transpose left out", value
        case ast.Call():
            yield from _call(node)


def _call(node: ast.Call) -> Iterator[_Change]:
    match node.func:
        case ast.Attribute(ast.Name("torch"), "where") if len(node.args) == 3:
            yield "a mask left out", node.args[1]
        case ast.Attribute(value, name) if name in _MASKS:
            yield "a mask left out", value
        case ast.Attribute(value, name) if name in _TURNS:
            yield "a transpose left out", value
        case ast.Attribute(value, "sum" | "mean" as name):
            other = ast.Attribute(value, "mean" if name == "sum" else "sum")
            yield f"a {name} left out", value
            yield f"a {other.attr} for a {name}", ast.Call(other, node.args, node.keywords)
    for at, argument in enumerate(node.args):
        if isinstance(argument, ast.Constant) and type(argument.value) is int:
            args = [*node.args]
            args[at] = ast.Constant(int(not argument.value))
            yield "another axis", ast.Call(node.func, args, node.keywords)
