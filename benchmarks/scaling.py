"""The same sweep in 1, 2, 4 … processes: times, speed-up, efficiency, and whether the tables agree.

Each is a whole command, as a user starts it. The share that is not divided (imports, loading, the capture of
the graph) is timed by a sweep of one batch, and taken out of the efficiency.

    python benchmarks/scaling.py [MODEL] [--processes 1,2] [--limit 500] [--batch-size 25]
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path


def seconds(processes: int, model: str, limit: int, batch_size: int, out: Path) -> float:
    """Wall time of one sweep."""
    launcher = ["torch.distributed.run", "--nproc-per-node", str(processes), "-m"]
    words = [*launcher, "resanalysis"] if processes > 1 else ["resanalysis"]
    words += ["lesion", model, "--limit", str(limit), "--batch-size", str(batch_size)]
    start = time.perf_counter()
    subprocess.run(
        [sys.executable, "-m", *words, "--quiet", "--fresh", "--out", str(out)],
        check=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    return time.perf_counter() - start


def main() -> None:
    """Print a line for each number of processes."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", nargs="?", default="bundled:resnet56-fashion-mnist")
    parser.add_argument("--processes", default="1,2")
    parser.add_argument("--limit", type=int, default=500)
    parser.add_argument("--batch-size", type=int, default=25)
    options = parser.parse_args()
    alone, tables = 0.0, set[bytes]()
    print("processes  seconds  not divided  speed-up  efficiency of the rest")
    for processes in (int(text) for text in options.processes.split(",")):
        with tempfile.TemporaryDirectory() as folder:
            size = options.batch_size
            fixed = seconds(processes, options.model, size, size, Path(folder))
            whole = seconds(processes, options.model, options.limit, size, Path(folder))
            tables.add((Path(folder) / "lesion.csv").read_bytes())
        alone = alone or whole - fixed
        efficiency = alone / max(whole - fixed, 1e-9) / processes
        print(
            f"{processes:9d}  {whole:7.1f}  {fixed:11.1f}  {alone / (whole - fixed):8.2f}  {efficiency:.0%}"
        )
    print("tables are the same to the byte" if len(tables) == 1 else "TABLES DIFFER")


if __name__ == "__main__":
    main()
