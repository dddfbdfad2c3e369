"""From a trained network to the graphs of a bundle: export, quantization, measurement, gates."""
