"""Distillation: a small student keeps what is wanted of a teacher."""
