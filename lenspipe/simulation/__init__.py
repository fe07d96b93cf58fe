"""The simulated sky, and simulated arcs injected into real images."""
