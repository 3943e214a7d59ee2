"""What is recorded of a training, when, and when a run stops."""
