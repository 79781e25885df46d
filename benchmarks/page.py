"""The figures of one run of the benchmark as tables, as a plot and as docs/performance.md."""

import importlib.metadata
import os
import platform
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.classroom import PROPORTIONS

_TEMPLATE = Path(__file__).with_name("performance.md.in")
_SCALE = Path(__file__).with_name("scale.md.in")
_USED = 0.8  # of a worker's processor: what waiting, starting and the network leave

Figures = Mapping[str, Any]

NAMES = {
    "stock": "nbgrader as it comes",
    "plugin": "`nbgrader autograde` with handgrad",
    "jobs1": "`handgrad grade --jobs 1`",
    "jobs2": "`handgrad grade --jobs 2`",
    "dask2": "`handgrad grade --dask`, two workers",
    "floor": "the bare arithmetic, one process",
}
KINDS = {"perfect": "clean", "two_mistakes": "wrong", "unfinished_line": "raising"}
PARTS = ("cells", "sandbox", "graders", "gradebook", "files")


def tables(figures: Figures) -> str:
    """All tables, as Markdown."""
    return "\n\n".join((_rates(figures), _wanted(figures), _split(figures), _memory(figures)))


def write(docs: Path, figures: Figures) -> None:
    """Write both pages and the picture."""
    _plot(figures, docs / "images" / "throughput.svg")
    ways, mix = figures["ways"], []
    for kind, names in PROPORTIONS.items():
        mix.append(f"{sum(names.values())} {kind}")
    text = _TEMPLATE.read_text(encoding="utf-8").format(
        date=time.strftime("%Y-%m-%d"),
        submissions=figures["submissions"],
        proportions=", ".join(mix),
        stock=ways["stock"]["submissions"],
        plugin=ways["plugin"]["submissions"],
        machine=machine(),
        rates=_rates(figures),
        wanted=_wanted(figures),
        split=_split(figures),
        memory=_memory(figures),
    )
    (docs / "performance.md").write_text(text, encoding="utf-8")


def write_scale(docs: Path, figures: Figures) -> None:
    """Write what a larger course costs, computed from the figures."""
    ways = figures["ways"]
    jobs, dask = ways["jobs2"], ways["dask2"]
    # The writer alone: with jobs on the same machine, and as the client of a cluster.
    writing = {
        name: way["cpu"]["parent"] / way["submissions"]
        for name, way in (("jobs", jobs), ("dask", dask))
    }
    rate = {"jobs": jobs["steady"], "dask": dask["steady"]}
    # What a core of a worker machine brings, where the writer's part is done elsewhere.
    elsewhere = _core(dask) - writing["dask"]
    limit = 1 / writing["dask"]
    rows = []
    for count in (1_000, 10_000, 100_000, 1_000_000):
        hours = count / rate["jobs"] / 3600
        cores = count * elsewhere / 3600
        shortest = count / limit / 3600
        rows.append(
            (
                f"{count:,}",
                _time(hours),
                f"{cores:.1f}",
                _time(cores / (16 * _USED)),
                _time(max(shortest, cores / (160 * _USED))),
                _time(shortest),
            )
        )
    text = _SCALE.read_text(encoding="utf-8").format(
        date=time.strftime("%Y-%m-%d"),
        machine=machine(),
        rate_jobs=_short(rate["jobs"]),
        rate_dask=_short(rate["dask"]),
        write_jobs=f"{1e3 * writing['jobs']:.0f}",
        write_dask=f"{1e3 * writing['dask']:.0f}",
        limit=f"{limit:.0f}",
        elsewhere=f"{elsewhere:.2f}",
        used=f"{_USED:.0%}",
        workers=f"{limit * elsewhere / _USED:.0f}",
        machines=f"{limit * elsewhere / _USED / 16:.1f}",
        kept=f"{figures['kept_kib']:.0f}",
        kept_million=f"{figures['kept_kib'] * 1e6 / 2**30:.0f}",
        table=_table(
            ("submissions", "this machine", "core-hours", "16 cores", "160 cores", "writer alone"),
            rows,
        ),
    )
    (docs / "scale.md").write_text(text, encoding="utf-8")


def _time(hours: float) -> str:
    if hours >= 48:
        return f"{hours / 24:.1f} days"
    return f"{hours:.1f} h" if hours >= 1 else f"{hours * 60:.0f} min"


def machine() -> str:
    """What this was measured on, in one sentence."""
    cpu = next(
        (
            line.split(":")[1].strip()
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if line.startswith("model name")
        ),
        platform.processor(),
    )
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    versions = ", ".join(
        f"{name} {importlib.metadata.version(name)}" for name in ("torch", "nbgrader", "ipython")
    )
    return (
        f"{cpu}, {os.cpu_count()} cores, {memory:.0f} GiB, Linux {platform.release().split('-')[0]}, "
        f"Python {platform.python_version()}, {versions}"
    )


