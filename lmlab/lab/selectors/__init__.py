"""Ways to choose among candidates, one a module. ``lmlab.lab.best_of`` names and opens them."""
