"""Programs that run within a peer's own environment, on the product's decoding and the product's graph."""
