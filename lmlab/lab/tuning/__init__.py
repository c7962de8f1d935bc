"""Finds how a model is loaded fastest on this machine, and keeps it. Knows nothing of screens.

``rule`` decides, ``search`` measures in turn, ``saved`` keeps what won, ``using`` puts it to use.
"""
