"""Attempts to break out of the sandbox, as cells of a notebook: each must raise where it is held."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from handgrad.limits import Limits
from handgrad.plan import Cell, Plan, Run
from handgrad.sandbox.execute import Executor


@dataclass(frozen=True, slots=True)
class Attempt:
    """One attempt: what it tries, and whether the sandbox held."""

    what: str
    held: bool
    how: str  # the error it ended with


_SYSCALL = """\
import ctypes, os
libc = ctypes.CDLL(None, use_errno=True)
def call(name, *arguments):
    if getattr(libc, name)(*arguments) == -1:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
"""

# Each ends without an error only if it got what it wanted. {secret} is the path of a file that the
# user who grades can read, {port} a port on which someone listens on 127.0.0.1.
ATTEMPTS: Mapping[str, str] = {
    "read a file of this machine": "open({secret!r}).read()",
    "read /etc/passwd": "open('/etc/passwd').read()",
    "list the folder of another": """\
import os
if not os.listdir(os.path.dirname({secret!r})): raise OSError('empty')""",
    "find the graders": """\
import importlib, os
found = []
for name in ('gradients.judge', 'grading.pipeline', 'sandbox.border', 'store.records', 'doors.cli'):
    try: found.append(importlib.import_module('handgrad.' + name))
    except ImportError: pass
    except PermissionError: pass
for folder, inside, files in os.walk('/'):
    if folder.startswith('/proc') or folder.count('/') > 4: inside.clear()
    found += [f for f in files if f in ('mistakes.py', 'assignment.toml', 'gradebook.db')]
if not found: raise FileNotFoundError('no grader anywhere')""",
    "connect to 127.0.0.1": "import socket; socket.create_connection(('127.0.0.1', {port}), 1)",
    "connect to the network": "import socket; socket.create_connection(('1.1.1.1', 53), 1)",
    "send a datagram": "import socket; socket.socket(socket.AF_INET, socket.SOCK_DGRAM)",
    "open a raw netlink socket": "import socket; socket.socket(socket.AF_NETLINK, socket.SOCK_RAW)",
    "look up a name": "import socket; socket.getaddrinfo('example.org', 443)",
    "open a Unix socket": """\
import socket
socket.socket(socket.AF_UNIX).connect('/run/dbus/system_bus_socket')""",
    "see other processes": """\
import os
if [p for p in os.listdir('/proc') if p.isdigit() and int(p) != os.getpid()] == []:
    raise PermissionError('no other process in /proc')""",
    "see its parent": "import os; open(f'/proc/{{os.getppid()}}/status').read()",
    "signal the worker": "import os, signal; os.kill(os.getppid() or 2, signal.SIGKILL)",
    "signal everybody": "import os, signal; os.kill(-1, signal.SIGKILL)",
    "signal by way of a file": """\
import fcntl, os
with open('own', 'x') as file: fcntl.fcntl(file, fcntl.F_SETOWN, os.getppid() or 2)""",
    "hold a process": "import os; os.pidfd_open(os.getppid() or 2)",
    "limit another process": """\
import os, resource
resource.prlimit(os.getppid() or 2, resource.RLIMIT_CPU, (0, 0))""",
    "slow another process down": """\
import os
os.setpriority(os.PRIO_PROCESS, os.getppid() or 2, 19)""",
    "move another process": "import os; os.sched_setaffinity(os.getppid() or 2, {{0}})",
    "outlive the worker": _SYSCALL + "call('prctl', 1, 0, 0, 0, 0)",
    "trace a process": _SYSCALL + "call('ptrace', 16, 1, 0, 0)",
    "read another process's memory": """\
import os
open(f'/proc/{{os.getppid() or 2}}/mem', 'rb').read(1)""",
    "make a user namespace": _SYSCALL + "call('unshare', 0x10000000)",
    "make a mount namespace": _SYSCALL + "call('unshare', 0x20000)",
    "clone into a namespace": _SYSCALL + "call('syscall', {clone}, 0x10000011, 0, 0, 0, 0)",
    "mount a file system": _SYSCALL + "call('mount', b'none', b'/tmp', b'tmpfs', 0, None)",
    "unmount a file system": _SYSCALL + "call('umount2', b'/tmp', 2)",
    "change the root": "import os; os.chroot('/tmp')",
    "become root": "import os; os.setuid(0) if os.getuid() else os.setuid(1); open('/dev/mem')",
    "keep a capability": """\
