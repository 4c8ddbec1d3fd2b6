"""The benchmark's results as tables of text."""

from collections.abc import Mapping, Sequence
from typing import Any

from benchmark import contenders


def table(heads: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """Returns rows below their heads, columns aligned to the right."""
    cells = [list(heads), *([_text(value) for value in row] for row in rows)]
    widths = [max(len(row[column]) for row in cells) for column in range(len(heads))]
    return "\n".join(
        "  ".join(text.rjust(width) for text, width in zip(row, widths, strict=True)) for row in cells
    )


def _text(value: object) -> str:
    if value is None:
        return "-"
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def steps(found: Mapping[str, Any]) -> str:
    """Returns the seconds of a step by size, and their ratios."""
    sizes = list(found)
    names = list(next(iter(found.values()))["seconds"])
    ratios = list(next(iter(found.values()))["ratios"])
    seconds = [[name, *(found[size]["seconds"].get(name) for size in sizes)] for name in names]
    times = [[name, *(found[size]["ratios"].get(name) for size in sizes), _aim(name)] for name in ratios]
    return (
        f"Seconds of a step, by longest side\n{table(['', *sizes], seconds)}\n\n"
        f"How many times as long, in turn\n{table(['', *sizes, 'aim'], times)}"
    )


def _aim(name: str) -> float | None:
    return next((aim for pair, aim in contenders.AIMS.items() if " / ".join(pair) == name), None)


def quality(found: Mapping[str, Any]) -> str:
    """Returns the seconds until a baseline's values, by road."""
    parts = []
    for name, rows in found.items():
        heads = ["after evaluations", *map(str, rows["evaluations"])]
        lines = [["objective", *rows["values"]], [f"{name}, s", *rows["seconds"]]]
        for road, seconds in rows["roads"].items():
            lines.append([f"nst_tf, {road}, s", *seconds])
            pairs = zip(rows["seconds"], seconds, strict=True)
            lines.append(["times as fast", *(a / b if b else None for a, b in pairs)])
        parts.append(f"Seconds until the objective of {rows['preset']} is as low\n{table(heads, lines)}")
    return "\n\n".join(parts)


def arithmetic(found: Mapping[str, Any]) -> str:
    """Returns a step's rate and its share of a matrix product's, by size and precision."""
    rows = [
        [size, precision, each["gflops"], each["matrix_gflops"], each["share"], each["other_share"]]
        for size, by_precision in found.items()
        for precision, each in by_precision.items()
    ]
    heads = ["size", "precision", "GFLOP/s", "of a matrix product", "share", "optimiser and loop"]
    return f"Arithmetic of a step of gatys_pytorch\n{table(heads, rows)}"


def growth(found: Mapping[str, Any]) -> str:
    """Returns what a process grows by, by case."""
    rows = [
        [case, each["growth_mb"], each["resident_mb"], each["first_s"], each["later_s"]]
        for case, each in found.items()
    ]
    heads = ["", "grows by, MB", "from, MB", "first picture begins, s", "later ones, s"]
    return f"A process that paints again and again\n{table(heads, rows)}"


def processes(found: Mapping[str, Any]) -> str:
    """Returns start-up and peak memory, by size and contender."""
    rows = [
        [size, name, each["startup_s"], each["peak_gib"]]
        for size, by_name in found.items()
        for name, each in by_name.items()
    ]
    heads = ["size", "", "start to first step, s", "peak memory, GiB"]
    return f"A process of its own\n{table(heads, rows)}"


def device(found: Mapping[str, Any]) -> str:
    """Returns what was measured on a device, by size."""
    columns = ("planned_gb", "taken_gb", "tile", "step_ms", "growth_mb", "resumed_difference")
    rows = [
        [size, each["device"], each["precision"], *(each[name] for name in columns)]
        for size, each in found.items()
    ]
    heads = ["size", "device", "precision", "planned, GB", "taken, GB", "tile", "step, ms", "grows by, MB"]
    return f"A device\n{table([*heads, 'resumed differs by'], rows)}"


def load(found: Mapping[str, Any]) -> str:
    """Returns what a served model does, by number of clients, and as ratios to the first number."""
    names = {"pictures_per_minute": "pictures a minute", "median_s": "median answer, s"}
    names |= {"percentile_95_s": "95th percentile, s", "peak_mb": "server's peak memory, MB"}
    heads = ["clients", *(head for name in names.values() for head in (name, "ratio"))]
    rows = [
        [count, *(each[kind][name] for name in names for kind in ("figures", "ratios"))]
        for count, each in found["clients"].items()
    ]
    grown, freed = found["sequence"], found["freed_s"]
    lines = (
        f"A served model at {found['size']} pixels, {found['steps']} steps, {found['precision']}",
        table(heads, rows),
        f"{grown['requests']} requests: the server grew by {grown['growth_mb']:.3g} MB from"
        f" {grown['from_mb']:.4g} after the first tenth, {grown['growth_kb_per_request']:.3g} kB a request",
        f"A killed client's place: free after {freed['grpc']:.2f} s (gRPC), {freed['rest']:.2f} s (REST)",
        "All pictures were, bit for bit, those of single requests",
    )
    return "\n".join(lines)


def film(found: Mapping[str, Any]) -> str:
    """Returns flicker, style and time of held frames and of frames painted one by one, by preset."""
    columns = ("held_levels", "stills_levels", "filmed_levels", "held_s", "stills_s")
    rows = []
    for preset, each in found.items():
        held, stills = each["held_style"][-len(each["stills_style"]) :], each["stills_style"]
        more = ", ".join(f"{100 * (one / other - 1):+.0f}" for one, other in zip(held, stills, strict=True))
        pairs = [(each[f"held_{name}"], each[f"stills_{name}"]) for name in ("levels", "processor_s")]
        rows.append([preset, *(each[name] for name in columns), *(a / b for a, b in pairs), more])
    heads = ["", "held", "one by one", "filmed", "a held frame, s", "a still, s"]
    heads += ["ratio of levels", "of processor time", "style loss of the last frames, % more"]
    return f"Levels of 255 between a frame and the one before, along the true motion\n{table(heads, rows)}"


def plan(each: Mapping[str, Any]) -> str:
    """Returns a line about a run's memory."""
    name = f"{each['preset']} {each['size']} px, {each['limit']}"
    if "refused" in each:
        return f"{name}: {each['refused']}"
    return (
        f"{name}: {each['measured_gb']:.2f} GB of {each['predicted_gb']:.2f} predicted; {each['fitted']}"
        f"{'' if each['within_limit'] else '; ABOVE THE LIMIT'}"
    )


def plans(found: Sequence[Mapping[str, Any]]) -> str:
    """Returns what was planned and what was taken, by run."""
    rows = [
        [
            *(each["preset"], each["size"], each["limit"]),
            *(each.get(name) for name in ("predicted_gb", "measured_gb", "ratio", "within_limit")),
            each.get("fitted", "refused"),
        ]
        for each in found
    ]
    heads = ["preset", "size", "limit", "predicted, GB", "measured, GB", "ratio", "within", "fitted"]
    return f"Memory planned and taken\n{table(heads, rows)}"
