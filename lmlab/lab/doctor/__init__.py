"""``lmlab doctor``, headless: what there is, what is wrong with it, and what to do. Each check knows one thing."""