def _rates(figures: Figures) -> str:
    rows = []
    for name, label in NAMES.items():
        rate = figures[name]
        way = figures["ways"].get(name)
        core = _core(way) if way else 1 / rate
        steady = way and way["steady"]
        rows.append(
            (
                label,
                _short(rate),
                _short(steady) if steady else "",
                f"{rate / figures['stock']:.3g}",
                f"{core:.2f}",
            )
        )
    head = ("", "submissions/s", "once warm", "times stock", "core-seconds each")
    return _table(head, rows)


def _wanted(figures: Figures) -> str:
    core = {KINDS[name]: _over(parts) for name, parts in figures["core_seconds"].items()}
    few, many = figures["ways"]["jobs2_few"], figures["ways"]["jobs2"]
    growth = _core(many) / _core(few) - 1
    steady = few["steady"] / many["steady"] - 1
    peak = figures["peak_mib_by_process"]
    worker = max(peak.get("worker", 0), peak.get("sandbox", 0))
    one, two, stock = (figures[name] for name in ("jobs1", "jobs2", "stock"))
    warm = figures["steady"]
    several = few["submissions"] < many["submissions"]
    rows = [
        ("2 jobs, times stock", "100 (aim 200)", f"{two / stock:.0f}", two >= 100 * stock),
        ("1 job, times stock", "60", f"{one / stock:.0f}", one >= 60 * stock),
        (
            "core-seconds over the floor, clean",
            "0.25",
            f"{core['clean']:.3f}",
            core["clean"] <= 0.25,
        ),
        *(
            (
                f"the same, {kind}",
                "twice a clean one's",
                f"{core[kind]:.3f}",
                core[kind] <= 2 * core["clean"],
            )
            for kind in ("wrong", "raising")
        ),
        (
            "2 jobs, times 1 job, once warm",
            "1.7",
            f"{warm['jobs2'] / warm['jobs1']:.2f}",
            warm["jobs2"] >= 1.7 * warm["jobs1"],
        ),
        (
            f"cost of one of {many['submissions']} over one of {few['submissions']}, once warm",
            "+10 %",
            f"{steady:+.0%} of time, {growth:+.0%} of processor with start-up" if several else "",
            steady <= 0.1 if several else None,
        ),
        (
            "the parent's growth after a quarter of the run",
            "none",
            f"{figures['parent_growth_mib']:+.1f} MiB",
            figures["parent_growth_mib"] < 8,
        ),
        ("a worker's memory", "600 MiB", f"{worker} MiB", worker < 600),
        (
            "nbgrader with handgrad, times stock",
            "5",
            f"{figures['plugin'] / stock:.1f}",
            figures["plugin"] >= 5 * stock,
        ),
        (
            "dask with 2 workers, of 2 jobs, once warm",
            "80 %",
            f"{warm['dask2'] / warm['jobs2']:.0%}",
            warm["dask2"] >= 0.8 * warm["jobs2"],
        ),
    ]
    told = {True: "yes", False: "**no**", None: ""}
    return _table(
        ("", "wanted", "measured", "reached"),
        [(what, wanted, found, told[reached]) for what, wanted, found, reached in rows],
    )


def _core(way: Mapping[str, Any]) -> float:
    """Core-seconds of one submission, start-up included."""
    return float(sum(way["cpu"].values()) / way["submissions"])


def _over(parts: Mapping[str, float]) -> float:
    """Core-seconds over the bare arithmetic."""
    return sum(seconds for name, seconds in parts.items() if name != "cells")


def _split(figures: Figures) -> str:
    rows = [
        (
            KINDS[name],
            *(f"{parts[part]:.3f}" for part in PARTS),
            f"{sum(parts.values()):.3f}",
            f"{_over(parts):.3f}",
        )
        for name, parts in figures["core_seconds"].items()
    ]
    return _table(("", *PARTS, "all", "over the floor"), rows)


def _memory(figures: Figures) -> str:
    peaks = sorted(figures["peak_mib_by_process"].items(), key=lambda item: -item[1])
    return _table(("process", "MiB"), [(name, str(mib)) for name, mib in peaks])


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---"] + ["---:"] * (len(head) - 1), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _short(rate: float) -> str:
    return f"{rate:.3g}"


def _plot(figures: Figures, path: Path) -> None:
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt

    mpl.rcParams.update({"svg.hashsalt": "handgrad", "font.size": 9})
    names = list(NAMES)[::-1]
    rates = [figures[name] for name in names]
    figure, axes = plt.subplots(figsize=(7.2, 2.6), layout="constrained")
    colours = ["#9aa5b1" if name in ("stock", "floor") else "#2f6db3" for name in names]
    axes.barh([NAMES[name].replace("`", "") for name in names], rates, color=colours)
    axes.set_xscale("log")
    axes.set_xlim(min(rates) / 2, max(rates) * 4)
    for at, rate in enumerate(rates):
        axes.text(rate * 1.1, at, _short(rate), va="center")
    axes.set_xlabel("whole submissions a second (four notebooks, all hidden runs)")
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    path.parent.mkdir(exist_ok=True)
    figure.savefig(path, metadata={"Date": None})
    plt.close(figure)
