"""Deletes what the course generated. Asks before a gradebook with grades in it goes.

    python tools/clean.py [--yes] [COURSE]

Submissions are never deleted: they are not ours.
"""

import shutil
import sqlite3
import sys
from pathlib import Path

GENERATED = ("autograded", "feedback", "reports", "build", "dist")


def grades_in(gradebook: Path) -> int | None:
    """How many marks a gradebook holds; None where it cannot be read, which is no reason to lose it."""
    try:
        with sqlite3.connect(f"file:{gradebook}?mode=ro", uri=True) as database:
            query = "select count(*) from grade where auto_score is not null or manual_score is not null"
            (count,) = database.execute(query).fetchone()
            return int(count)
    except sqlite3.Error:
        return None


def main(arguments: list[str]) -> int:
    sure = "--yes" in arguments
    rest = [argument for argument in arguments if argument != "--yes"]
    course = Path(rest[0]) if rest else Path(__file__).resolve().parents[1]
    gradebook = course / "gradebook.db"
    if gradebook.exists():
        count = grades_in(gradebook)
        told = "cannot be read" if count is None else f"holds {count} marks"
        if count != 0 and not sure:
            if not sys.stdin.isatty():
                print(f"{gradebook} {told}: nothing deleted. Say --yes to delete it too.")
                return 1
            if input(f"{gradebook} {told}. Delete it too? Type yes: ").strip() != "yes":
                print("Nothing deleted.")
                return 1
        for path in sorted(course.glob("gradebook.db*")):
            path.unlink()
    for name in GENERATED:
        folder = course / name
        for entry in sorted(folder.iterdir()) if folder.is_dir() else ():
            if entry.name != ".gitkeep":
                shutil.rmtree(entry) if entry.is_dir() else entry.unlink()
    print("Clean.")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
