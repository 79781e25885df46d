"""What one statement does to names: which it reads, which it binds, which it changes in place."""

import ast
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from handgrad.lecture.alias import CONTAINER_CHANGES, NO_CHANGE, is_module, items, roots


@dataclass(frozen=True, slots=True)
class Function:
    """What calling a function of the notebook's own does to the names around it."""

    parameters: tuple[str, ...]
    reads: frozenset[str]
    binds: frozenset[str]  # declared `global`
    changes: frozenset[str]
    changed_parameters: frozenset[str]


@dataclass(frozen=True, slots=True)
class Effects:
    """Names from the point of view of the statements around this one.

    A name is in `reads` where its value from before matters; one that is bound first inside the
    statement (a loop variable) is not. `aliases` (a, b): afterwards `a` may be the object of `b`.
    """

    reads: frozenset[str]
    binds: frozenset[str]
    changes: frozenset[str]
    aliases: frozenset[tuple[str, str]]
    functions: Mapping[str, Function] = field(default_factory=dict)
    imports: bool = False


def effects(node: ast.stmt, functions: Mapping[str, Function]) -> Effects:
    """The effects of a statement, where `functions` are those defined before it."""
    walk = _Walk(functions, frozenset())
    walk.visit(node)
    return walk.effects(isinstance(node, ast.Import | ast.ImportFrom))


