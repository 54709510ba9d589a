"""The benchmarks' command line; `scripts/bench` calls it."""

from __future__ import annotations

import argparse

from scripts.benchmarks import ews, graph, pull, start, vault


def main() -> None:
    parser = argparse.ArgumentParser(prog="scripts/bench", description="Measures syncvault and prints tables.")
    subjects = parser.add_subparsers(required=True, metavar="SUBJECT")
    for module in (vault, pull, graph, ews, start):
        summary = (module.__doc__ or "").partition(".")[0]
        subject = subjects.add_parser(module.__name__.rpartition(".")[2], help=summary, description=module.__doc__)
        module.add_options(subject)
        subject.set_defaults(measure=module.measure)
    options = parser.parse_args()
    options.measure(options)


if __name__ == "__main__":
    main()
