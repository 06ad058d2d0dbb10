"""The Python API: `baicai.open` and the stages as functions."""
