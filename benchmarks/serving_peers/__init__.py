"""The arrangements that `benchmarks.serving` measures: Manta, a plain server, and other model servers."""
