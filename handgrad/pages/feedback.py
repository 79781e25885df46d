"""The page a student reads: a table, the graph, and a verdict beside each answer."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from markupsafe import Markup

from handgrad.gradients.exercise import Exercise
from handgrad.notebooks.display import Budget
from handgrad.pages import inert
from handgrad.pages.drawing import Edges, draw, kind
from handgrad.pages.feedbackrows import Row, Rows, shown
from handgrad.pages.gradedcells import GradedCell, Notebook, cells_of
from handgrad.pages.template import render, script, sentence
from handgrad.pages.words import amount, meaning_of, name_of, say, text
from handgrad.settings import FeedbackLevel
from handgrad.verdict import Finding, Report, Verdict

_SHORT = 4  # lines; a longer cell that the student was given is folded


@dataclass(frozen=True, slots=True)
class Marks:
    """What the gradebook says beyond the report; `waiting` are grade ids a person has yet to mark."""

    score: float
    max_score: float
    late_penalty: float = 0.0
    waiting: frozenset[str] = frozenset()


def edges_of(exercises: Mapping[str, Exercise]) -> dict[str, Edges]:
    """By notebook, each step of its forward pass with the names it reads."""
    return {
        stem: {step.name: step.inputs for step in exercise.graph.steps}
        for stem, exercise in exercises.items()
    }


@dataclass(frozen=True, slots=True)
class _ShownCell:
    label: str
    body: Markup
    outputs: Markup
    anchor: str
    grade_id: str
    folded: int = 0  # lines of given code that are shown on demand


@dataclass(slots=True)
class _Group:
    """Cells side by side with what is said of them; `framed` where there is something to say."""

    framed: bool
    cells: list[_ShownCell] = field(default_factory=list)
    judgements: list[Row] = field(default_factory=list)
    comments: list[Markup] = field(default_factory=list)
    tone: str = ""


@dataclass(frozen=True, slots=True)
class _Sheet:
    """One notebook of the page."""

    stem: str
    problems: tuple[Markup, ...]
    rows: tuple[Row, ...]
    drawing: Markup
    groups: tuple[_Group, ...]


def page(
    report: Report,
    notebooks: Mapping[str, Notebook],
    edges: Mapping[str, Edges],
    *,
    language: str,
    level: FeedbackLevel,
    marks: Marks | None = None,
    only: str = "",
    stepped: bool = False,
    live: bool = False,
) -> str:
    """The page for one submission, or for its notebook `only`, as one file that fetches nothing.

    `notebooks` and `edges` are by notebook; where one is missing, the page does without the cells or
    the drawing. With `marks` the gradebook's points are shown, marks given by hand included.
    `stepped`: the question and the name of a mistake are opened by the reader, one after the other.
    `live`: the page follows the events of the server that it comes from (see `doors.pageserver`).
    """
    stems = (
        [only]
        if only
        else list(dict.fromkeys([f.notebook for f in report.findings] + [*notebooks]))
    )
    findings = [f for f in report.findings if f.notebook in stems]
    waiting = marks.waiting if marks else frozenset()
    maker = _Maker(language, Rows(language, level, waiting, stepped))
    sheets = [
        maker.sheet(
            stem,
            [f for f in findings if f.notebook == stem],
            (*_problems(report, stem, language), *(_absent(report, language) if only else ())),
            notebooks.get(stem),
            edges.get(stem),
            number,
        )
        for number, stem in enumerate(stems, start=1)
    ]
    following, tone = next_step(findings, language)
    source, script_hash = script("live.js") if live else ("", "")
    right = sum(f.verdict in (Verdict.RIGHT, Verdict.RIGHT_STEP) for f in findings)
    return render(
        "feedback.html.j2",
        language,
        title=text("page.title", language, what=only or report.assignment),
        subtitle=text(
            "page.submission", language, assignment=report.assignment, student=report.student
        ),
        score=_score(findings, marks, language),
        counts=text("page.counts", language, right=right, all=len(findings)) if findings else "",
        late=text("page.late", language, points=amount(marks.late_penalty))
        if marks and marks.late_penalty
        else "",
        next_step=sentence(following),
        next_tone=tone,
        level=level,
        many=len(sheets) > 1,
        sheets=sheets,
        legend=[(shown(v, language), meaning_of(v, language)) for v in Verdict],
        script=source,
        script_hash=script_hash,
    )


def _problems(report: Report, stem: str, language: str) -> Iterator[Markup]:
    """What is odd about a notebook."""
    return (sentence(say(note, language)) for note in report.problems.get(stem, ()))


def _absent(report: Report, language: str) -> Iterator[Markup]:
    """The notebooks that were not handed in, which have no page of their own to say so."""
    for stem, notes in report.problems.items():
        for note in notes:
            if note.code == "missing":
                yield sentence(f"`{stem}.ipynb`: {say(note, language)}")


def _score(findings: Sequence[Finding], marks: Marks | None, language: str) -> str:
    if marks:
        key = "page.score_open" if marks.waiting else "page.score"
        points, maximum = marks.score, marks.max_score
    else:
        known = [f.points for f in findings if f.points is not None]
        key = "page.score" if len(known) == len(findings) else "page.score_open"
        points, maximum = sum(known), sum(f.max_points for f in findings)
    return text(key, language, points=amount(points), max=amount(maximum))


def next_step(findings: Sequence[Finding], language: str) -> tuple[str, str]:
    """The one thing to do now, and the tone (a CSS class) it is said in."""
    first = next((f for f in findings if f.verdict == Verdict.WRONG), None)
    if first:
        return text("page.next_step", language, name=first.name), "v-wrong"
    open_ = [f for f in findings if f.verdict == Verdict.NOT_ATTEMPTED]
    if open_ and len(open_) == len(findings):
        return text("page.nothing_yet", language, name=open_[0].name), ""
    if open_:
        return text("page.go_on", language, name=open_[0].name), "v-right"
    if findings and all(f.verdict == Verdict.RIGHT for f in findings):
        return text("page.all_right", language), "v-right"
    return "", ""


@dataclass(frozen=True, slots=True)
class _Maker:
    """Turns findings and cells into what the template shows."""

    language: str
    rows: Rows
    budget: Budget = field(default_factory=lambda: Budget(1_000_000))  # of the whole page

    def sheet(
        self,
        stem: str,
        findings: Sequence[Finding],
        problems: tuple[Markup, ...],
        notebook: Notebook | None,
        edges: Edges | None,
        number: int,
    ) -> _Sheet:
        cells = list(cells_of(notebook)) if notebook is not None else []
        anchors = {c.grade_id: f"c{number}-{i}" for i, c in enumerate(cells) if c.grade_id}
        by_test = {c.grade_id: c for c in cells if c.role == "test"}
        wrong = next((f for f in findings if f.verdict == Verdict.WRONG), None)
        rows = {
            id(f): self.rows.of(f, findings, by_test.get(f.grade_id), anchors, f is wrong)
            for f in findings
        }
        groups = self._groups(cells, findings, rows, anchors)
        written = [self.rows.written(c, anchors) for c in cells if c.role == "written"]
        return _Sheet(
            stem,
            problems,
            (*rows.values(), *written),
            self._drawing(findings, edges, wrong) if edges else Markup(""),
            tuple(groups),
        )

    def _groups(
        self,
        cells: Sequence[GradedCell],
        findings: Sequence[Finding],
        rows: Mapping[int, Row],
        anchors: Mapping[str, str],
    ) -> list[_Group]:
        """Each answer with the tests that follow it in one frame; everything else by itself."""
        groups: list[_Group] = []
        for cell in cells:
            if cell.made or (not cell.source.strip() and cell.role == "other"):
                continue
            framed = cell.role in ("answer", "test", "written")
            previous = groups[-1] if groups else None
            joins = cell.role == "test" and previous is not None and previous.framed
            if previous is None or not (joins and not previous.judgements):
                previous = _Group(framed)
                groups.append(previous)
            previous.cells.append(self._cell(cell, anchors.get(cell.grade_id, "")))
            if cell.role == "test":
                judged = [f for f in findings if f.grade_id == cell.grade_id]
                previous.judgements += [rows[id(f)] for f in judged]
                if judged:
                    previous.tone = kind(judged[0].verdict)
            elif cell.role == "written":
                previous.judgements.append(self.rows.written(cell, anchors))
            if framed and cell.comment.strip():
                previous.comments.append(inert.markdown(cell.comment, budget=self.budget))
        return groups

    def _cell(self, cell: GradedCell, anchor: str) -> _ShownCell:
        label = {
            "answer": text("page.your_answer", self.language),
            "written": text("page.your_answer", self.language),
            "test": text("page.test_cell", self.language),
        }.get(cell.role, "")
        if not label and cell.cell_type == "code":
            key = "page.given_cell" if cell.role == "given" else "page.other_cell"
            label = text(key, self.language)
        is_prose = cell.cell_type == "markdown"
        body = (
            Markup('<div class="prose">{}</div>').format(
                inert.markdown(cell.source, cell.pictures, self.budget)
            )
            if is_prose
            else inert.code(cell.source, self.language, self.budget)
        )
        # What a test cell shows is the verdict again, or the error that explains it.
        visible = [
            output
            for output in cell.outputs
            if cell.role != "test" or output.get("output_type") == "error"
        ]
        lines = cell.source.count("\n") + 1
        folded = lines if cell.role == "given" and not is_prose and lines > _SHORT else 0
        return _ShownCell(
            label,
            body,
            inert.outputs(visible, self.language, self.budget),
            anchor,
            cell.grade_id,
            folded,
        )

    def _drawing(self, findings: Sequence[Finding], edges: Edges, wrong: Finding | None) -> Markup:
        names = {*edges, *(name for inputs in edges.values() for name in inputs)}
        verdicts = {f.name.removeprefix("d"): f.verdict for f in findings}
        verdicts = {name: v for name, v in verdicts.items() if name in names}
        if not verdicts:
            return Markup("")
        states = "; ".join(
            f"{name_of(verdict, self.language)}: "
            + ", ".join("d" + name for name, v in verdicts.items() if v == verdict)
            for verdict in Verdict
            if verdict in verdicts.values()
        )
        return draw(
            edges,
            verdicts,
            alt=text("page.drawing_alt", self.language, states=states),
            first=wrong.name.removeprefix("d") if wrong else "",
            flag=text("page.start_here", self.language),
        )
