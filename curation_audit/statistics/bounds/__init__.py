"""Lower bounds on epsilon from evidence, one theorem a file, and one estimate."""
