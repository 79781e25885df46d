"""Which names an expression may share its memory with; a guess on the cautious side."""

import ast
from collections.abc import Iterator


def _names(text: str) -> frozenset[str]:
    return frozenset(text.split())


# Methods and functions whose result may be the very memory of a tensor they are given.
_VIEWS = _names(
    "view view_as reshape reshape_as flatten unflatten ravel squeeze unsqueeze transpose permute t "
    "movedim swapaxes swapdims expand expand_as broadcast_to narrow select unfold diagonal chunk "
    "split unbind detach contiguous to cpu cuda float double type type_as numpy as_strided "
    "from_numpy as_tensor atleast_2d enumerate zip iter reversed Variable"
)
_VIEW_ATTRIBUTES = _names("T mT H data real")
CONTAINER_CHANGES = _names(
    "append extend insert update setdefault pop remove add discard clear sort reverse"
)
NO_CHANGE = _names("grad requires_grad retain_grad requires_grad_")


def roots(node: ast.expr) -> frozenset[str]:
    """The names whose memory the expression's value may share."""
    match node:
        case ast.Name(name):
            return frozenset({name})
        case ast.Subscript(value=owner):
            return roots(owner)
        case ast.Attribute(value=owner, attr=attribute):
            return roots(owner) if attribute in _VIEW_ATTRIBUTES else frozenset()
        case ast.Call(func=ast.Attribute(value=owner, attr=method), args=arguments):
            if method in _VIEWS or (method.endswith("_") and not method.endswith("__")):
                if is_module(owner):  # torch.transpose(x, 0, 1)
                    return roots(arguments[0]) if arguments else frozenset()
                return roots(owner)
        case ast.Call(func=ast.Name(function), args=arguments) if function in _VIEWS:
            return frozenset().union(*map(roots, arguments))
        case ast.IfExp(body=first, orelse=second):
            return roots(first) | roots(second)
        case ast.BoolOp(values=values):
            return frozenset().union(*map(roots, values))
        case ast.NamedExpr(target=target):
            return roots(target)
        case ast.Starred(inner):
            return roots(inner)
    return frozenset()


def is_module(node: ast.expr) -> bool:
    """Whether a function is asked of torch or numpy, not of a tensor."""
    while isinstance(node, ast.Attribute):
        node = node.value
    return isinstance(node, ast.Name) and node.id in ("torch", "nn", "init", "F", "np")


def items(target: ast.expr, source: ast.expr) -> Iterator[tuple[ast.expr, ast.expr]]:
    """What goes through what: each part of `for a, b in zip(x, y)` through its own."""
    match target, source:
        case ast.Tuple(targets), ast.Call(func=ast.Name("zip"), args=sources) if len(
            targets
        ) == len(sources):
            for each, its_source in zip(targets, sources, strict=True):
                yield from items(each, its_source)
        case ast.Tuple([_, inner]), ast.Call(func=ast.Name("enumerate"), args=[its_source, *_]):
            yield from items(inner, its_source)
        case _:
            yield target, source
