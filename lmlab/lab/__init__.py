"""The use cases, headless: what the command line and the screen both call."""
