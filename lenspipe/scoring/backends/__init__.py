"""What computes scores: TensorFlow or OpenVINO."""
