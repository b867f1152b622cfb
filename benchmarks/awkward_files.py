"""What ``medfs segment`` makes of files that are hard to read.

    python -m benchmarks.awkward_files FOLDER... --bundle RUN --table docs/results/awkward_files.md

FOLDERs hold awkward NIfTI files; RUN is any finished run, e.g. ``demo/runs/semi-supervised`` after ``make demo``. The
command line is started as a user would start it; what it wrote is then compared with what nibabel reads of the input.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import nibabel as nib
import numpy as np

MARKER = "<!-- results -->\n"


def segment(folder: Path, run: Path, output: Path) -> tuple[int, str]:
    """Exit code and everything printed."""
    files = sorted(str(path) for path in folder.iterdir() if path.suffix != ".img")
    command = [sys.executable, "-m", "medfs", "segment", *files, "-o", str(output), "--bundle", str(run)]
    done = subprocess.run([*command, "--device", "cpu"], capture_output=True, text=True, check=False)
    return done.returncode, done.stdout + done.stderr


def difference(source: Path, result: Path) -> str:
    """What distinguishes the grid of the result from the one nibabel reads of the source; empty if nothing does."""
    before, after = nib.load(source), nib.load(result)
    # a fourth axis of one frame is dropped, as the reader warns
    shape = before.shape[:3] if np.prod(before.shape[3:]) == 1 else before.shape
    if shape != after.shape:
        return f"shape {shape} became {after.shape}"
    shift = float(np.abs(before.affine - after.affine).max())
    return f"affine moved by {shift:.3g}" if shift > 1e-6 * max(1.0, float(np.abs(before.affine).max())) else ""


def examine(folder: Path, run: Path) -> tuple[list[str], str]:
    """Rows of the table and the line below it."""
    with tempfile.TemporaryDirectory() as output:
        code, printed = segment(folder, run, Path(output))
        report = json.loads((Path(output) / "report.json").read_text())["cases"]
        rows, changed, written = [], 0, 0
        for record in report:
            source = Path(record["input"])
            if record["status"] == "done":
                written += 1
                what = difference(source, Path(output) / f"{record['case']}_seg.nii.gz")
                changed += bool(what)
                note = what or "; ".join(["same shape and affine", *record.get("warnings", ())])
            else:
                note = record["error"]
            for place in (f"{folder}/", f"{source.parent}/"):
                note = note.replace(place, "")
            rows.append(f"| {source.name} | {'written' if record['status'] == 'done' else 'refused'} | {note} |")
        tracebacks = printed.count("Traceback")
        return rows, (
            f"{len(report)} cases: {written} written, {len(report) - written} refused in one line each, "
            f"{tracebacks} tracebacks, {changed} of {written} with a changed shape or affine; exit code {code}."
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folders", type=Path, nargs="+")
    parser.add_argument("--bundle", type=Path, required=True)
    parser.add_argument("--table", type=Path, help="write the tables below the marker line of this file")
    options = parser.parse_args()
    parts = []
    for folder in options.folders:
        rows, line = examine(folder.resolve(), options.bundle.resolve())
        parts += [f"## {folder.name}/", "", line, "", "| file | outcome | what was said |", "|---|---|---|", *rows, ""]
    text = "\n".join(parts)
    print(text)
    if options.table:
        options.table.write_text(options.table.read_text().split(MARKER)[0] + MARKER + "\n" + text)


if __name__ == "__main__":
    main()