held = ('CapEff', 'CapPrm', 'CapInh', 'CapAmb')
caps = [l.split()[1] for l in open('/proc/self/status') if l.startswith(held)]
if not any(int(c, 16) for c in caps): raise PermissionError('no capability at all')""",
    "be spared when memory runs out": "open('/proc/self/oom_score_adj', 'w').write('-1000')",
    "use io_uring": _SYSCALL + "call('syscall', 425, 1, 0)",
    "load a BPF program": _SYSCALL + "call('syscall', {bpf}, 0, 0, 0)",
    "start a program": "import subprocess, sys; subprocess.run([sys.executable, '-c', '0'])",
    "start a shell": "import os\nif os.system('true'): raise PermissionError('no shell')",
    "write outside its folder": """\
import os
mine = os.environ['TMPDIR']
def write(folder):
    if os.path.samefile(folder, mine): return
    try: open(folder + '/w', 'x').close()
    except OSError: return
    tried.append(folder)
    os.remove(folder + '/w')
tried = []
if os.path.exists({secret!r}): write(os.path.dirname({secret!r}))
for folder, inside, _ in os.walk('/'):
    if folder.count('/') > 4 or folder.startswith('/proc'): inside.clear()
    if folder.startswith(mine): inside.clear(); continue
    if not folder.startswith('/dev/shm/'): write(folder)
if not tried: raise PermissionError('nothing is writable')""",
    "change a file's mode": """\
import os
before = os.stat({secret!r}).st_mode
os.chmod({secret!r}, 0)
if os.stat({secret!r}).st_mode == before: raise PermissionError('the mode is as it was')""",
    "cut a file off": """\
import os
os.truncate({secret!r}, 0)""",
    "empty a file that it opens": "import os; os.open({secret!r}, os.O_RDONLY | os.O_TRUNC)",
    "watch a folder of this machine": _SYSCALL
    + """
import os
fd = libc.inotify_init()
try: call('inotify_add_watch', fd, os.path.dirname({secret!r}).encode(), 0xfff)
finally: os.close(fd)""",
    "change the interpreter": "open(__import__('os').__file__, 'a')",
    "change torch": "open(__import__('torch').__file__, 'a')",
    "reach a disk": """\
import os, stat
disks = [d for d in os.listdir('/dev') if stat.S_ISBLK(os.lstat('/dev/' + d).st_mode)]
if not disks: raise FileNotFoundError('no disk in /dev')""",
    "learn the environment": """\
import os
known = {{'PATH', 'HOME', 'TMPDIR', 'LANG', 'MPLBACKEND', 'MPLCONFIGDIR', 'IPYTHONDIR', 'PWD',
         'OMP_NUM_THREADS', 'OPENBLAS_NUM_THREADS', 'MKL_NUM_THREADS', 'HANDGRAD_GRADING', 'LC_CTYPE'}}
