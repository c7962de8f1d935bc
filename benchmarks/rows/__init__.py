"""The rows of the table, one module each: ``measure`` takes a Setting and gives Rows as they are ready."""
