"""What leaves a private curation: scores come from it in any job, on any worker.

Nothing here imports more than numpy and, with tables, pyarrow: a worker of a data job starts fast.
"""
