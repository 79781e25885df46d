"""The class report as one page that fetches nothing; its one script sorts and filters."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby

from markupsafe import Markup

from handgrad.pages.drawing import kind, mark
from handgrad.pages.template import render, script, sentence
from handgrad.pages.words import amount, fact, known, name_of, say, text
from handgrad.statistics.changes import Change
from handgrad.statistics.classreport import BINS, ClassReport, Errand, Mistake
from handgrad.store.roster import ClassRecord
from handgrad.verdict import Note, Verdict

SIGNS: Mapping[Verdict, str] = {
    Verdict.RIGHT: "✓",
    Verdict.RIGHT_STEP: "↓",
    Verdict.WRONG: "✗",
    Verdict.NOT_ATTEMPTED: "–",
    Verdict.COULD_NOT_TELL: "?",
}


@dataclass(frozen=True, slots=True)
class _Bar:
    label: str
    count: int
    height: float  # percent of the tallest


@dataclass(frozen=True, slots=True)
class _Row:
    """A student's line; `strip` is their verdicts as signs, `query` what the filter looks in."""

    student: str
    name: str
    points: str
    share: str
    sort: float
    strip: Markup
    told: str
    notes: str


def html(report: ClassReport, language: str) -> str:
    """The page, in the instructor's language."""
    source, script_hash = script("report.js")
    maker = _Maker(report, language)
    errands = {student: list(of) for student, of in _by_student(report.errands)}
    tallest = max(report.bins) or 1
    bars = [
        _Bar(f"{100 * i // BINS}-{100 * (i + 1) // BINS}", count, 100 * count / tallest)
        for i, count in enumerate(report.bins)
    ]
    return render(
        "report.html.j2",
        language,
        script=source,
        script_hash=script_hash,
        title=text("report.title", language, assignment=report.assignment),
        made=text("report.made", language, students=len(report.records), graded=len(report.graded)),
        when=text("report.made_at", language, when=_when(report)),
        stamp=report.made.isoformat(),
        bars=bars,
        bars_alt=text(
            "report.marks_alt", language, bars="; ".join(f"{b.label} %: {b.count}" for b in bars)
        ),
        figures=maker.figures(),
        verdicts=[(v, kind(v), mark(v), name_of(v, language)) for v in Verdict],
        difficulty=report.difficulty,
        mistakes=[
            (m, maker.mistake(m), [(student, "") for student in m.certain + m.possible])
            for m in report.mistakes
        ],
        errands=maker.errands(),
        suspects=report.suspects,
        changes=[(c, maker.change(c)) for c in report.changes],
        since=report.previous.made if report.previous else "",
        rows=[maker.row(record, errands.get(record.student, [])) for record in report.records],
        names=any(record.name for record in report.records),
        amount=amount,
    )


def _when(report: ClassReport) -> str:
    return report.made.strftime("%Y-%m-%d %H:%M")


def _by_student(errands: Sequence[Errand]) -> list[tuple[str, list[Errand]]]:
    return [(student, list(of)) for student, of in groupby(errands, key=lambda e: e.student)]


