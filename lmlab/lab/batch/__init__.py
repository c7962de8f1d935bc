"""A file of prompts in, one JSON line each out."""
