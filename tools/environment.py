"""An environment with everything in it, for `make setup`: the versions of constraints.txt, and a small torch.

    python3 tools/environment.py FOLDER [cpu|any]

`cpu` takes PyTorch's own CPU build where its index answers, else what pip finds, as `any` does. It runs
before anything is installed, on whatever Python there is: standard library, and no newer syntax.
"""

import os
import subprocess
import sys
from pathlib import Path

OLDEST = (3, 11)
PIP = ("-m", "pip", "install", "--quiet", "--disable-pip-version-check", "-c", "constraints.txt")


def main(folder: str, torch: str = "cpu") -> None:
    if sys.version_info < OLDEST:
        found = ".".join(map(str, sys.version_info[:3]))
        sys.exit(
            f"Python: {found} is too old. Run `make setup PYTHON=python3.12`, or any from 3.11."
        )
    if subprocess.call([sys.executable, "-m", "venv", folder]):
        sys.exit(
            f"{folder}: this Python cannot make it. On Debian and Ubuntu, "
            "run `sudo apt install python3-venv` and the same command again."
        )
    python = str(Path(folder, "bin", "python"))
    pip = (python, *PIP)
    subprocess.check_call([*pip, "--upgrade", "pip>=25.1", "uv"])
    if torch == "cpu" and not _small_torch(python):
        print(
            "torch: PyTorch's index of CPU builds does not answer, so pip chooses. "
            "On Linux that may be a CUDA build of 5 GB, which works the same."
        )
    subprocess.check_call([*pip, "--group", "dev", "-e", ".[lab,dask]"])
    subprocess.check_call([python, "-c", _SAY])


def _small_torch(python: str) -> bool:
    """Install torch's CPU build, alone: what it needs is pip's affair, whose settings uv does not read."""
    command = (python, "-m", "uv", "pip", "install", "--quiet", "--python", python, "--no-deps")
    done = subprocess.run(
        [*command, "--torch-backend", "cpu", "-c", "constraints.txt", "torch"],
        env={"UV_HTTP_TIMEOUT": "20", "UV_HTTP_RETRIES": "0", **os.environ},
        stderr=subprocess.PIPE,  # an index that is not there is no error: pip has the last word
        check=False,
    )
    return done.returncode == 0


_SAY = """
import torch
build = f"CUDA {torch.version.cuda}, 5 GB" if torch.version.cuda else "CPU, 0.8 GB"
print(f"torch {torch.__version__} ({build}); `make setup TORCH=cpu` or `TORCH=any` chooses.")
"""

if __name__ == "__main__":
    main(*sys.argv[1:])
