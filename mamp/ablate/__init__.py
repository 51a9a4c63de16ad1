"""Ablations: ``mamp ablate RECIPE --data STORE --output DIR --vary FIELD=a,b``."""