more = set(os.environ) - known
if not more: raise KeyError('nothing but the sandbox\\'s own')""",
    "keep a descriptor": """\
import os
def open_here(fd):
    try: return os.fstat(fd)
    except OSError: return None
kept = [fd for fd in range(3, 4096) if open_here(fd)]
if len(kept) < 2: raise OSError('nothing but its own pipe')""",
    "fill the disk": """\
for number in range(10_000):
    with open(f'{{number}}.bin', 'wb') as file: file.write(bytes(1 << 20))""",
    "write a large file": """\
with open('large.bin', 'wb') as file:
    for _ in range(10_000): file.write(bytes(1 << 20))""",
    "make a million files": """\
import os
for name in os.listdir('.'):
    if name.endswith('.bin'): os.remove(name)
for number in range(1_000_000): open(f'f{{number}}', 'x').close()""",
    "make folders without end": """\
import os
for _ in range(1_000_000): os.mkdir('d'); os.chdir('d')""",
    "fill memory of its own": """\
kept = []
for _ in range(8192): kept.append(bytearray(b'x') * (1 << 20))""",
    "fill memory and make it read-only": _SYSCALL
    + """
import mmap, time
size, libc.mmap.restype = 1 << 20, ctypes.c_void_p
for _ in range(4096):
    at = libc.mmap(None, size, 3, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS, -1, 0)
    ctypes.memset(at, 1, size)
    call('mprotect', ctypes.c_void_p(at), size, 1)
time.sleep(1)""",
    "fill tables of memory": _SYSCALL
    + """
import mmap, time
size, libc.mmap.restype = 1 << 41, ctypes.c_void_p
at = libc.mmap(None, ctypes.c_size_t(size), 1, 0x4000 | mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS, -1, 0)
for place in range(at, at + size, 1 << 21): ctypes.string_at(place, 1)
time.sleep(1)""",
    "fill shared memory": "import mmap; kept = [mmap.mmap(-1, 1 << 28) for _ in range(4)]",
    "fill shared memory of a device": """\
import mmap, os
mmap.mmap(os.open('/dev/zero', os.O_RDWR), 1 << 28)""",
    "fill a stack that grows": "import mmap; mmap.mmap(-1, 1 << 28, flags=0x100 | 0x22)",
    "fill a file in memory": "import os; os.memfd_create('m')",
    "fill System V memory": _SYSCALL + "call('shmget', 7, 4096, 0o1600)",
    "fill the buffers of pipes": """\
import fcntl, os
kept = []
for _ in range(1024):
    kept.append(os.pipe()[1])
    fcntl.fcntl(kept[-1], fcntl.F_SETPIPE_SZ, 1 << 20)
    os.write(kept[-1], bytes(1 << 20))""",
    "fill the buffers of sockets": """\
import array, socket
kept, held = [], 0
while held < 1 << 29:
    carrier, full = socket.socketpair(), socket.socketpair()
    full[0].setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 30)
    full[0].setblocking(False)
    try:
        while True: held += full[0].send(bytes(1 << 16))
    except BlockingIOError: pass
    rights = array.array('i', [end.fileno() for end in full])
    carrier[0].sendmsg([b'x'], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, rights)])
    kept.append(carrier)""",
    "start a process": "import os\nif os.fork() == 0: os._exit(0)",
    "start a process past the interpreter": _SYSCALL + "call('fork')",
    "start threads without end": """\
import threading, time
for _ in range(10_000): threading.Thread(target=time.sleep, args=(1,), daemon=True).start()""",
    "lift its own limits": """\
import resource
resource.setrlimit(resource.RLIMIT_NOFILE, (10_000, 10_000))""",
    "take off the filter": _SYSCALL + "call('prctl', 22, 0, 0, 0, 0)",
}

# Little memory, since some attempts fill it until they are stopped.
_LIMITS = Limits(cell_seconds=20.0, wall_seconds=120.0, memory_mib=512)


def cells(secret: Path, port: int) -> tuple[Cell, ...]:
    """The attempts as cells, in order."""
    import platform

    arm = platform.machine() == "aarch64"
    numbers = {"clone": 220 if arm else 56, "bpf": 280 if arm else 321}
    return tuple(
        Cell(index, "", "other", source.format(secret=str(secret), port=port, **numbers))
        for index, source in enumerate(ATTEMPTS.values())
    )


def try_all(secret: Path, port: int, limits: Limits = _LIMITS) -> tuple[Attempt, ...]:
    """Make every attempt in one notebook. Raises UserError where there is no sandbox to break."""
    plan = Plan("breakouts", (Run("attempts"),), {})
    with Executor({}, {plan.notebook: plan}, {plan.notebook: ()}, limits) as executor:
        evidence = executor.run({plan.notebook: cells(secret, port)})[plan.notebook]
    if evidence.trouble or "attempts" not in evidence.runs:
        return (Attempt("run a notebook to its end", False, str(evidence.trouble)),)
    results = evidence.runs["attempts"].cells
    return tuple(
        Attempt(what, result.status != "ok", f"{result.ename}: {result.evalue}"[:200])
        for what, result in zip(ATTEMPTS, results, strict=True)
    )
