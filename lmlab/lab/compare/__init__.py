"""Variants set side by side: the same prompts put to all of them, and what may be said of the difference."""
