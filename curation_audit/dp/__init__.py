"""What defends a curation: private scorers, noisy selection, one accountant.

Nothing is here yet. ``curate.protect`` in a pipeline file is refused until a mechanism stands
here with its unit, adjacency and sensitivity; this room never claims protection that it cannot
show.
"""
