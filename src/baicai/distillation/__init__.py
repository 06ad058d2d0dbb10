"""Distillation: train a small student that keeps chosen domains of a teacher and ignores it where it is weak."""
