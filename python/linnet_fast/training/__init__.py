"""Trainings: the loop's front door, states, trajectories, their files."""