class _Walk(ast.NodeVisitor):
    """Goes through a statement in the order in which it runs."""

    def __init__(self, functions: Mapping[str, Function], bound: Iterable[str]) -> None:
        self.functions = dict(functions)
        self.defined: dict[str, Function] = {}
        self.bound = set(bound)  # certain to have been bound inside the statement by now
        self.reads: set[str] = set()
        self.binds: set[str] = set()
        self.changed: set[str] = set()
        self.changed_before: set[str] = set()  # changed while not bound inside
        self.pairs: set[tuple[str, str]] = set()
        self.globals: set[str] = set()

    def effects(self, imports: bool = False) -> Effects:
        changed = self._spread(self.changed)
        changes = self.changed_before | (changed - self.binds)
        return Effects(
            reads=frozenset(self.reads | changes),
            binds=frozenset(self.binds),
            changes=frozenset(changes),
            aliases=frozenset(self.pairs),
            functions=self.defined,
            imports=imports,
        )

    def _spread(self, names: Iterable[str]) -> set[str]:
        """The names and every name that may be the same object."""
        reached = set(names)
        while True:
            more = {b for a, b in self.pairs if a in reached} | {
                a for a, b in self.pairs if b in reached
            }
            if more <= reached:
                return reached
            reached |= more

    # ---- names

    def _read(self, name: str) -> None:
        """The name, and where it is a function's whatever that and the functions it calls read."""
        todo, seen = [name], set()
        while todo:
            each = todo.pop()
            if each in seen:
                continue
            seen.add(each)
            if each not in self.bound:
                self.reads.add(each)
            function = self.functions.get(each)
            if function is None:
                continue
            todo += function.reads
            for changed in function.changes:
                self._change(changed)
            for bound in function.binds:
                self._bind(bound)

    def _bind(self, name: str) -> None:
        self.binds.add(name)
        self.bound.add(name)

    def _change(self, name: str) -> None:
        self.changed.add(name)
        if name not in self.bound:
            self.reads.add(name)
            self.changed_before.add(name)

    def _change_object(self, node: ast.expr) -> None:
        for name in roots(node):
            self._change(name)

    def visit_Name(self, node: ast.Name) -> None:
        if isinstance(node.ctx, ast.Load):
            self._read(node.id)
        elif isinstance(node.ctx, ast.Store):
            self._bind(node.id)

    def visit_Global(self, node: ast.Global) -> None:
        self.globals |= set(node.names)

    # ---- assignments

    def _assign(self, target: ast.expr, value: ast.expr | None) -> None:
        match target:
            case ast.Name(name):
                if value is not None:
                    self.pairs |= {(name, root) for root in roots(value) if root != name}
                self._bind(name)
            case ast.Tuple(targets) | ast.List(targets):
                values: Sequence[ast.expr | None] = [value] * len(targets)
                if isinstance(value, ast.Tuple | ast.List) and len(value.elts) == len(targets):
                    values = value.elts
                for each, its_value in zip(targets, values, strict=True):
                    self._assign(each, its_value)
            case ast.Starred(inner):
                self._assign(inner, value)
            case ast.Subscript(value=owner, slice=index):
                self.visit(owner)
                self.visit(index)
                self._change_object(owner)
            case ast.Attribute(value=owner, attr=attribute):
                self.visit(owner)
                if attribute not in NO_CHANGE:
                    self._change_object(owner)

    def visit_Assign(self, node: ast.Assign) -> None:
        self.visit(node.value)
        for target in node.targets:
            self._assign(target, node.value)
            if isinstance(target, ast.Name):  # `a = b = c()`
                others = {t.id for t in node.targets if isinstance(t, ast.Name)} - {target.id}
                self.pairs |= {(target.id, other) for other in others}

    def visit_AnnAssign(self, node: ast.AnnAssign) -> None:
        if node.value is not None:
            self.visit(node.value)
            self._assign(node.target, node.value)

    def visit_NamedExpr(self, node: ast.NamedExpr) -> None:
        self.visit(node.value)
        self._assign(node.target, node.value)

    def visit_AugAssign(self, node: ast.AugAssign) -> None:
        self.visit(node.value)
        if isinstance(node.target, ast.Name):
            self._read(node.target.id)
            self._change(node.target.id)
        else:
            self._assign(node.target, None)

    def visit_Import(self, node: ast.Import | ast.ImportFrom) -> None:
        for alias in node.names:
            self._bind(alias.asname or alias.name.split(".")[0])

    visit_ImportFrom = visit_Import

    def visit_Call(self, node: ast.Call) -> None:
        self.generic_visit(node)
        for keyword in node.keywords:
            if keyword.arg == "out":
                self._change_object(keyword.value)
        match node.func:
            case ast.Attribute(value=owner, attr=method):
                in_place = method.endswith("_") and not method.endswith("__")
                if (in_place and method not in NO_CHANGE) or method in CONTAINER_CHANGES:
                    self._change_object(owner)
                of_a_module = method == "at" or (in_place and is_module(owner))
                if of_a_module and node.args:  # np.add.at(t, ...), torch.nn.init.x_(t)
                    self._change_object(node.args[0])
            case ast.Name(name) if name in self.functions:
                function = self.functions[name]
                given = dict(zip(function.parameters, node.args, strict=False))
                given |= {k.arg: k.value for k in node.keywords if k.arg is not None}
                for parameter in function.changed_parameters & given.keys():
                    self._change_object(given[parameter])

    # ---- blocks

    def _block(self, body: Sequence[ast.stmt]) -> None:
        for statement in body:
            self.visit(statement)

    def _branches(self, *bodies: Sequence[ast.stmt]) -> None:
        """Blocks of which one runs: what only some of them bind may keep its value from before."""
        before = set(self.bound)
        after = []
        for body in bodies:
            self.bound = set(before)
            self._block(body)
            after.append(self.bound)
        self.bound = set.intersection(*after)
        self.reads |= set.union(*after) - self.bound - before

    def visit_If(self, node: ast.If) -> None:
        self.visit(node.test)
        self._branches(node.body, node.orelse)

    def visit_For(self, node: ast.For | ast.AsyncFor) -> None:
        self.visit(node.iter)
        self._assign(node.target, None)
        for target, source in items(node.target, node.iter):
            names = {n.id for n in ast.walk(target) if isinstance(n, ast.Name)}
            self.pairs |= {(name, root) for name in names for root in roots(source) - {name}}
        self._block(node.body)  # taken to run at least once
        self._block(node.orelse)

    visit_AsyncFor = visit_For

    def visit_Try(self, node: ast.Try) -> None:
        self._branches([*node.body, *node.orelse], *([*handler.body] for handler in node.handlers))
        self._block(node.finalbody)

    def visit_With(self, node: ast.With | ast.AsyncWith) -> None:
        for item in node.items:
            self.visit(item.context_expr)
            if item.optional_vars is not None:
                self._assign(item.optional_vars, item.context_expr)
        self._block(node.body)

    visit_AsyncWith = visit_With

    # ---- scopes of their own

    def _inner(self, parameters: Iterable[str], body: Iterable[ast.AST]) -> "_Walk":
        inner = _Walk(self.functions, parameters)
        for node in body:
            inner.visit(node)
        return inner

    def visit_FunctionDef(self, node: ast.FunctionDef | ast.AsyncFunctionDef) -> None:
        for outside in [*node.decorator_list, *node.args.defaults, *node.args.kw_defaults]:
            if outside is not None:
                self.visit(outside)
        parameters = _parameters(node.args)
        inner = self._inner(parameters, node.body)
        touched = inner._spread(inner.changed)
        local = inner.binds - inner.globals
        function = Function(
            parameters=parameters,
            reads=frozenset(inner.reads),
            binds=frozenset(inner.globals & inner.binds),
            changes=frozenset(inner.effects().changes - set(parameters) - local),
            changed_parameters=frozenset(touched & set(parameters)),
        )
        self.functions[node.name] = function
        self.defined[node.name] = function
        self._bind(node.name)

    visit_AsyncFunctionDef = visit_FunctionDef

    def visit_ClassDef(self, node: ast.ClassDef) -> None:
        inner = self._inner((), [*node.decorator_list, *node.bases, *node.body])
        self.reads |= inner.reads - self.bound
        for function in inner.defined.values():
            self.reads |= function.reads - self.bound - inner.binds
        self._bind(node.name)

    def visit_Lambda(self, node: ast.Lambda) -> None:
        inner = self._inner(_parameters(node.args), [node.body])
        self.reads |= inner.reads - self.bound

    def _comprehension(self, generators: Sequence[ast.comprehension], *results: ast.expr) -> None:
        bound, binds = set(self.bound), set(self.binds)
        for generator in generators:
            self.visit(generator.iter)
            self._assign(generator.target, None)
            for test in generator.ifs:
                self.visit(test)
        for result in results:
            self.visit(result)
        self.bound, self.binds = bound, binds

    def visit_ListComp(self, node: ast.ListComp | ast.SetComp | ast.GeneratorExp) -> None:
        self._comprehension(node.generators, node.elt)

    visit_SetComp = visit_ListComp
    visit_GeneratorExp = visit_ListComp

    def visit_DictComp(self, node: ast.DictComp) -> None:
        self._comprehension(node.generators, node.key, node.value)


def _parameters(arguments: ast.arguments) -> tuple[str, ...]:
    each = [*arguments.posonlyargs, *arguments.args]
    if arguments.vararg is not None:
        each.append(arguments.vararg)
    each += arguments.kwonlyargs
    if arguments.kwarg is not None:
        each.append(arguments.kwarg)
    return tuple(argument.arg for argument in each)
