"""A small student from a large teacher: what is wanted is kept, where the teacher is weak it is not followed."""
