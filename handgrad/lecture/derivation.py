"""A student's own statements in their own order, behind what one of the course's notebooks gives."""

import ast
import builtins
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from handgrad.lecture.choice import Answer, Choice
from handgrad.lecture.effects import bound, draws, is_constant, is_placeholder, needed, reads
from handgrad.lecture.look import Look
from handgrad.lecture.reading import Reading
from handgrad.lecture.statements import Statement
from handgrad.lecture.syllabus import Lesson
from handgrad.notebooks.submission import Piece


class Setup:
    """What of a notebook stands for what a course's notebook gives, and is left out there.

    `formulas` are the statements by which a given value is computed otherwise than in the course, by name.
    """

    def __init__(self, reading: Reading, look: Look) -> None:
        self.reading, self.look = reading, look
        self.formulas: dict[str, int] = {}
        self._rebound: set[int] = set()
        computed, own = set[str](), set[str]()
        values = frozenset(reading.syllabus.step_by_step.outline.values)
        for index, made in sorted(look.made.items()):
            for name in made.keys() & values:
                if name in made[name].values:
                    computed.add(name)
                    if index < reading.first_answer:  # what went before was about something else
                        self.formulas.pop(name, None)
                elif name in computed | self.formulas.keys():
                    own.add(name)
                else:
                    self.formulas[name] = index
                if name in own:
                    self._rebound.add(index)

    def leaves(self, index: int) -> dict[str, str]:
        """The names for the course's leaves that a statement binds, if it binds nothing of its own."""
        own = self.reading.own
        return {name: own[name] for name in sorted(self.reading.changes[index]) if name in own}

    def stands_for(self, index: int, given: frozenset[str]) -> bool:
        """Whether a statement only makes what is given."""
        reading, node = self.reading, self.reading.statements[index].node
        names = reading.changes[index] - reading.own.keys()
        if not reading.changes[index] or not names <= given:
            return False
        if not names or index in self._rebound:
            return not names
        if index < reading.first_answer or draws(node) or is_constant(node):
            return True
        return names <= reading.targets or not names.isdisjoint(self.formulas)


def in_the_look(reading: Reading) -> dict[int, str]:
    """By index the text of the statements that are run to see what they make: all up to the training
    that do not make data of their own.
    """
    setup, given = Setup(reading, Look()), reading.syllabus.step_by_step.outline.given
    found: dict[int, str] = {}
    for statement in reading.statements:
        index, leaves = statement.index, setup.leaves(statement.index)
        if not reading.before_training(index):
            break
        own = reading.changes[index] - given - reading.own.keys()
        fixed = draws(statement.node) or is_constant(statement.node)
        lines = [statement.text] if own or not (leaves or fixed) else []
        if reading.changes[index] and (lines or leaves):
            found[index] = "\n".join([*lines, *_bindings(leaves)])
    return found


