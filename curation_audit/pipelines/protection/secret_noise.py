"""Noise and sampling of a training for real."""

from curation_audit.dp.noise import SecureNoise
from curation_audit.training.dp_noise import ArrayNoise, SecretRandomness


def operating_system() -> SecretRandomness:
    """Noise, and coins of who joins, that nobody can repeat."""
    return SecretRandomness([SecureNoise()], ArrayNoise(SecureNoise().standard_normal))
