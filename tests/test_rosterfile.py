"""A roster as spreadsheets save it goes into the gradebook, or one line says what is wrong with it."""

from pathlib import Path

import pytest
from coursedir import make_course
from nbgrader.api import Gradebook as Book

from handgrad.doors.cli import main
from handgrad.errors import UserError
from handgrad.store.course import Course
from handgrad.store.rosterfile import read_roster

ANNA = {"first_name": "Anna", "last_name": "Å, Berg"}
SAVED_BY = {
    "plain": 'id,first_name,last_name\nanna,Anna,"Å, Berg"\n'.encode(),
    "a byte order mark": '\ufeffid,first_name,last_name\nanna,Anna,"Å, Berg"\n'.encode(),
    "semicolons": "id;first_name;last_name\r\nanna;Anna;Å, Berg\r\n".encode(),
    "semicolons and a mark": "\ufeffID; First_Name ;last_name\nanna;Anna;Å, Berg\n".encode(),
    "tabs in UTF-16": "id\tfirst_name\tlast_name\nanna\tAnna\tÅ, Berg\n".encode("utf-16"),
    "columns nobody knows": "group,id,first_name,last_name\n3,anna,Anna,'Å, Berg'\n".replace(
        "'", '"'
    ).encode(),
}
BROKEN = {
    "another encoding": ("id;first_name\nanna;Åsa\n".encode("latin-1"), "not text in UTF-8"),
    "no id": (b"name,mail\nanna,a@example.org\n", "no column `id`"),
    "nothing": (b"", "no column `id`"),
    "twice": (b"id\nanna\nbob\nanna\n", "line 4: 'anna' cannot be an id: it is there twice"),
    "no path": (b"id\n../anna\n", "line 2: '../anna' cannot be an id: it holds '/'"),
    "an id is missing": (b"id,first_name\n,Anna\n", "line 2: '' cannot be an id: it is no name"),
    "a quote that never ends": (b'id,first_name\nanna,"Anna\n', "it is no CSV"),
}


@pytest.mark.parametrize("data", SAVED_BY.values(), ids=SAVED_BY)
def test_a_roster_is_read_however_it_was_saved(tmp_path: Path, data: bytes) -> None:
    file = tmp_path / "roster.csv"
    file.write_bytes(data)
    assert read_roster(file) == {"anna": ANNA}


@pytest.mark.parametrize(("data", "said"), BROKEN.values(), ids=BROKEN)
def test_a_broken_roster_is_one_sentence(tmp_path: Path, data: bytes, said: str) -> None:
    file = tmp_path / "roster.csv"
    file.write_bytes(data)
    with pytest.raises(UserError) as caught:
        read_roster(file)
    assert said in str(caught.value)


def test_names_are_in_the_gradebook_and_nothing_of_a_broken_file_is(tmp_path: Path) -> None:
    root = make_course(tmp_path / "course", ("late",))
    file = tmp_path / "roster.csv"
    file.write_bytes(SAVED_BY["semicolons and a mark"])
    assert main(["roster", str(file), "--course", str(root)]) == 0
    file.write_bytes(b"id\nbob\n../anna\n")
    assert main(["roster", str(file), "--course", str(root)]) == 1
    with Book(Course(root).db_url) as book:
        named = {each.id: (each.first_name, each.last_name) for each in book.students}
    assert named["anna"] == ("Anna", "Å, Berg")
    assert "bob" not in named


def test_markup_in_a_name_is_text(tmp_path: Path) -> None:
    file = tmp_path / "roster.csv"
    file.write_text("id,first_name\nanna,<script>\n")
    assert read_roster(file) == {"anna": {"first_name": "‹script›"}}
