"""The fuzzers' command line; `scripts/fuzz` calls it."""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["syncvault"]):
    from scripts.fuzzing.targets import TARGETS


def main() -> None:
    parser = argparse.ArgumentParser(prog="scripts/fuzz", description="Feeds a parser mutated input, led by coverage.")
    parser.add_argument("target", choices=sorted(TARGETS), metavar="TARGET", help=", ".join(sorted(TARGETS)))
    parser.add_argument("--seconds", type=int, default=60, metavar="N", help="how long (60)")
    parser.add_argument("--corpus", type=Path, metavar="DIR", help="where inputs are kept from run to run")
    options = parser.parse_args()
    corpus = options.corpus or Path(tempfile.mkdtemp(prefix="syncvault-fuzz-"))
    corpus.mkdir(parents=True, exist_ok=True)
    target = TARGETS[options.target]()
    for number, seed in enumerate(target.seeds):
        (corpus / f"seed-{number}").write_bytes(seed)
    longest = 2 * max(map(len, target.seeds))
    atheris.Setup(
        [
            sys.argv[0],
            f"-max_total_time={options.seconds}",
            f"-max_len={longest}",
            f"-artifact_prefix={corpus}/",
            "-print_final_stats=1",
            str(corpus),
        ],
        target.check,
    )
    print(f"{options.target}: {target.summary}; inputs in {corpus}", flush=True)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