@dataclass(frozen=True, slots=True)
class _Maker:
    """Puts the parts of a class report into words."""

    report: ClassReport
    language: str

    def figures(self) -> list[tuple[str, str]]:
        """Mean, median, lowest, highest: what each is called, and its percentage."""
        shares = self.report.shares
        if not shares:
            return []
        values = {
            "mean": self.report.mean,
            "median": self.report.median,
            "lowest": min(shares),
            "highest": max(shares),
        }
        return [
            (text(f"report.{key}", self.language), f"{100 * value:.0f} %")
            for key, value in values.items()
        ]

    def mistake(self, mistake: Mistake) -> Markup:
        return sentence(self.note(mistake.what))

    def note(self, note: Note) -> str:
        if "group" in note.parts:
            return text(f"report.group_{note.code}", self.language)
        try:
            return fact(note, self.language)
        except KeyError:  # not a diagnosis: a cell that was stopped, say
            return say(note, self.language)

    def errands(self) -> list[tuple[Markup, list[tuple[str, str]]]]:
        """Each reason with its students, and what is particular to one of them."""
        grouped: dict[str, list[tuple[str, str]]] = {}
        for one in self.report.errands:
            reason, detail = self._reason(one)
            grouped.setdefault(reason, []).append((one.student, detail))
        return [(sentence(reason), students) for reason, students in grouped.items()]

    def errand(self, errand: Errand) -> str:
        reason, detail = self._reason(errand)
        return f"{reason} ({detail})" if detail else reason

    def _reason(self, errand: Errand) -> tuple[str, str]:
        parts = errand.parts
        if known(errand.code):
            return f"{parts['notebook']}: {say(Note(errand.code, parts), self.language)}", ""
        if "names" in parts:
            names = parts["names"] or text("report.everything", self.language)
            parts = {**parts, "names": names}
        detail = ""
        if errand.code == "late":
            detail = self.duration(int(str(parts["seconds"])))
            if penalty := float(str(parts["penalty"])):
                detail += f", -{amount(penalty)}"
        return text(f"report.{errand.code}", self.language, **parts), detail

    def duration(self, seconds: int) -> str:
        """The one unit that says enough: 3 d, 5 h, 12 min."""
        for unit, size in (("days", 86400), ("hours", 3600), ("minutes", 60)):
            if seconds >= 2 * size or unit == "minutes":
                return text(f"report.{unit}", self.language, count=max(1, round(seconds / size)))
        raise AssertionError("minutes are always said")

    def change(self, change: Change) -> str:
        if change.kind != "changed":
            key = "report.new_student" if change.kind == "new" else "report.gone_student"
            return text(key, self.language)
        turns: dict[str, list[str]] = {}
        for (_, name), before, now in change.verdicts:
            turn = f"{self._verdict(before)} → {self._verdict(now)}"
            turns.setdefault(turn, []).append(name)
        return "; ".join(f"{turn}: {', '.join(names)}" for turn, names in turns.items())

    def _verdict(self, verdict: Verdict | None) -> str:
        return name_of(verdict, self.language) if verdict else "·"

    def row(self, record: ClassRecord, errands: list[Errand]) -> _Row:
        findings = record.report.findings if record.report else ()
        pieces = []
        for notebook, of_it in groupby(findings, key=lambda f: f.notebook):
            for verdict, run in groupby(of_it, key=lambda f: f.verdict):
                signs = SIGNS[verdict] * len(list(run))
                pieces.append(
                    Markup("<b class={}>{}</b>").format("v" + SIGNS_CLASS[verdict], signs)
                )
            pieces.append(Markup(" ") if notebook else Markup(""))
        told = []
        for verdict in (Verdict.WRONG, Verdict.NOT_ATTEMPTED, Verdict.COULD_NOT_TELL):
            names = [f.name for f in findings if f.verdict == verdict]
            if verdict == Verdict.NOT_ATTEMPTED and len(names) > 3:
                names = [str(len(names))]
            if names:
                told.append(f"{name_of(verdict, self.language)}: {', '.join(names)}")
        share = record.share
        return _Row(
            student=record.student,
            name=record.name,
            points="" if record.points is None else amount(record.points),
            share="" if share is None else f"{100 * share:.0f}",
            sort=-1.0 if share is None else share,
            strip=Markup("").join(pieces),
            told="; ".join(told),
            notes="; ".join(self.errand(e).rstrip(".") for e in errands),
        )


SIGNS_CLASS: Mapping[Verdict, str] = {
    Verdict.RIGHT: "r",
    Verdict.RIGHT_STEP: "s",
    Verdict.WRONG: "w",
    Verdict.NOT_ATTEMPTED: "n",
    Verdict.COULD_NOT_TELL: "c",
}
