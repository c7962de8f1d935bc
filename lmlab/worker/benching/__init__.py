"""A program of its own that measures how fast a model reads and writes tokens here. Knows no text, no engine, no request."""
