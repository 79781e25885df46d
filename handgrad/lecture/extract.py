"""Answers found in a flat notebook: for each gradient of an outline the statements that compute it."""

import ast
import builtins
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from handgrad.lecture.candidate import Answer
from handgrad.lecture.flow import Flow, Slices, Use, Version
from handgrad.lecture.likeness import DRAWS
from handgrad.lecture.outline import Outline
from handgrad.lecture.renaming import can_rename, renamed
from handgrad.lecture.statements import Statement
from handgrad.verdict import Note


@dataclass(slots=True)
class Taken:
    """Code by target, the cells it came from, and what there is to say."""

    code: dict[str, str] = field(default_factory=dict)
    cells: dict[str, tuple[int, ...]] = field(default_factory=dict)
    undefined: set[str] = field(default_factory=set)
    notes: list[Note] = field(default_factory=list)


class Extraction:
    """One outline's answers out of the statements of one notebook.

    `setup` says of a statement whether it comes before all answers, so that what it binds under a
    given name is taken for given.
    """

    def __init__(
        self,
        through: Flow,
        outline: Outline,
        forward: Mapping[Version, str],
        setup: Callable[[int], bool],
        also_given: Callable[[Version], bool] = lambda version: False,
    ) -> None:
        self.flow = through
        self.outline = outline
        self.forward = forward
        self.setup = setup
        self.also_given = also_given
        self.names: dict[Version, str] = {}
        self._own = self._rebound()
        self.slices = Slices(through, self.given)
        self.at = {statement.index: at for at, statement in enumerate(through.statements)}

    # ---- what is given

    def given(self, version: Version) -> bool:
        """Whether the course notebook has it already, under the name that the code will use."""
        if self.also_given(version):
            return True
        if version in self.forward:
            return self.name_of(version) == self.forward[version]
        if version.name not in self.outline.given:
            return False
        return self._is_constant(version) or (
            self.setup(version.creator) and version not in self._own
        )

    def _rebound(self) -> set[Version]:
        """Versions by which a value that was computed as in the course became something else."""
        computed: set[str] = set()
        own = set()
        for version in self.flow.versions:
            if version in self.forward:
                computed.add(version.name)
            elif version.name in computed & set(self.outline.values):
                own.add(version)
        return own

    def name_of(self, version: Version) -> str:
        """What the version is called in the code that is handed on."""
        return self.names.get(version, version.name)

    def _is_constant(self, version: Version) -> bool:
        """`n = 32`, `n = batch_size`: the course has its own number."""
        at = self.at.get(version.creator)
        if at is None:
            return True
        match self.flow.statements[at].node:
            case ast.Assign(value=ast.Constant()):
                return True
            case ast.Assign(value=ast.Name(name)):
                return name in self.outline.same or self.outline.same.get(version.name) == name
        return False

    # ---- from answers to code

    def code(self, answers: Sequence[Answer]) -> Taken:
        """The answers' statements, each where the outline asks for it."""
        taken = Taken()
        self.name_forward()
        answers = [answer for answer in answers if self._understood(answer, taken)]
        order = {target: at for at, target in enumerate(self.outline.answers)}
        answers = sorted(answers, key=lambda answer: order[answer.target])
        unnamed = self._name_answers(answers, taken)
        self._read_last_answers(answers)
        self._name_own(answers)
        cells = self._arranged([answer.use for answer in answers])
        place = {
            s: answer.target for answer, each in zip(answers, cells, strict=True) for s in each
        }
        for answer, statements in zip(answers, cells, strict=True):
            lines = list(self._lines(statements))
            if not statements:
                with_ = place.get(answer.version.creator, "")
                lines = [f"# {answer.target} was computed above, with {with_}"]
            if answer in unnamed:
                lines.append(f"{answer.target} = {answer.version.name}")
            taken.code[answer.target] = "\n".join(lines)
            taken.cells[answer.target] = self._cells(self.slices.makers(answer.use))
            taken.undefined |= self._undefined(statements)
        return taken

    def _cells(self, statements: Iterable[int]) -> tuple[int, ...]:
        return tuple(sorted({self.flow.statements[self.at[s]].cell for s in statements}))

    def _lines(self, statements: Sequence[int]) -> Iterator[str]:
        cell = 0
        for index in statements:
            statement = self.flow.statements[self.at[index]]
            if statement.cell != cell:
                cell = statement.cell
                yield f"# cell {cell}"
            yield self.text(statement)

    def text(self, statement: Statement) -> str:
        """The statement with the names that its versions go by."""
        read = {
            name: self.name_of(use.version)
            for name, use in self.slices.uses(statement.index).items()
            if self.name_of(use.version) != name
        }
        bound = {
            name: self.name_of(version)
            for name, version in self.flow.makes[self.at[statement.index]].items()
            if self.name_of(version) != name
        }
        return renamed(statement.text, read, bound)

    def statement(self, index: int) -> Statement:
        return self.flow.statements[self.at[index]]

    # ---- names

    def _mentions(self, version: Version) -> Iterator[tuple[Statement, str]]:
        """Statements that make, read or change the version, and the name they do so under."""
        for at, statement in enumerate(self.flow.statements):
            if self.flow.makes[at].get(version.name) is version:
                yield statement, version.name
            for name, use in self.slices.uses(statement.index).items():
                if use.version is version:
                    yield statement, name

    def rename(self, version: Version, name: str) -> bool:
        """Call the version so from now on, if every mention of it can be told apart."""
        if not all(can_rename(s.node, used) for s, used in self._mentions(version)):
            return False
        self.names[version] = name
        return True

    def name_forward(self) -> None:
        for version, name in self.forward.items():
            if version.name != name:
                self.rename(version, name)

    def _name_answers(self, answers: Sequence[Answer], taken: Taken) -> list[Answer]:
        """Give the answers the names that the course asks for; those that cannot have them come back."""
        unnamed = []
        for answer in answers:
            used = answer.version.name
            if used != answer.target:
                if not self.rename(answer.version, answer.target):
                    unnamed.append(answer)
                parts = {"name": answer.target, "used": used}
                taken.notes.append(Note(f"lecture_{answer.how}", parts))
        return unnamed

    def _name_own(self, answers: Sequence[Answer]) -> None:
        """Variables of the student's own that have a given variable's name get another one.

        Not where the code is one cell that has no use for the given one; from one cell to the next
        given variables are put back, so theirs would be lost.
        """
        live = self.slices.behind(*(answer.use for answer in answers))
        read = {use.version for s in live for use in self.slices.uses(s).values()}
        for version in self.flow.versions:
            name = self.name_of(version)
            if version.creator not in live or name not in self.outline.given:
                continue
            if self.given(version) or version not in read:
                continue
            if len(answers) > 1 or any(self.name_of(v) == name for v in read if self.given(v)):
                self.rename(version, f"own_{name}")

    def _arranged(self, uses: Sequence[Use]) -> tuple[tuple[int, ...], ...]:
        """Statements by answer; without the replaced uses, then without regard to names, if need be."""
        cells = self.slices.arrange(uses, self.name_of)
        if cells is None:
            self.slices.instead.clear()
            cells = self.slices.arrange(uses, self.name_of)
        if cells is None:  # a given name that is bound anew and could not be called otherwise
            cells = self.slices.arrange(uses, lambda version: str(id(version)))
        assert cells is not None, "values alone follow the order of the notebook"
        return cells

    # ---- which version is read

    def _read_last_answers(self, answers: Sequence[Answer]) -> None:
        """Let every reader of an earlier answer read the one that counts.

        As in the course, where a gradient has one cell. Not where the answer itself was made from the
        earlier one, nor where a reader comes before it in the making of it.
        """
        by_name: dict[str, list[Answer]] = {}
        for answer in answers:
            for name in {answer.version.name, answer.target}:
                by_name.setdefault(name, []).append(answer)
        for name, candidates in by_name.items():
            if len(candidates) > 1:
                continue
            answer = candidates[0]
            behind = self.slices.behind(answer.use)
            for statement in self.flow.statements:
                if statement.index in behind:
                    continue
                effect = self.flow.effects[self.at[statement.index]]
                use = self.slices.uses(statement.index).get(name)
                if name not in effect.reads or (use is None and name in effect.binds):
                    continue
                if use is not None and (
                    use.version is answer.version or use.version.creator in behind
                ):
                    continue
                if use is not None and name in effect.changes:
                    continue
                self.slices.instead[statement.index, name] = answer.use

    # ---- what cannot be taken

    def _understood(self, answer: Answer, taken: Taken) -> bool:
        """False, with a note, where the slice would draw data of its own."""
        for index in sorted(self.slices.behind(answer.use)):
            statement = self.flow.statements[self.at[index]]
            if called(statement.node) & DRAWS:
                bound = ", ".join(sorted(self.flow.effects[self.at[index]].binds))
                taken.notes.append(
                    Note(
                        "lecture_not_understood",
                        {"name": answer.target, "used": bound, "cell": str(statement.cell)},
                    )
                )
                return False
        return True

    def _undefined(self, statements: Iterable[int]) -> set[str]:
        """Names that the statements read and nothing has bound."""
        missing: set[str] = set()
        for index in statements:
            at = self.at[index]
            known = self.slices.uses(index).keys() | self.outline.given | set(dir(builtins))
            missing |= set(self.flow.effects[at].reads) - known
        return missing


def called(node: ast.stmt) -> set[str]:
    """Names of the functions and methods that the statement calls, not those it only defines."""
    if isinstance(node, ast.FunctionDef | ast.ClassDef):
        return set()
    found = set()
    for each in ast.walk(node):
        match each:
            case ast.Call(func=ast.Attribute(attr=name)) | ast.Call(func=ast.Name(name)):
                found.add(name)
    return found
