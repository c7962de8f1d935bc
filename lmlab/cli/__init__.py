"""The command line: parse, call lab, print. Importing this package imports no command."""
