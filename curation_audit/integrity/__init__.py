"""What others can check without trusting us: signatures, recomputed numbers, attested picks."""
