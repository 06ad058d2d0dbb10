"""OpenAI-compatible HTTP server: a continuous-batching engine, its API, and a web page."""
