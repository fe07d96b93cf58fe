"""Backends that compute scores: TensorFlow or OpenVINO."""
