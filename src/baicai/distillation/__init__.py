"""Distillation: a small student keeps what is wanted of a teacher, and does not follow it where it is weak."""