class Derivation:
    """The statements of one lesson. `undefined` are names that some of them read and nothing binds."""

    def __init__(self, choice: Choice, setup: Setup, lesson: Lesson) -> None:
        self._reading, self._choice, self._setup = choice.reading, choice, setup
        self._outline = lesson.outline
        self._answers = tuple(choice.answers[lesson.notebook].values())
        # Gradients of another exercise that this one gives, under names of the student's own.
        first = choice.answers[choice.first.notebook].values() if lesson is not choice.first else ()
        self._given = [e for e in first if e.target in lesson.outline.given and e.name != e.target]
        self.statements = self._in_order(self._kept())
        self.undefined = self._undefined()

    def pieces(self) -> Iterator[Piece]:
        """The cells that these statements are; an answer that is not there stands where it is first read."""
        left = set(self._outline.answers) - {each.target for each in self._answers}
        for statement in self.statements:
            for target in sorted(left & reads(statement.node)):
                left.discard(target)
                yield Piece(None, 0, (target,))
            yield from self._piece(statement)

    def _piece(self, statement: Statement) -> Iterator[Piece]:
        answers = [each for each in self._answers if each.at == statement.index]
        named = {each.target: each.name for each in answers if each.name != each.target}
        text = "\n".join([statement.text, *_bindings(named)])
        yield Piece(text, statement.cell, tuple(each.target for each in answers))
        if named:  # as it is exchanged, so that those behind meet it
            back = _bindings({name: target for target, name in named.items()})
            yield Piece("\n".join(back), statement.cell)

    # ---- which statements

    def _kept(self) -> list[Statement]:
        """All that the answers come from; an earlier attempt only where somebody reads it."""
        end = max((answer.at for answer in self._answers), default=-1)
        there = [
            self._with_given_names(s)
            for s in self._reading.statements[: end + 1]
            if not self._is_left_out(s)
        ]
        again = {s.index for s in there if self._is_another_attempt(s.index)}
        kept = self._needed([s for s in there if s.index not in again])
        read = {s.index for s in there if s.index in again and self._is_read(s.index, kept)}
        return self._needed([s for s in there if s.index not in again - read]) if read else kept

    def _with_given_names(self, statement: Statement) -> Statement:
        """The statement; where it makes what is given under another name, that name is bound instead."""
        index, given = statement.index, self._setup.leaves(statement.index)
        lines = [] if self._setup.stands_for(index, self._outline.given) else [statement.text]
        for answer in self._given:
            if answer.name in self._reading.changes[index]:
                given, lines = {**given, answer.name: answer.target}, []
        if not given:
            return statement
        text = "\n".join([*lines, *_bindings(given)])
        return replace(
            statement, text=text, node=ast.If(ast.Constant(True), ast.parse(text).body, [])
        )

    def _needed(self, statements: Sequence[Statement]) -> list[Statement]:
        names = [answer.name for answer in self._answers]
        return list(needed(statements, names, self._reading.functions))

    def _is_left_out(self, statement: Statement) -> bool:
        index, names = statement.index, self._reading.changes[statement.index]
        if isinstance(statement.node, ast.Delete) or all(
            is_placeholder(statement.node, name) for name in names
        ):
            return True
        if self._counts(index):
            return False
        if any(self._choice.is_borrowed(index, name) for name in names & self._names):
            return True
        if self._setup.stands_for(index, self._outline.given):
            return not self._setup.leaves(index)
        return self._is_another_attempt(index) and not any(
            index < each.first for each in self._answers if each.name in names
        )

    @property
    def _names(self) -> frozenset[str]:
        return frozenset(answer.name for answer in self._answers)

    def _counts(self, index: int) -> bool:
        """Whether a statement makes an answer, or a part of it."""
        names = self._reading.changes[index]
        return any(e.name in names and e.first <= index <= e.at for e in self._answers)

    def _is_another_attempt(self, index: int) -> bool:
        """Whether a statement makes nothing but answers, and none that counts."""
        names = self._reading.changes[index]
        return not self._counts(index) and bool(names) and names <= self._names

    def _is_read(self, index: int, kept: Sequence[Statement]) -> bool:
        """Whether one of the kept statements reads an attempt before the one that counts is made."""
        names = self._reading.changes[index]
        first = min(e.first for e in self._answers if e.name in names and e.first > index)
        return any(index < s.index < first and reads(s.node) & names for s in kept)

    # ---- their order

    def _in_order(self, kept: Sequence[Statement]) -> tuple[Statement, ...]:
        """In the student's order. An answer that was given again stands where it was first given, if what
        it reads is there: as in the course, where a gradient has one cell.
        """
        places = {s.index: (float(s.index), s.index) for s in kept}
        left_out: set[int] = set()
        for answer in self._answers:
            earlier = [
                s.index
                for s in kept
                if s.index < answer.first and self._reading.changes[s.index] == {answer.name}
            ]
            block = [s for s in kept if self._is_of(s, answer)]
            if earlier and self._can_stand_at(earlier[0], block, kept):
                places |= {s.index: (earlier[0], s.index) for s in block}
                left_out |= set(earlier)
        ordered = sorted(kept, key=lambda s: places[s.index])
        return tuple(s for s in ordered if s.index not in left_out)

    def _is_of(self, statement: Statement, answer: Answer) -> bool:
        within = answer.first <= statement.index <= answer.at
        return within and answer.name in self._reading.changes[statement.index]

    def _can_stand_at(
        self, index: int, block: Sequence[Statement], kept: Sequence[Statement]
    ) -> bool:
        between = [s for s in kept if index <= s.index < block[0].index]
        made = frozenset().union(*(self._reading.changes[s.index] for s in between))
        own = frozenset().union(*(self._reading.changes[s.index] for s in block))
        read = frozenset().union(*(reads(s.node) for s in block))
        return made.isdisjoint(read - own)

    def _undefined(self) -> frozenset[str]:
        known = set(dir(builtins)) | self._outline.given | self._reading.own.keys()
        known |= set(self._outline.answers)
        known = known.union(*(bound(s.node) for s in self.statements))
        return frozenset().union(*(reads(s.node) for s in self.statements)) - known


def _bindings(names: Mapping[str, str]) -> list[str]:
    return [f"{name} = {value}" for name, value in names.items()]
