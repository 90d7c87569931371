"""Speed of bottega beside its peers, measured in one run each: `python -m benchmarks [name ...]`, or `make bench`.

Absolute figures belong to a machine and to what else it does; ratios of one run are what we claim. Whatever is compared
takes turns, so that other work on the machine meets all alike, and outputs are checked to be equal first.
"""
