"""Answers over HTTP: an engine that decodes many texts at once, OpenAI's API before it, and a page."""
