"""Mistakes made against mistakes named, as a page."""

from collections.abc import Sequence

from handgrad.grading.outcomes import Outcome


def matrix(outcomes: Sequence[Outcome], assignment: str) -> str:
    """Mistakes made against mistakes named, and how far apart right and wrong lie, as Markdown."""
    slips = [o for o in outcomes if o.kind == "wrong"]
    mutants = [o for o in outcomes if o.kind == "mutant"]
    forms = [o for o in outcomes if o.kind == "right"]
    names = sorted({o.made for o in slips} | {name for o in slips for name in o.told})
    columns = [name for name in names if any(name in o.told for o in slips)]
    lines = [
        f"# What was made, and what it was called: `{assignment}`",
        "",
        f"Written by `handgrad selfcheck {assignment} --matrix`; not by hand.",
        "A row is a mistake that was made, a column the name it was given; where several names fit and "
        "are offered, each counts.",
        "",
        "| made | times | " + " | ".join(columns) + " |",
        "| --- | --- | " + " | ".join("---" for _ in columns) + " |",
    ]
    for made in sorted({o.made for o in slips}):
        row = [o for o in slips if o.made == made]
        counts = [sum(name in o.told for o in row) for name in columns]
        lines.append(f"| {made} | {len(row)} | " + " | ".join(str(c or "") for c in counts) + " |")
    right = [o.error for o in forms if o.error is not None]
    wrong = [o.error for o in slips if o.error is not None and o.told != ("unspread",)]
    certain = [o for o in slips if len(o.told) == 1]
    lines += [
        "",
        f"- wrong variations: {len(slips)}; found at their own step and named as themselves: "
        f"{sum(not o.complaint for o in slips)}; told as certain: {len(certain)}",
        f"- right variations: {len(forms)}; all right: {sum(not o.complaint for o in forms)}",
        f"- wrong ones made of the solution: {len(mutants)}; found at their own step, or shown to change no "
        f"number: {sum(not o.complaint for o in mutants)}; without a name: "
        f"{sum(o.unnamed for o in mutants)}",
        f"- largest error of a right answer: {max(right):.2e}",
        f"- smallest error of a wrong one (of the right shape): {min(wrong):.2e}",
    ]
    return "\n".join(lines) + "\n"
