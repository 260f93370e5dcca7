"""Ratios in one run: what this project does against how its peers do it.

A package, so that no installed one of that name (Opacus brings one) is found first.
"""
