"""Runs benchmarks by name, or all of them."""

from __future__ import annotations

import importlib
import sys

from benchmarks.measure import RESULTS, keep

ALL = (
    "cold_start", "sampler_overhead", "network_step", "training_rate", "dit_step", "dit_training", "language_decoding",
    "seggpt_answer", "sam_masks", "stylegan2_drag",
)  # fmt: skip
BY_NAME_ONLY = ("eva_stages", "long_skips", "masked_training", "sam_data_engine", "zero_shot")
"""Minutes long: an experiment rather than a measurement of speed."""


def main(names: list[str]) -> int:
    """Runs the benchmarks and prints where their results are."""
    unknown = sorted(set(names) - {*ALL, *BY_NAME_ONLY})
    if unknown:
        print(f"no benchmark {', '.join(unknown)}; there are {', '.join((*ALL, *BY_NAME_ONLY))}", file=sys.stderr)
        return 2
    for name in names or ALL:
        print(f"{name} ...", flush=True)
        outcome = importlib.import_module(f"benchmarks.{name}").run()
        keep(outcome)
        for row in outcome.rows:
            ratio = "" if row.ratio is None else f"   {row.ratio:.2f} times the peer's {row.peer:.4g}"
            print(f"  {row.what}: {row.value:.4g} {row.unit}{ratio}  {row.note}")
    print(f"results: {RESULTS / 'README.md'}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
