"""What defends a curation: claims about it; private scorers, noisy selection, one accountant.

Claims stand here. ``curate.protect`` in a pipeline file is refused until a mechanism stands here
with its unit, adjacency and sensitivity; this room never claims protection that it cannot show.
"""
