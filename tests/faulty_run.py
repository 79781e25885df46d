"""Grade a course with outcomes that were real once, on a disk that something is the matter with.

    python faulty_run.py REAL.pickle COURSE [FROM]

With FROM, COURSE is an empty folder on a small disk: it is made from that course, and all but a little
of the disk is filled; after the run it is emptied and the run made again. Prints one JSON object.
"""

import json
import pickle
import shutil
import sys
from pathlib import Path

from coursedir import ASSIGNMENT, Replay, rows

from handgrad.batch.run import grade
from handgrad.errors import UserError
from handgrad.store import backups

SPARE = 1_600_000  # bytes: a copy of the gradebook, and a few students


def main(real: str, course: str, like: str = "") -> None:
    described, outcomes = pickle.loads(Path(real).read_bytes())
    root = Path(course)
    filler = root / "filler"
    if like:
        for name in ("source", "release", "graders", "submitted"):
            (root / name).symlink_to(Path(like) / name)
        for name in ("nbgrader_config.py", "gradebook.db"):
            shutil.copy(Path(like) / name, root)
        filler.write_bytes(bytes(shutil.disk_usage(root).free - SPARE))
    told: dict[str, object] = {"error": ""}
    try:
        grade(root, ASSIGNMENT, pool=Replay(outcomes, described))
    except UserError as error:
        told["error"] = str(error)
    told["kept"] = sorted(p.stem for p in (root / "reports").glob(f".results/{ASSIGNMENT}/*.json"))
    if like:
        filler.unlink()
        told["sound"] = backups.is_sound(root / "gradebook.db")
        again = Replay(outcomes, described)
        grade(root, ASSIGNMENT, pool=again)
        told["again"] = sorted(again.asked)
        told["grades"] = rows(root)["grade"]
    print(json.dumps(told))


if __name__ == "__main__":
    main(*sys.argv[1:])
